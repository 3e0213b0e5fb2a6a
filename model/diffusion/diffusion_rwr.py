"""Reward-weighted regression (Peters and Schaal, 2007) of a diffusion policy."""

from __future__ import annotations

import tensorflow as tf

from model.common.critic import Cond
from model.diffusion.exploring import ExploringDiffusion
from util.seeding import Noise


class RWRDiffusion(ExploringDiffusion):
    """Behaviour cloning in which each chunk has a weight; `network` is the policy."""

    def p_losses(
        self,
        x_start: tf.Tensor,
        cond: Cond,
        weights: tf.Tensor,
        t: tf.Tensor,
        noise: Noise = None,
    ) -> tf.Tensor:
        """mean_b w_b mean |prediction error of chunk b|^2.

        `loss(x, cond, weights)` draws the steps. The agent makes the weights:
        min(exp(beta return), limit).

        Args:
            x_start: Clean chunks (B, Ta, Da).
            cond: Observations.
            weights: (B,), not negative.
            t: Denoising step of each row, (B,) int.
            noise: The added noise (B, Ta, Da).
        """
        error = self.squared_error(x_start, cond, t, noise)
        return tf.reduce_mean(weights * tf.reduce_mean(error, axis=[1, 2]))
