"""The toy point behind `BatchedVectorEnv`, and comparisons with `SyncVectorEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np

from env.gym_utils import SyncVectorEnv
from env.gym_utils.batched_vector_env import BatchedVectorEnv
from env.gym_utils.state import get_generator, make_generator
from tests.env.gym_utils.points import assert_same, draw_actions
from tests.fakes import PointEnv

KEPT = ("final_obs", "full_obs", "nan")


class BatchedPoints(BatchedVectorEnv):
    """Steps points without wrappers; what wrappers do comes from the base."""

    def __init__(self, env_fns):
        super().__init__(env_fns)
        base = self._pipeline.base
        self._points = [
            PointEnv(
                *(base.position.size, base.pushed, base.bound, base.noise),
                nan_after=base.nan_after,
            )
            for _ in env_fns
        ]
        self.closed = False

    def _close(self):
        pass

    def _advance(self, indices, actions):
        pairs = zip(indices, actions, strict=True)
        results = [self._points[index].step(action) for index, action in pairs]
        obs, rewards, terminated = (np.array([r[k] for r in results]) for k in range(3))
        return obs, rewards, terminated

    def _restart(self, indices, seeds):
        pairs = zip(indices, seeds, strict=True)
        return np.array([self._points[i].reset(seed=seed)[0] for i, seed in pairs])

    def _get_simulation(self, index):
        point = self._points[index]
        return point.get_state(), get_generator(point._np_random)

    def _set_simulation(self, index, state, rng):
        self._points[index].set_state(state)
        self._points[index]._np_random = make_generator(rng)


def run_kept(venv: Any, n_steps: int, dtype: Any = np.float64) -> list[Any]:
    """Results of random chunks without gymnasium's infos, and what is remembered."""
    rng = np.random.default_rng(0)
    results = []
    for _ in range(n_steps):
        *result, infos = venv.step(draw_actions(venv, rng).astype(dtype))
        kept = [{k: info[k] for k in KEPT if k in info} for info in infos]
        results.append([*result, kept, venv.call("cnt")])
    return results


def count_ends(results: list[Any]) -> int:
    return sum((r[2] | r[3]).sum() for r in results)


def assert_equal_to_sync(
    kind: Any, make: Any, n_steps: int, num_envs: int = 3, dtype: Any = np.float64
) -> list[Any]:
    """Runs `kind` and `SyncVectorEnv` from one seed; they have to be equal bitwise."""
    both = []
    for cls in (SyncVectorEnv, kind):
        venv = cls([make] * num_envs)
        first = venv.reset(seed=3)
        both.append([first, run_kept(venv, n_steps, dtype), venv.reset()])
        venv.close()
    assert_same(*both)
    return both[0][1]
