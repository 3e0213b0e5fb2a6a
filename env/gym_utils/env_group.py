"""Several environments that are stepped one after the other, and their results.

The reference has no such file. `SyncVectorEnv` owns one group, each worker process of
`AsyncVectorEnv` another; since both run this code, their trajectories are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from env.gym_utils.state import get_env_state, set_env_state
from env.gym_utils.wrapper.seed_option import choose_seed

EnvFactory = Callable[[], gymnasium.Env]


@dataclass
class Buffers:
    """Where environments leave their results, one row each.

    Attributes:
        obs: Observations, each (E, To, ...).
        rewards: (E,) float64.
        terminated: (E,) bool.
        truncated: (E,) bool.
    """

    obs: dict[str, np.ndarray]
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @classmethod
    def allocate(
        cls,
        num_envs: int,
        space: Dict,
        new: Callable[[tuple[int, ...], np.dtype], np.ndarray] = np.zeros,
    ) -> Buffers:
        """Returns buffers for observations of `space`; `new` makes each array."""
        obs = {
            key: new((num_envs, *(box.shape or ())), np.dtype(box.dtype))
            for key, box in space.items()
        }
        rewards, terminated, truncated = (
            new((num_envs,), np.dtype(kind)) for kind in (np.float64, bool, bool)
        )
        return cls(obs, rewards, terminated, truncated)


class EnvFailure(Exception):  # noqa: N818
    """An environment raised the exception that is this one's cause.

    Attributes:
        index: Which of the vector environment's environments.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"environment {index} failed")
        self.index = index


class EnvGroup:
    """A run of environments of a vector environment.

    Args:
        env_fns: Make the environments.
        first: Index of the first of them in the vector environment.
        buffers: Where results go, for all environments of the vector environment.

    Raises:
        EnvFailure: An environment cannot be made, or has other observations than the
            buffers.
    """

    def __init__(
        self, env_fns: Sequence[EnvFactory], first: int, buffers: Buffers
    ) -> None:
        self._first, self._buffers = first, buffers
        self._seeds: list[int | None] = [None] * len(env_fns)
        self._envs: list[gymnasium.Env] = []
        for index, env_fn in enumerate(env_fns, first):
            try:
                self._envs.append(env_fn())
                self._check_space(self._envs[-1].observation_space)
            except Exception as error:
                self.close()
                raise EnvFailure(index) from error
        self._commands: dict[str, Callable[[int, Any], Any]] = {
            "seed": self._seed,
            "reset": self._reset,
            "step": self._step,
            "call": self._call,
            "set_attr": self._set_attr,
            "get_state": self._get_state,
            "set_state": self._set_state,
        }

    def handle(
        self, command: str, args: Iterable[Any], indices: Sequence[int]
    ) -> list[Any]:
        """Runs a command in some environments of this group.

        Args:
            command: seed, reset, step, call, set_attr, get_state or set_state.
            args: Its argument for each of `indices`.
            indices: Environments, counted over the whole vector environment.

        Returns:
            A result for each of `indices`.

        Raises:
            EnvFailure: An environment raised; those after it did not run.
        """
        run = self._commands[command]
        results = []
        for index, arg in zip(indices, args, strict=True):
            try:
                results.append(run(index, arg))
            except Exception as error:
                raise EnvFailure(index) from error
        return results

    def close(self) -> None:
        """Closes the environments."""
        for env in self._envs:
            env.close()
        self._envs = []

    def _env(self, index: int) -> gymnasium.Env:
        return self._envs[index - self._first]

    def _check_space(self, space: gymnasium.Space) -> None:
        shapes = {key: array.shape[1:] for key, array in self._buffers.obs.items()}
        own = {key: box.shape for key, box in check_obs_space(space).items()}
        if own != shapes:
            raise ValueError(f"observation_space must have {shapes}, got {own}.")

    def _seed(self, index: int, seed: int | None) -> None:
        self._seeds[index - self._first] = seed

    def _reset(self, index: int, options: Mapping[str, Any]) -> None:
        place = index - self._first
        seed = choose_seed(self._seeds[place], options)
        self._seeds[place] = None  # later resets go on with the generator
        obs, _ = self._env(index).reset(seed=seed, options=dict(options))
        self._write_obs(index, obs)

    def _step(self, index: int, action: np.ndarray) -> dict[str, Any]:
        obs, reward, terminated, truncated, info = self._env(index).step(action)
        self._write_obs(index, obs)
        self._buffers.rewards[index] = reward
        self._buffers.terminated[index] = terminated
        self._buffers.truncated[index] = truncated
        return info

    def _write_obs(self, index: int, obs: Mapping[str, np.ndarray]) -> None:
        for key, array in self._buffers.obs.items():
            array[index] = obs[key]

    def _call(self, index: int, arg: tuple[str, tuple, dict]) -> Any:
        name, args, kwargs = arg
        value = self._env(index).get_wrapper_attr(name)
        return value(*args, **kwargs) if callable(value) else value

    def _set_attr(self, index: int, arg: tuple[str, Any]) -> None:
        self._env(index).set_wrapper_attr(*arg)

    def _get_state(self, index: int, _: None) -> dict[str, Any]:
        seed = self._seeds[index - self._first]
        return {"env": get_env_state(self._env(index)), "seed": seed}

    def _set_state(self, index: int, state: Mapping[str, Any]) -> None:
        self._seeds[index - self._first] = state["seed"]
        set_env_state(self._env(index), state["env"])


def check_obs_space(space: gymnasium.Space) -> Dict:
    """Returns `space` if observations of it are named arrays.

    Raises:
        TypeError: The space is not a `Dict` of boxes.
    """
    if isinstance(space, Dict) and all(isinstance(p, Box) for p in space.values()):
        return space
    raise TypeError(
        f"observation_space must be a Dict of boxes, got {space}; the wrapper "
        "mujoco_locomotion_lowdim makes one of a Box."
    )
