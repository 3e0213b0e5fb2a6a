"""The one place that knows this project's agents: what a measurement calls.

Relied on: `agent.act(obs, explore)`, `agent.update(rollout)`, `agent.run_epochs(data)`,
`agent.take_rounds(count)`, `agent.learn()`, `agent.buffer`, `agent.iterate()`,
`agent.model`, and `run_epoch()` of pre-training.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict
from omegaconf import DictConfig

from agent.common.rollout import Rollout
from agent.finetune.train_replay_agent import TrainReplayAgent
from tests.bench.leaves import observations, rollout_arrays, transition_rows
from util.config import resolve_target


def make_agent(cfg: DictConfig, envs: bool = False) -> Any:
    """The agent of a leaf; fine-tuning gets environments only if asked to."""
    Path(cfg.logdir).mkdir(parents=True, exist_ok=True)
    kind = resolve_target(cfg._target_)
    if "train_dataset" in cfg or envs:
        return kind(cfg)
    example = observations(cfg, np.random.default_rng(0), 1)
    spaces = {
        key: Box(-np.inf, np.inf, value.shape[1:], np.float32)
        if value.dtype == np.float32
        else Box(0, 255, value.shape[1:], np.uint8)
        for key, value in example.items()
    }
    venv = SimpleNamespace(
        num_envs=cfg.env.n_envs, single_observation_space=Dict(spaces)
    )
    return kind(cfg, venv=venv)


class Sampling:
    """(a), (f), (g) Actions for all environments, with chains."""

    def __init__(self, cfg: DictConfig, obs: Mapping[str, np.ndarray]) -> None:
        self.agent, self.obs = make_agent(cfg), obs

    def __call__(self) -> None:
        self.agent.act(self.obs, explore=True)


class Cloning:
    """(b), (f), (g) An epoch of behaviour cloning."""

    def __init__(self, cfg: DictConfig) -> None:
        self.agent = make_agent(cfg)

    def __call__(self) -> None:
        self.agent.run_epoch()


class Updating:
    """(c), (f), (g) PPO minibatches over a scored rollout.

    Args:
        cfg: Experiment.
        steps: Chunk steps of the rollout.
        pairs: How many of its pairs are learned from.
    """

    def __init__(self, cfg: DictConfig, steps: int, pairs: int) -> None:
        self.agent = make_agent(cfg)
        self.agent.rows = lambda data: pairs
        self.data = scored(self.agent, rollout_of(cfg, steps, self.agent.model))

    def __call__(self) -> None:
        self.agent.run_epochs(self.data)


class Learning:
    """(h) Rounds on a filled buffer, as after each rollout.

    Args:
        cfg: Experiment.
        rounds: How many.
    """

    def __init__(self, cfg: DictConfig, rounds: int) -> None:
        self.agent, self.rounds = make_agent(cfg), rounds
        self.agent.buffer.add(transition_rows(cfg))
        self.agent.itr = 10**6  # warmed up and explored

    def __call__(self) -> None:
        if isinstance(self.agent, TrainReplayAgent):
            self.agent.learn()  # takes as many
        else:
            self.agent.take_rounds(self.rounds)


class Iterating:
    """(e) Whole iterations, with environments."""

    def __init__(self, cfg: DictConfig) -> None:
        self.agent = make_agent(cfg, envs=True)

    def __call__(self) -> None:
        self.agent.iterate()

    def close(self) -> None:
        """Ends the environments."""
        self.agent.venv.close()


def rollout_of(cfg: DictConfig, steps: int, model: Any) -> Rollout:
    """The made-up rollout as the agent's own type, scored as sampling does."""
    arrays = rollout_arrays(cfg, steps)
    logprobs = [
        model.get_logprobs(
            {key: value[step] for key, value in arrays["obs"].items()}, chains
        )
        for step, chains in enumerate(arrays["chains"])
    ]
    inner = (cfg.env.n_envs, cfg.ft_denoising_steps)
    shape = arrays["rewards"].shape
    terminated = arrays["terminated"]
    return Rollout(
        obs=arrays["obs"],
        actions=arrays["chains"][:, :, -1, : cfg.act_steps],
        extras={
            "chains": arrays["chains"],
            "logprobs": np.stack(
                [p.numpy().reshape(*inner, *p.shape[1:]) for p in logprobs]
            ),
        },
        rewards=arrays["rewards"],
        terminated=terminated,
        truncated=np.zeros(shape, bool),
        firsts=firsts_of(terminated),
        last_obs=arrays["last_obs"],
        broken=np.zeros(shape, bool),
    )


def firsts_of(terminated: np.ndarray) -> np.ndarray:
    """1 where an episode starts, (S + 1, E)."""
    return np.concatenate([np.ones_like(terminated[:1]), terminated]).astype(float)


def scored(agent: Any, rollout: Rollout) -> Any:
    """What `update` hands to `run_epochs`; runs a whole update, which compiles."""
    kept: list[Any] = []
    run_epochs = agent.run_epochs

    def keep(data: Any, *args: Any) -> Any:
        kept.append(data)
        return run_epochs(data, *args)

    agent.run_epochs = keep
    agent.update(rollout)
    del agent.run_epochs
    return kept[0]
