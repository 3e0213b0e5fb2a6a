"""Vector environments of the toy point, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from env.gym_utils import AsyncVectorEnv, SyncVectorEnv
from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep
from tests.fakes import POINT_ID

MULTI_STEP = {
    "n_obs_steps": 2,
    "n_action_steps": 3,
    "max_episode_steps": 10,
    "reset_within_step": True,
}
BACKENDS = {
    "sync": SyncVectorEnv,
    "async": lambda fns, **kwargs: AsyncVectorEnv(fns, num_workers=2, **kwargs),
}


def make_point(multi_step: dict[str, Any] | None = None, **kwargs: Any):
    env = gymnasium.make(POINT_ID, disable_env_checker=True, **kwargs)
    env = MujocoLocomotionLowdimWrapper(env, None)
    return MultiStep(env, **(MULTI_STEP | (multi_step or {})))


def make_venv(
    backend: str, num_envs: int = 3, context: str | None = None, **kwargs: Any
):
    options = {} if context is None else {"context": context}
    return BACKENDS[backend]([lambda: make_point(**kwargs)] * num_envs, **options)


def draw_actions(venv: Any, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1, 1, (venv.num_envs, *venv.single_action_space.shape))


def run(venv: Any, n_steps: int, seed: int = 0) -> list[dict[str, Any]]:
    """Results of random chunks, as comparable dicts."""
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(n_steps):
        obs, reward, terminated, truncated, infos = venv.step(draw_actions(venv, rng))
        results.append(
            obs
            | {"reward": reward, "terminated": terminated, "truncated": truncated}
            | {"infos": infos}
        )
    return results


def assert_same(first: Any, second: Any) -> None:
    """Bitwise equality of nested results."""
    np.testing.assert_equal(first, second, strict=True)
