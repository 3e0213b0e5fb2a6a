"""Cal-QL (Nakamoto et al., 2023): conservative Q-learning offline, then online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import tensorflow as tf

from agent.common.episodes import find_spans
from agent.common.learner import learner_keys
from agent.common.offline import OfflineTransitions, Rows, Source
from agent.common.replay import ReplayBuffer
from agent.common.rollout import Rollout, RolloutPlan
from agent.common.rounds import Batch, with_discount
from agent.dataset.gather import discounted_returns
from agent.finetune.train_replay_agent import EVAL_STEPS
from agent.finetune.train_soft_agent import TrainSoftAgent
from util.checkpoint import StateRegistry
from util.config import compat


class TrainCalQLAgent(TrainSoftAgent):
    """Rounds of critic, actor and temperature.

    Offline, an iteration takes `num_update` rounds on the data set and no steps in the
    environment. Online, it collects episodes and takes as many rounds as they have
    steps, on batches of which half is offline.
    """

    config_keys: ClassVar[frozenset[str]] = TrainSoftAgent.config_keys | {
        "train.train_online",
        "train.num_update",
        "train.n_random_actions",
        "train.automatic_entropy_tuning",
        "train.n_episode_per_epoch",
        "train.online_utd_ratio",
        *learner_keys("actor_", "critic_"),
    }
    learns_after = 0
    # Random actions, next actions of the target, actions and next actions of the gap.
    critic_draws = 4

    def build(self) -> None:
        """Reads what the phase needs."""
        train, n_envs = self.cfg.train, self.venv.num_envs
        if n_envs != 1:
            raise ValueError(
                f"env.n_envs must be 1, because episodes are collected one by one; "
                f"got {n_envs}."
            )
        self.online, self.collected = train.train_online, 0
        self.n_random_actions = train.n_random_actions
        self.stray_returns: StrayReturns | None = None
        super().build()

    def make_sources(self) -> Sequence[Source]:
        """The data set; online the buffer, too."""
        shares = 1 + self.online
        offline = OfflineTransitions(self.cfg, shares=shares, returns=True)
        online: Source = self.buffer
        if compat("calql_misaligned_returns"):
            online = self.stray_returns = StrayReturns(self.buffer)
        return [offline, online] if self.online else [offline]

    def state(self) -> StateRegistry:
        """Adds stray returns, if there are any."""
        registry = super().state()
        if self.stray_returns is not None:
            registry.add("stray returns", self.stray_returns.returns)
        return registry

    def plan(self) -> RolloutPlan:
        """Offline nothing is collected, online whole episodes are."""
        plan = super().plan()
        if not plan.learn:
            return plan
        if not self.online:
            return replace(plan, max_steps=0, reset=False)
        episodes = self.cfg.train.get("n_episode_per_epoch", 1)
        return replace(plan, max_steps=EVAL_STEPS, max_episodes=episodes)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Also notes how many steps were collected."""
        self.collected = len(rollout.rewards)
        return super().update(rollout)

    def evaluated(self, rollout: Rollout) -> dict[str, float]:
        """As `stray_returns` wants it."""
        if self.stray_returns is not None:
            self.stray_returns.add(rollout, self.gamma)
        return {}

    def columns(self, rollout: Rollout) -> dict[str, np.ndarray]:
        """The discounted sum of rewards from each step on, to its episode's end."""
        if self.stray_returns is not None:
            self.stray_returns.add(rollout, self.gamma)
            return {}
        ends = np.flatnonzero(rollout.done[:-1, 0]) + 1
        lengths = np.diff([0, *ends, len(rollout.done)])
        returns = discounted_returns(rollout.rewards[:, 0], lengths, self.gamma)
        return {"returns": returns[:, None] * self.scale_reward_factor}

    def round_count(self) -> int:
        """As many as steps were collected, or `num_update` offline."""
        train = self.cfg.train
        if not self.online:
            return train.num_update
        return int(self.collected * train.get("online_utd_ratio", 1))

    def acts(self, numbers: np.ndarray, count: int) -> np.ndarray:
        """In every round."""
        return np.ones(len(numbers), bool)

    def loss_critic(
        self, batch: Batch, alpha: tf.Tensor, noise: list | None
    ) -> tf.Tensor:
        """With random actions, uniform on [-1, 1]; the temperature is not in it."""
        draws = self.model.draws(noise)
        rows, *chunk = batch["actions"].shape
        uniform = draws.uniform([rows, self.n_random_actions, *chunk])
        return self.model.loss_critic(
            **with_discount(batch, self.gamma),
            random_actions=2.0 * uniform - 1.0,
            noise=draws,
        )


class StrayReturns:
    """The buffer with returns of other rows (`calql_misaligned_returns`).

    The reference adds returns of evaluations, too, whose transitions it does not store.

    Args:
        buffer: The transitions.
    """

    def __init__(self, buffer: ReplayBuffer) -> None:
        self.buffer, self.returns = buffer, ReplayBuffer(buffer.capacity)

    def __len__(self) -> int:
        return len(self.buffer)

    def add(self, rollout: Rollout, gamma: float) -> None:
        """Appends unscaled returns of the episodes that ended."""
        spans = find_spans(rollout.firsts)
        if len(spans):
            rewards = [rollout.rewards[a : b + 1, env] for env, a, b in spans]
            lengths = spans[:, 2] - spans[:, 1] + 1
            found = discounted_returns(np.concatenate(rewards), lengths, gamma)
            self.returns.add({"returns": found})

    def take(self, indices: np.ndarray) -> Rows:
        """Rows by age, with the returns of that age."""
        return self.buffer.take(indices) | self.returns.take(indices)
