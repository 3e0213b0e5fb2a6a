"""EnvPool's environments (https://envpool.readthedocs.io) behind our interface.

The reference has no such file. EnvPool steps environments in C++ threads, with a
MuJoCo of its own and other random numbers: trajectories are not those of the other
back ends, and states cannot be saved. Rewards are float32 there, actions float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NoReturn

import numpy as np

from env.gym_utils.batched_vector_env import BatchedVectorEnv
from env.gym_utils.env_group import EnvFactory
from env.gym_utils.state import StateNotSupported

_NO_LIMIT = 2**31 - 1  # we count env steps ourselves
_SAME_SEED_RANGE = 2**31


class EnvPoolVectorEnv(BatchedVectorEnv):
    """A vector environment of EnvPool's environments.

    EnvPool takes seeds at construction only, so a seeded reset of all environments
    makes a new pool, and one of some environments is refused. An environment that is
    stepped after its episode ended begins a new one, where gymnasium's goes on.

    Args:
        env_fns: E times the same function, which makes gymnasium's environment: the
            wrappers and spaces are read from it.
        id: Name of the environment, in EnvPool as in gymnasium.
        kwargs: Arguments of `envpool.make`.

    Raises:
        ValueError: EnvPool is not installed, has no such environment, or has other
            sizes than gymnasium.
        NotBatched: A wrapper is not supported.
        TypeError: EnvPool does not know an argument.
    """

    def __init__(
        self, env_fns: Sequence[EnvFactory], id: str, kwargs: Mapping[str, Any]
    ) -> None:
        self._envpool = _import_envpool()
        if id not in self._envpool.list_all_envs():
            raise ValueError(f"env.backend=envpool: EnvPool has no environment {id}.")
        super().__init__(env_fns)
        self._id, self._options = id, dict(kwargs)
        self._pool = self._make([None] * self.num_envs)
        self._check_sizes()
        self.closed = False

    def _make(self, seeds: Sequence[int | None]) -> Any:
        """A new pool; environments without a seed get a random one."""
        rng = np.random.default_rng()
        own = [
            int(rng.integers(_SAME_SEED_RANGE)) if s is None else s % _SAME_SEED_RANGE
            for s in seeds
        ]
        return self._envpool.make(
            self._id,
            env_type="gymnasium",
            num_envs=self.num_envs,
            env_seed=own,
            max_episode_steps=_NO_LIMIT,
            **self._options,
        )

    def _check_sizes(self) -> None:
        base = self._pipeline.base
        for name in ("observation_space", "action_space"):
            expected, own = getattr(base, name).shape, getattr(self._pool, name).shape
            if own != expected:
                self._close()
                raise ValueError(
                    f"env.backend=envpool: {name} of {self._id} has shape {own}, "
                    f"gymnasium's {expected}."
                )

    def _close(self) -> None:
        self._pool.close()

    def _restart(self, indices: np.ndarray, seeds: Sequence[int | None]) -> np.ndarray:
        if any(seed is not None for seed in seeds):
            if len(indices) < self.num_envs:
                raise ValueError(
                    "env.backend=envpool seeds all environments at once, got a seed "
                    f"for {len(indices)} of {self.num_envs}."
                )
            self._pool.close()
            self._pool = self._make(seeds)
        return self._sorted(indices, *self._pool.reset(indices.astype(np.int32)))[0]

    def _advance(
        self, indices: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raw = np.asarray(actions, np.float64)
        result = self._pool.step(raw, indices.astype(np.int32))
        obs, reward, terminated = self._sorted(indices, *result[:3], result[4])
        return obs, np.asarray(reward, np.float64), np.asarray(terminated, bool)

    @staticmethod
    def _sorted(indices: np.ndarray, *results: Any) -> tuple[np.ndarray, ...]:
        """Results in the order of `indices`; the last of them names environments."""
        *arrays, info = results
        order = np.argsort(info["env_id"])
        if not np.array_equal(np.asarray(info["env_id"])[order], indices):
            raise RuntimeError(
                f"EnvPool must answer for environments {indices.tolist()}, got "
                f"{info['env_id']}."
            )
        return tuple(np.asarray(array)[order] for array in arrays)

    def _get_simulation(self, index: int) -> NoReturn:
        raise StateNotSupported(
            "EnvPool's environments cannot be saved; a resumed run equals the "
            "uninterrupted one only from the next reset."
        )

    def _set_simulation(self, index: int, state: Mapping[str, Any], rng: Any) -> None:
        self._get_simulation(index)


def _import_envpool() -> ModuleType:
    try:
        import envpool
    except ImportError as error:
        raise ValueError(
            "env.backend=envpool needs EnvPool: pip install dppo-tf[envpool]"
        ) from error
    return envpool
