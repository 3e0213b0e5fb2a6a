"""The PyTorch peer's cases, named as in `ours.py`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from omegaconf import DictConfig

from tests.bench import peer_build, peer_train
from tests.bench.leaves import rollout_arrays
from tests.bench.process_env import ProcessVectorEnv, env_factory


class Sampling:
    """(a), (f), (g) Actions for all environments, with chains.

    Args:
        cfg: Experiment.
        obs: Of all environments.
        encode_once: Each network encodes images once, not in every denoising step.
    """

    def __init__(
        self, cfg: DictConfig, obs: Mapping[str, np.ndarray], encode_once: bool = False
    ) -> None:
        self.agent, self.obs = peer_train.Finetuning(cfg), obs
        self.encode_once = encode_once

    def __call__(self) -> None:
        if self.encode_once:
            self.agent.model.encode(peer_train.tensors(self.obs))
        self.agent.act(self.obs)


class Cloning:
    """(b), (f), (g) An epoch of behaviour cloning."""

    def __init__(self, cfg: DictConfig) -> None:
        with np.load(cfg.train_dataset_path) as file:
            arrays = dict(file)
        chunks = np.lib.stride_tricks.sliding_window_view(
            arrays["actions"], cfg.horizon_steps, axis=0
        )
        actions = np.ascontiguousarray(chunks.transpose(0, 2, 1))
        names = {"state": "states", "rgb": "images"}
        obs = {
            key: arrays[name][: len(actions), None]
            for key, name in names.items()
            if name in arrays
        }
        self.agent = peer_train.Cloning(cfg, obs, actions)

    def __call__(self) -> None:
        self.agent.epoch()


class Updating:
    """(c), (f), (g) PPO minibatches over a scored rollout.

    Args:
        cfg: Experiment.
        steps: Chunk steps of the rollout.
        pairs: How many of its pairs are learned from.
        by_row: See `PPODiffusion`.
    """

    def __init__(
        self, cfg: DictConfig, steps: int, pairs: int, by_row: bool = False
    ) -> None:
        self.agent, self.pairs = peer_train.Finetuning(cfg, by_row=by_row), pairs
        self.data = self.agent.score(rollout_arrays(cfg, steps))
        rows = len(self.data["chains"])
        self.data["returns"] = torch.rand(rows)
        self.data["advantages"] = torch.randn(rows)

    def __call__(self) -> None:
        self.agent.run_epochs(self.data, self.pairs)


class Learning:
    """(h) Rounds on a filled buffer, as after each rollout.

    Args:
        cfg: Experiment.
        rounds: How many.
    """

    def __init__(self, cfg: DictConfig, rounds: int) -> None:
        self.agent = peer_build.rounds(cfg)
        self.rounds = rounds

    def __call__(self) -> None:
        self.agent.take_rounds(self.rounds)


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
