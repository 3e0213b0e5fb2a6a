"""Soft actor-critic (Haarnoja et al., 2018) with a learned temperature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from agent.common.learner import Learner
from agent.common.offline import sample_rows
from agent.common.rounds import as_rows
from agent.finetune.train_soft_agent import TrainSoftAgent


class TrainSACAgent(TrainSoftAgent):
    """Critic, actor and temperature steps at their own replay ratios."""

    config_keys: ClassVar[frozenset[str]] = TrainSoftAgent.config_keys | {
        "train.critic_replay_ratio",
        "train.actor_replay_ratio",
    }
    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "offline_dataset_path": "soft actor-critic reads no data set"
    }

    def build(self) -> None:
        """Adds the intervals of updates and the compiled steps."""
        super().build()
        train = self.cfg.train
        self.critic_interval = max(1, int(self.batch_size / train.critic_replay_ratio))
        self.actor_interval = max(1, int(self.batch_size / train.actor_replay_ratio))
        self.critic_step = tf.function(self.step_critic, jit_compile=True)
        self.actor_step = tf.function(self.step_actor, jit_compile=True)

    def make_learners(self) -> dict[str, Learner]:
        """All of them with constant learning rates."""
        train, model = self.cfg.train, self.model
        return {
            "actor": Learner(model.network.parameters(), train.actor_lr),
            "critic": Learner(model.critic.parameters(), train.critic_lr),
            "alpha": Learner([self.log_alpha], train.critic_lr),
        }

    def should_update(self) -> bool:
        """After exploration, every `batch_size / critic_replay_ratio` iterations.

        A batch has no row twice, so the buffer must hold that many.
        """
        due = super().should_update() and self.itr % self.critic_interval == 0
        return due and len(self.buffer) >= self.batch_size

    def learn(self) -> dict[str, float]:
        """One critic step; two actor and temperature steps when they are due.

        All use the temperature from before the update and one batch.
        """
        rows = sample_rows(self.draws, self.sources, self.batch_size, replace=False)
        batch = as_rows({key: value[0] for key, value in rows.items()})
        alpha, loss_critic = self.critic_step(batch, self.draws.recorded(1))
        metrics = {"loss - critic": float(loss_critic), "entropy coeff": float(alpha)}
        self.trace("critic_update", batch=batch, loss_critic=loss_critic, alpha=alpha)
        if self.itr % self.actor_interval == 0:
            for _ in range(2):
                noise = self.draws.recorded(2)
                loss_actor, loss_alpha = self.actor_step(batch["obs"], alpha, noise)
                self.trace("actor_update", loss_actor=loss_actor, loss_alpha=loss_alpha)
            metrics["loss - actor"] = float(loss_actor)
        return metrics
