"""Pre-training of a Gaussian policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf

from agent.pretrain.train_agent import PreTrainAgent


class TrainGaussianAgent(PreTrainAgent):
    """Likelihood of action chunks, with a bonus for entropy if configured."""

    config_keys: ClassVar[frozenset[str]] = PreTrainAgent.config_keys | {
        "train.ent_coef"
    }

    def loss(
        self, batch: Any, noise: Sequence | None = None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The model's negative log-likelihood, which draws nothing, and the entropy."""
        ent_coef = self.cfg.train.get("ent_coef", 0.0)
        return self.model.loss(batch.actions, batch.conditions, ent_coef=ent_coef)
