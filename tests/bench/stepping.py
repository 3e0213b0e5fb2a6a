"""(d) The vector environments, stepped with random chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
from omegaconf import DictConfig

from env import gym_utils
from tests.bench.cases import PROCESSES
from tests.bench.process_env import ProcessVectorEnv, env_factory

CHUNKS = 25


def back_ends() -> list[str]:
    """What is compared, the original's way first."""
    return [PROCESSES, *gym_utils._BACKENDS]


class Stepping:
    """Some chunks in all environments of an experiment.

    Args:
        cfg: Experiment.
        back_end: One of `back_ends`.
    """

    def __init__(self, cfg: DictConfig, back_end: str) -> None:
        envs = cfg.env.n_envs
        self.venv: Any
        if back_end == PROCESSES:
            self.venv = ProcessVectorEnv(env_factory(cfg), envs)
        else:
            wrappers = cfg.env.wrappers
            self.venv = gym_utils.make_async(
                cfg.env.name, envs, wrappers=wrappers, backend=back_end
            )
        self.venv.reset()
        self.units = CHUNKS * envs * cfg.act_steps  # env steps
        shape = (CHUNKS, envs, cfg.act_steps, cfg.action_dim)
        self.actions = np.random.default_rng(0).uniform(-1, 1, shape)

    def __call__(self) -> None:
        for action in self.actions:
            self.venv.step(action)

    def close(self) -> None:
        """Ends the environments."""
        self.venv.close()
