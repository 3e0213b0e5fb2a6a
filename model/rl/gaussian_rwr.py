"""Reward-weighted regression (Peters and Schaal, 2007) of a Gaussian policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import GaussianModel
from util.torch_to_tf import nn_Module
from util.torch_to_tf.distributions import normal_log_prob


class RWR_Gaussian(GaussianModel):
    """Maximum likelihood of sampled chunks, weighted by what they earned.

    Args:
        actor: Network that returns mean and standard deviation.
        **kwargs: Arguments of `GaussianModel`.
    """

    def __init__(self, actor: nn_Module, **kwargs: Any) -> None:
        super().__init__(network=actor, **kwargs)
        self.actor = self.network

    def loss(
        self,
        actions: tf.Tensor,
        obs: Cond,
        reward_weights: tf.Tensor,
        noise: None = None,
    ) -> tf.Tensor:
        """-mean_b w_b log pi(a_b|s_b), log pi averaged over the chunk's elements.

        Args:
            actions: (B, Ta, Da).
            obs: {"state": (B, To, Do)}.
            reward_weights: w, (B,).
            noise: As for diffusion policies; nothing is drawn here.
        """
        mean, std = self.forward_train(obs)
        logprob = normal_log_prob(tf.reshape(actions, tf.shape(mean)), mean, std)
        return -tf.reduce_mean(tf.reduce_mean(logprob, axis=-1) * reward_weights)

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor:
        """Samples chunks (B, Ta, Da) as `GaussianModel` does, without gradient."""
        return tf.stop_gradient(super().forward(cond, deterministic, noise=noise))

    call: Any = forward
