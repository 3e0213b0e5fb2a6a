"""IBRL (Hu et al., 2023): a cloned policy proposes actions beside the learned one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from agent.common.learner import learner_keys
from agent.common.offline import OfflineTransitions
from agent.common.rollout import to_tensors
from agent.common.rounds import Batch, Losses, with_discount
from agent.finetune.train_replay_agent import TrainReplayAgent

logger = logging.getLogger(__name__)


class TrainIBRLAgent(TrainReplayAgent):
    """Critic steps, then the actor's, on a buffer that begins with the data set."""

    config_keys: ClassVar[frozenset[str]] = TrainReplayAgent.config_keys | {
        "train.critic_num_update",
        "train.update_freq",
        "train.target_ema_rate",
        *learner_keys("actor_", "critic_"),
    }
    explores_randomly = False

    def build(self) -> None:
        """Fills the buffer; all rounds of an iteration are one call."""
        train = self.cfg.train
        self.rounds_per_call, self.update_freq = (
            train.critic_num_update,
            train.update_freq,
        )
        self.target_ema_rate = train.target_ema_rate
        super().build()
        offline = OfflineTransitions(self.cfg)
        if len(offline) > train.buffer_size:
            logger.warning(
                "train.buffer_size=%d: only the last transitions of the %d in "
                "offline_dataset are kept.",
                train.buffer_size,
                len(offline),
            )
        self.buffer.add(offline.all_rows())

    def critic_parameters(self) -> Sequence[keras.Variable]:
        """Those of the whole ensemble."""
        return list(self.model.ensemble_params.values())

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks of the teacher or of the actor, as the critics choose."""
        noise = self.acting_noise(explore)
        return self._sample[explore](to_tensors(obs), noise).numpy(), {}

    def acting_noise(self, explore: bool) -> list | None:
        """Order of the critics, teacher, actor, and the choice if it is by chance."""
        chooses = explore and self.model.soft_action_sample
        return self.draws.recorded(3 + chooses)

    def should_update(self) -> bool:
        """Every `update_freq` iterations."""
        return super().should_update() and self.itr % self.update_freq == 0

    def round_count(self) -> int:
        """`critic_num_update`."""
        return self.rounds_per_call

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """Critics and their slow copies, then the actor and its own (algorithm 1)."""
        critic_noise, actor_noise = noise or (None, None)
        model, tau = self.model, self.target_ema_rate
        rows = with_discount(batch, self.gamma)
        due = rows.pop("acts")
        critic = self.learners["critic"].minimise(
            lambda: model.loss_critic(**rows, noise=critic_noise)
        )
        model.update_target_critic(tau)
        actor = tf.constant(0.0)
        if due:
            actor = self.learners["actor"].minimise(
                lambda: model.loss_actor(rows["obs"], noise=actor_noise)
            )
            model.update_target_actor(tau)
        return {"loss - critic": critic, "loss - actor": actor}

    def round_noise(self, acts: bool) -> list | None:
        """Order of the critics, teacher, target actor; then the actor's sample."""
        critic = self.draws.recorded(3)
        return [critic, self.draws.recorded(1) if acts else None]
