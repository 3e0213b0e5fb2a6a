"""Saves and restores environments through all their wrappers.

The reference has no such file: it cannot resume. A wrapper or environment of its own
takes part by having `get_state()` and `set_state(state)` for what it remembers; the
generator `np_random` is taken care of here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import (
    OrderEnforcing,
    PassiveEnvChecker,
    RescaleAction,
    TimeLimit,
)

from env.gym_utils.wrapper.clip_action import ClipAction
from env.gym_utils.wrapper.mujoco_locomotion_lowdim import (
    MujocoLocomotionLowdimWrapper,
)

_STATELESS = (
    ClipAction,
    MujocoLocomotionLowdimWrapper,
    RescaleAction,
    gymnasium.wrappers.ClipAction,
)
_ATTRIBUTES: dict[type, str] = {
    OrderEnforcing: "_has_reset",
    TimeLimit: "_elapsed_steps",
}


class StateNotSupported(NotImplementedError):  # noqa: N818
    """The simulator cannot be saved; a resumed run is equal from the next reset."""


def get_env_state(env: gymnasium.Env) -> dict[str, Any]:
    """Returns all that decides how `env` continues.

    Raises:
        StateNotSupported: A wrapper or the environment cannot be saved; names it.
    """
    layers = [_get_layer(layer) for layer in env_layers(env)]
    return {"layers": layers, "generator": get_generator(env.unwrapped._np_random)}


def set_env_state(env: gymnasium.Env, state: Mapping[str, Any]) -> None:
    """Makes `env` continue as the one did that `get_env_state` was called on.

    Raises:
        ValueError: The state belongs to other wrappers or another environment.
    """
    layers = list(env_layers(env))
    check_layers([type(layer).__name__ for layer in layers], state)
    for layer, part in zip(layers, state["layers"], strict=True):
        _set_layer(layer, part["state"])
    generator = make_generator(state["generator"])
    if generator is None:
        env.unwrapped._np_random = None  # `np_random` cannot become None
    else:
        env.unwrapped.np_random = generator


def check_layers(expected: Sequence[str], state: Mapping[str, Any]) -> None:
    """Refuses a state of other wrappers or another environment, by class names."""
    names = [part["type"] for part in state["layers"]]
    if names != list(expected):
        raise ValueError(f"state must be of {list(expected)}, got one of {names}.")


def env_layers(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    """The outermost wrapper first, the environment itself last."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
    yield env


def _get_layer(layer: Any) -> dict[str, Any]:
    if type(layer) in _ATTRIBUTES:
        state = {"value": getattr(layer, _ATTRIBUTES[type(layer)])}
    elif isinstance(layer, (*_STATELESS, PassiveEnvChecker)):
        state = {}
    elif _is_mujoco(layer):
        state = _get_mujoco(layer)
    elif _saves_itself(layer):
        state = layer.get_state()
    else:
        raise StateNotSupported(
            f"{type(layer).__name__} cannot be saved, because it has no get_state() "
            "and set_state(); a resumed run equals the uninterrupted one only from "
            "the next reset."
        )
    return {"type": type(layer).__name__, "state": state}


def _set_layer(layer: Any, state: Mapping[str, Any]) -> None:
    if type(layer) in _ATTRIBUTES:
        setattr(layer, _ATTRIBUTES[type(layer)], state["value"])
    elif _is_mujoco(layer):
        from env.gym_utils.mujoco_state import set_mujoco_state

        set_mujoco_state(layer, state)
    elif isinstance(layer, PassiveEnvChecker):
        # It checks the first calls, which are over; without a reset it would fail.
        layer.checked_reset = layer.checked_step = layer.checked_data_reuse = True
    elif not isinstance(layer, _STATELESS):
        layer.set_state(state)


def _saves_itself(layer: Any) -> bool:
    return hasattr(layer, "get_state") and hasattr(layer, "set_state")


def _is_mujoco(layer: Any) -> bool:
    """By name, so that environments without MuJoCo do not need it installed."""
    return any(base.__name__ == "MujocoEnv" for base in type(layer).__mro__)


def _get_mujoco(layer: Any) -> dict[str, Any]:
    from env.gym_utils.mujoco_state import get_mujoco_state

    try:
        return get_mujoco_state(layer)
    except TypeError as error:
        raise StateNotSupported(str(error)) from error


def get_generator(generator: np.random.Generator | None) -> dict[str, Any] | None:
    """Returns the state of a generator, None if nothing was drawn yet."""
    return None if generator is None else dict(generator.bit_generator.state)


def make_generator(state: Mapping[str, Any] | None) -> np.random.Generator | None:
    """Returns a generator with what `get_generator` returned."""
    if state is None:
        return None
    generator = np.random.Generator(getattr(np.random, state["bit_generator"])())
    generator.bit_generator.state = state
    return generator
