"""What agents with an entropy bonus share: acting, steps of critic, actor, temperature.

An extra file next to `train_sac_agent.py`: the reference writes these steps in each of
SAC, RLPD and Cal-QL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from agent.common.checkpoints import AttributeState
from agent.common.learner import Learner
from agent.common.rollout import to_tensors
from agent.common.rounds import Batch, Losses, with_discount
from agent.finetune.train_replay_agent import TrainReplayAgent
from util.checkpoint import StateRegistry


class TrainSoftAgent(TrainReplayAgent):
    """Soft actor-critic (Haarnoja et al., 2018, section 6); leaves say how often."""

    config_keys: ClassVar[frozenset[str]] = TrainReplayAgent.config_keys | {
        "train.actor_lr",
        "train.critic_lr",
        "train.target_ema_rate",
        "train.target_entropy",
        "train.init_temperature",
    }
    console = ("loss - actor", "loss - critic", "entropy coeff")
    losses = (*TrainReplayAgent.losses, "entropy coeff", "loss - alpha")
    # Draws of the critic's loss.
    critic_draws: ClassVar[int] = 1

    def build(self) -> None:
        """Adds the temperature."""
        train = self.cfg.train
        self.target_ema_rate = train.target_ema_rate
        self.target_entropy = train.target_entropy
        self.learns_temperature = train.get("automatic_entropy_tuning", True)
        self.log_alpha = tf.Variable(np.log(train.init_temperature), dtype=tf.float64)
        super().build()

    def make_learners(self) -> dict[str, Learner]:
        """Actor, critic and temperature; the last has no schedule."""
        alpha = Learner([self.log_alpha], self.cfg.train.critic_lr)
        return {**super().make_learners(), "alpha": alpha}

    def state(self) -> StateRegistry:
        """Adds the temperature."""
        registry = super().state()
        registry.add("temperature", AttributeState(self, "log_alpha"))
        return registry

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Squashed samples, or nearly their mean when evaluating."""
        shape = (len(obs["state"]), self.model.horizon_steps * self.cfg.action_dim)
        noise = self.draws.policy_noise(1, shape)
        return self._sample[explore](to_tensors(obs), noise).numpy(), {}

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """Critic and its slow copy, then actor and temperature if they are due."""
        critic_noise, actor_noise = noise or (None, None)
        rows = {key: value for key, value in batch.items() if key != "acts"}
        alpha, critic = self.step_critic(rows, critic_noise)
        actor = temperature = tf.constant(0.0)
        if batch["acts"]:
            actor, temperature = self.step_actor(rows["obs"], alpha, actor_noise)
        return dict(zip(self.losses, (critic, actor, alpha, temperature), strict=True))

    def round_noise(self, acts: bool) -> list | None:
        """Draws of the critic's loss, then of actor and temperature."""
        draws = self.draws.recorded
        critic = draws(self.critic_draws)
        return [critic, draws(1 + self.learns_temperature) if acts else None]

    def step_critic(
        self, batch: Batch, noise: list | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Bellman step and soft target update; returns the temperature and the loss."""
        alpha = tf.cast(tf.exp(self.log_alpha), tf.float32)
        loss = self.learners["critic"].minimise(
            lambda: self.loss_critic(batch, alpha, noise)
        )
        self.model.update_target_critic(self.target_ema_rate)
        return alpha, loss

    def loss_critic(
        self, batch: Batch, alpha: tf.Tensor, noise: list | None
    ) -> tf.Tensor:
        """The critics' loss on a batch."""
        rows = with_discount(batch, self.gamma)
        return self.model.loss_critic(**rows, alpha=alpha, noise=noise)

    def step_actor(
        self, obs: dict[str, tf.Tensor], alpha: tf.Tensor, noise: list | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Policy step, then temperature step on the new policy; both losses."""
        own = [None if noise is None else noise[i : i + 1] for i in range(2)]
        actor = self.learners["actor"].minimise(
            lambda: self.model.loss_actor(obs, alpha, noise=own[0])
        )
        if not self.learns_temperature:
            return actor, tf.constant(0.0)
        temperature = self.learners["alpha"].minimise(
            lambda: self.model.loss_temperature(
                obs, tf.exp(self.log_alpha), self.target_entropy, noise=own[1]
            )
        )
        return actor, tf.cast(temperature, tf.float32)
