"""The PyTorch peer's cases, named as in `ours.py`."""

from __future__ import annotations

import numpy as np
import torch
from omegaconf import DictConfig

from tests.bench import peer_train
from tests.bench.leaves import rollout_arrays
from tests.bench.process_env import ProcessVectorEnv, env_factory


class Sampling:
    """(a) Actions for all environments, with chains."""

    def __init__(self, cfg: DictConfig, obs: np.ndarray) -> None:
        self.agent, self.obs = peer_train.Finetuning(cfg), obs

    def __call__(self) -> None:
        self.agent.act(self.obs)


class Cloning:
    """(b) An epoch of behaviour cloning."""

    def __init__(self, cfg: DictConfig) -> None:
        with np.load(cfg.train_dataset_path) as file:
            states, actions = file["states"], file["actions"]
        horizon = cfg.horizon_steps
        chunks = np.lib.stride_tricks.sliding_window_view(actions, horizon, axis=0)
        actions = np.ascontiguousarray(chunks.transpose(0, 2, 1))
        self.agent = peer_train.Cloning(cfg, states[: len(actions), None], actions)

    def __call__(self) -> None:
        self.agent.epoch()


class Updating:
    """(c) An epoch of PPO minibatches over a scored rollout."""

    def __init__(self, cfg: DictConfig, steps: int, by_row: bool = False) -> None:
        self.agent = peer_train.Finetuning(cfg, by_row=by_row)
        arrays = rollout_arrays(cfg, steps)
        self.data = self.agent.score(arrays)
        rows = len(self.data["chains"])
        self.data["returns"] = torch.rand(rows)
        self.data["advantages"] = torch.randn(rows)

    def __call__(self) -> None:
        self.agent.run_epochs(self.data)


class Iterating:
    """(e) Whole iterations, with environments."""

    def __init__(self, cfg: DictConfig) -> None:
        self.venv = ProcessVectorEnv(env_factory(cfg), cfg.env.n_envs, cfg.seed)
        self.agent = peer_train.Finetuning(cfg, self.venv)

    def __call__(self) -> None:
        self.agent.iterate()

    def close(self) -> None:
        """Ends the environments."""
        self.venv.close()
