"""Pre-training of a diffusion policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from agent.pretrain.train_agent import PreTrainAgent


class TrainDiffusionAgent(PreTrainAgent):
    """Denoising loss on action chunks."""

    def loss(
        self, batch: Any, noise: Sequence | None = None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The model's denoising loss."""
        return self.model.loss(batch.actions, batch.conditions, noise=noise), {}

    def loss_draws(self, batch: Any) -> Sequence | None:
        """Steps and noise of the batch."""
        return self.model.loss_draws(batch.actions)
