"""Soft actor-critic (Haarnoja et al., 2018) with a learned temperature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from agent.common.checkpoints import AttributeState
from agent.common.learner import Learner
from agent.common.rollout import to_tensors
from agent.common.rounds import as_rows
from agent.common.setup import make_samplers
from agent.finetune.train_replay_agent import TrainReplayAgent
from util.checkpoint import StateRegistry


class TrainSACAgent(TrainReplayAgent):
    """Critic, actor and temperature steps at their own replay ratios."""

    config_keys: ClassVar[frozenset[str]] = TrainReplayAgent.config_keys | {
        "train.actor_lr",
        "train.critic_lr",
        "train.target_ema_rate",
        "train.critic_replay_ratio",
        "train.actor_replay_ratio",
        "train.target_entropy",
        "train.init_temperature",
    }
    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "offline_dataset_path": "soft actor-critic reads no data set"
    }
    console = ("loss - actor", "loss - critic", "entropy coeff")

    def build(self) -> None:
        """Adds learners of actor, critic and temperature."""
        super().build()
        train = self.cfg.train
        if train.buffer_size < self.batch_size:
            raise ValueError(
                f"train.buffer_size must be >= train.batch_size={self.batch_size}, "
                f"got {train.buffer_size}."
            )
        self.target_ema_rate = train.target_ema_rate
        self.target_entropy = train.target_entropy
        self.critic_interval = max(1, int(self.batch_size / train.critic_replay_ratio))
        self.actor_interval = max(1, int(self.batch_size / train.actor_replay_ratio))
        self.log_alpha = tf.Variable(np.log(train.init_temperature), dtype=tf.float64)
        self.actor_learner = Learner(self.model.network.parameters(), train.actor_lr)
        self.critic_learner = Learner(self.model.critic.parameters(), train.critic_lr)
        self.alpha_learner = Learner([self.log_alpha], train.critic_lr)
        self.critic_step = tf.function(self._critic_step, jit_compile=True)
        self.actor_step = tf.function(self._actor_step, jit_compile=True)
        self._sample = make_samplers(self.model)

    def state(self) -> StateRegistry:
        """Adds the learners and the temperature."""
        registry = super().state()
        for name in ("actor", "critic", "alpha"):
            registry.add(f"{name} learner", getattr(self, f"{name}_learner"))
        registry.add("temperature", AttributeState(self, "log_alpha"))
        return registry

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Squashed samples, or nearly their mean when evaluating."""
        sample = self._sample[explore](to_tensors(obs), self._noise(len(obs["state"])))
        return sample.numpy(), {}

    def _noise(self, rows: int) -> list | None:
        return self.draws.policy_noise(1, (rows, self._action_width))

    @property
    def _action_width(self) -> int:
        return self.model.horizon_steps * self.cfg.action_dim

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
        at = self.draws.choice(len(self.buffer), self.batch_size, replace=False)
        batch = as_rows(self.buffer.take(at))
        alpha, loss_critic = self.critic_step(batch, self._noise(self.batch_size))
        metrics = {"loss - critic": float(loss_critic), "entropy coeff": float(alpha)}
        self.trace("critic_update", batch=batch, loss_critic=loss_critic, alpha=alpha)
        if self.itr % self.actor_interval == 0:
            for _ in range(2):
                noise = [self._noise(self.batch_size) for _ in range(2)]
                loss_actor, loss_alpha = self.actor_step(batch["obs"], alpha, noise)
                self.trace("actor_update", loss_actor=loss_actor, loss_alpha=loss_alpha)
            metrics["loss - actor"] = float(loss_actor)
        return metrics

    def _critic_step(
        self, batch: dict[str, Any], noise: list | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Bellman step and soft target update; returns the temperature and the loss."""
        alpha = tf.cast(tf.exp(self.log_alpha), tf.float32)
        with tf.GradientTape() as tape:
            loss = self.model.loss_critic(
                **batch, gamma=self.gamma, alpha=alpha, noise=noise
            )
        self.critic_learner.apply(tape.gradient(loss, self.critic_learner.params))
        self.model.update_target_critic(self.target_ema_rate)
        return alpha, loss

    def _actor_step(
        self, obs: dict[str, tf.Tensor], alpha: tf.Tensor, noise: list
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Policy step, then temperature step on the new policy."""
        with tf.GradientTape() as tape:
            loss = self.model.loss_actor(obs, alpha, noise=noise[0])
        self.actor_learner.apply(tape.gradient(loss, self.actor_learner.params))
        with tf.GradientTape() as tape:
            loss_alpha = self.model.loss_temperature(
                obs, tf.exp(self.log_alpha), self.target_entropy, noise=noise[1]
            )
        self.alpha_learner.apply(tape.gradient(loss_alpha, self.alpha_learner.params))
        return loss, loss_alpha
