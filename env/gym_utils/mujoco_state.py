"""Saves and restores MuJoCo simulations so exactly that the next step is equal.

The reference has no such file: it cannot resume.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv

_SPEC = mujoco.mjtState.mjSTATE_INTEGRATION  # with the solver's warm start
# Some environments read these before a step. mj_step leaves them one substep behind
# the state, so that recomputing them would not give the same numbers.
_DERIVED = (
    "xpos",
    "xquat",
    "xmat",
    "xipos",
    "ximat",
    "geom_xpos",
    "geom_xmat",
    "site_xpos",
    "site_xmat",
    "subtree_com",
    "cinert",
    "cvel",
    "cfrc_ext",
    "qfrc_actuator",
    "sensordata",
)
_PLAIN = (bool, int, float, str, type(None), np.ndarray, np.generic)
_MUTABLE = (list, dict, set, bytearray)


def get_mujoco_state(env: MujocoEnv) -> dict[str, Any]:
    """Returns the simulation's state and what a user's class keeps beside it.

    Raises:
        TypeError: A class outside gymnasium has an attribute that cannot be saved.
    """
    simulation = get_simulation(env.model, env.data)
    return simulation | {"attributes": _get_attributes(env)}


def set_mujoco_state(env: MujocoEnv, state: Mapping[str, Any]) -> None:
    """Takes over what `get_mujoco_state` returned."""
    set_simulation(env.model, env.data, state)
    for name, value in state["attributes"].items():
        setattr(env, name, value)


def get_simulation(model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, Any]:
    """Returns the state of a simulation and what was derived from it."""
    state = np.empty(mujoco.mj_stateSize(model, _SPEC))
    mujoco.mj_getState(model, data, state, _SPEC)
    derived = {name: np.array(getattr(data, name)) for name in _DERIVED}
    return {"state": state, "derived": derived}


def set_simulation(
    model: mujoco.MjModel, data: mujoco.MjData, state: Mapping[str, Any]
) -> None:
    """Takes over what `get_simulation` returned."""
    values = np.asarray(state["state"], np.float64)
    mujoco.mj_setState(model, data, values, _SPEC)
    mujoco.mj_forward(model, data)
    mujoco.mj_setState(model, data, values, _SPEC)  # forward moves the warm start
    for name, array in state["derived"].items():
        getattr(data, name)[...] = array


def _get_attributes(env: MujocoEnv) -> dict[str, Any]:
    """Attributes that a class outside gymnasium adds to the simulation."""
    if type(env).__module__.startswith("gymnasium."):
        return {}
    own = {k: v for k, v in vars(env).items() if k not in _OF_GYMNASIUM}
    for name, value in own.items():
        if isinstance(value, _MUTABLE):
            raise TypeError(
                f"{type(env).__name__}.{name} is a {type(value).__name__}, which may "
                "change; keep arrays, numbers and strings instead."
            )
    return {
        name: np.array(value) if isinstance(value, np.ndarray) else value
        for name, value in own.items()
        if isinstance(value, _PLAIN)
    }


_OF_GYMNASIUM = frozenset(
    {
        "model",
        "data",
        "init_qpos",
        "init_qvel",
        "metadata",
        "spec",
        "action_space",
        "observation_space",
        "mujoco_renderer",
        "_np_random",
        "_np_random_seed",
        "_ezpickle_args",
        "_ezpickle_kwargs",
    }
)
