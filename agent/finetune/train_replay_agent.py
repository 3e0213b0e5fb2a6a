"""Off-policy agents: a replay buffer, random exploration, step-wise iterations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from agent.common.episodes import Episodes
from agent.common.replay import ReplayBuffer, transitions
from agent.common.rollout import Rollout, RolloutPlan
from agent.finetune.train_agent import TrainAgent
from util.checkpoint import StateRegistry
from util.config import compat

EVAL_STEPS = 100_000


class TrainReplayAgent(TrainAgent):
    """Owns the buffer, when to explore at random, when to evaluate and to update."""

    config_keys: ClassVar[frozenset[str]] = TrainAgent.config_keys | {
        "train.gamma",
        "train.buffer_size",
        "train.scale_reward_factor",
        "train.n_eval_episode",
        "train.n_explore_steps",
    }
    # The buffer makes `last` large, so it is written now and then.
    save_last_minutes = 5.0

    def build(self) -> None:
        """Makes the buffer; leaves add learners."""
        train = self.cfg.train
        self.gamma = train.gamma
        self.buffer = ReplayBuffer(train.buffer_size)
        self.scale_reward_factor = train.scale_reward_factor
        self.n_eval_episode = train.n_eval_episode
        self.n_explore_steps = train.n_explore_steps
        self.returns = np.zeros(self.venv.num_envs)
        self.finished_returns: list[float] = []
        self.metrics: dict[str, float] = {}

    def state(self) -> StateRegistry:
        """Adds the buffer."""
        registry = super().state()
        registry.add("buffer", self.buffer)
        return registry

    counters = (*TrainAgent.counters, "returns", "finished_returns", "metrics")

    def plan(self) -> RolloutPlan:
        """One iteration is `n_steps` chunks, or an evaluation by episodes."""
        evaluate = self.itr % self.val_freq == 0 and self.itr > self.n_explore_steps
        after_eval = self.last_itr_eval and not compat("no_reset_after_eval")
        reset = self.reset_at_iteration or evaluate or after_eval or self.itr == 0
        if evaluate:
            return RolloutPlan(
                EVAL_STEPS, self.n_eval_episode, reset, explore=False, learn=False
            )
        random = self.itr < self.n_explore_steps
        return RolloutPlan(self.n_steps, reset=reset, random=random)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Stores the transitions and learns when it is time."""
        self._count(rollout)
        self.buffer.add(transitions(rollout, self.scale_reward_factor))
        if self.should_update():
            self.metrics |= self.learn()
        return self.metrics

    def should_update(self) -> bool:
        """Whether this iteration takes gradient steps."""
        return self.itr > self.n_explore_steps

    def learn(self) -> dict[str, float]:
        """Gradient steps of one iteration; returns metrics."""
        raise NotImplementedError

    def _count(self, rollout: Rollout) -> None:
        """Follows episode returns across iterations shorter than an episode."""
        steps = zip(
            rollout.firsts, rollout.rewards, rollout.done, rollout.broken, strict=False
        )
        for first, rewards, done, broken in steps:
            self.returns = np.where(first == 1, 0.0, self.returns) + rewards
            self.finished_returns += [float(r) for r in self.returns[done & ~broken]]
            self.broken_episodes += int(broken.sum())

    def warn_about_length(self) -> None:
        """Evaluations run until enough episodes are over, so nothing is too short."""

    def should_log(self, plan: RolloutPlan) -> bool:
        """As the reference, not before the exploration ends; evaluations always."""
        due = self.itr % self.log_freq == 0 and self.itr > self.n_explore_steps
        return due or not plan.learn

    def report(
        self,
        plan: RolloutPlan,
        episodes: Episodes,
        metrics: Mapping[str, float],
        seconds: float,
        arrays: Mapping[str, Any],
    ) -> None:
        """Reports logged iterations only, with returns that span iterations."""
        if not plan.learn:
            self.returns = np.zeros(self.venv.num_envs)
        if compat("single_step_episode_statistics"):
            super().report(plan, episodes, metrics, seconds, arrays)
            return
        if not self.should_log(plan):
            return
        if plan.learn:
            # Broken episodes have been counted already.
            rewards = np.array(self.finished_returns)
            spans = np.zeros((len(rewards), 3), np.int64)
            episodes = Episodes(spans, rewards, rewards, rewards > np.inf)
            self.finished_returns = []
        super().report(plan, episodes, metrics, seconds, arrays)
