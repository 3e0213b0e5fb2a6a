"""DIPO (Yang et al., 2023): the buffer's actions are moved up the Q-function."""

from __future__ import annotations

from typing import Any, ClassVar

import tensorflow as tf

from agent.common.rounds import Batch, Losses, as_rows, as_tensors, with_discount
from agent.finetune.train_rounds_agent import TrainRoundsAgent


class TrainDIPODiffusionAgent(TrainRoundsAgent):
    """Critic step, guided actions back into the buffer, cloning of these, slow copies.

    Rounds see what earlier ones wrote, so each is a call of its own.
    """

    config_keys: ClassVar[frozenset[str]] = TrainRoundsAgent.config_keys | {
        "train.target_ema_rate",
        "train.action_lr",
        "train.action_gradient_steps",
    }

    def build(self) -> None:
        """Compiles the two halves of a round and the end of it."""
        super().build()
        self.critic_round = tf.function(self._critic_round, jit_compile=self.jit)
        self.actor_round = tf.function(self._actor_round, jit_compile=self.jit)
        self.end_round = tf.function(self._end_round, jit_compile=self.jit)

    def take_rounds(self, count: int) -> dict[str, float]:
        """Algorithm 2 of Yang et al. (2023), on two batches a round."""
        found: Losses = {}
        for _ in range(count):
            found["loss - critic"] = self._learn_critic()
            if self.itr >= self.warmup:
                found["loss - actor"] = self._learn_actor()
            self.end_round()
        return {name: float(value) for name, value in found.items()}

    def _learn_critic(self) -> tf.Tensor:
        rows = self.choose(1, len(self.buffer))[0]
        noise = self.draws.recorded(1 + self.model.denoising_steps)
        batch = as_tensors(as_rows(self.buffer.take(rows)))
        loss = self.critic_round(batch, noise)
        self.trace("critic_round", rows=rows, loss=loss, batch=batch)
        return loss

    def _learn_actor(self) -> tf.Tensor:
        rows = self.choose(1, len(self.buffer))[0]
        batch = as_tensors(as_rows(self.buffer.take(rows)))
        guided = self.actor_round(batch, None, guide=True)
        noise = self.draws.recorded(2)
        self.buffer.put(rows, actions=guided.numpy())
        loss = self.actor_round({**batch, "actions": guided}, noise, guide=False)
        self.trace("actor_round", rows=rows, loss=loss, guided=guided)
        return loss

    def _critic_round(self, batch: Batch, noise: list | None) -> tf.Tensor:
        return self.step_critic(
            "critic",
            lambda: self.model.loss_critic(
                **with_discount(batch, self.gamma), noise=noise
            ),
        )

    def _actor_round(self, batch: Batch, noise: list | None, guide: bool) -> Any:
        obs, actions = batch["obs"], batch["actions"]
        if guide:
            train = self.cfg.train
            return self.model.guide_actions(
                obs, actions, train.action_lr, train.action_gradient_steps
            )
        return self.step(
            "actor", lambda: self.model.loss(actions, obs, noise=noise), True
        )

    def _end_round(self) -> None:
        rate = self.cfg.train.target_ema_rate
        self.model.update_target_critic(rate)
        self.model.update_target_actor(rate)
