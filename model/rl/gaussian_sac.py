"""Soft actor-critic (Haarnoja et al., 2018) on a squashed Gaussian policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import GaussianModel
from model.common.objectives import polyak, q_target
from util.torch_to_tf import clone_network, nn_Module


class SAC_Gaussian(GaussianModel):
    """Actor, twin critics and their targets.

    Args:
        actor: Network that returns mean and standard deviation.
        critic: `CriticObsAct` with `double_q`.
        **kwargs: Arguments of `GaussianModel`.
    """

    def __init__(self, actor: nn_Module, critic: nn_Module, **kwargs: Any) -> None:
        super().__init__(network=actor, **kwargs)
        self.critic = critic
        self.target_critic = clone_network(critic)

    def loss_critic(
        self,
        obs: Cond,
        next_obs: Cond,
        actions: tf.Tensor,
        rewards: tf.Tensor,
        terminated: tf.Tensor,
        gamma: float,
        alpha: tf.Tensor | float,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor:
        """Sum of both critics' mean squared Bellman errors.

        Args:
            obs: {"state": (B, To, Do)}.
            next_obs: As `obs`.
            actions: (B, Ta, Da).
            rewards: (B,).
            terminated: (B,), 0 or 1.
            gamma: Discount per chunk step.
            alpha: Temperature.
            noise: The draw for the next action.
        """
        next_actions, next_logprob = self.forward(
            next_obs, get_logprob=True, noise=noise
        )
        next_q = tf.minimum(*self.target_critic(next_obs, next_actions))
        target = q_target(rewards, terminated, next_q - alpha * next_logprob, gamma)
        q1, q2 = self.critic(obs, actions)
        return tf.reduce_mean((q1 - target) ** 2) + tf.reduce_mean((q2 - target) ** 2)

    def loss_actor(
        self, obs: Cond, alpha: tf.Tensor | float, noise: Sequence[Any] | None = None
    ) -> tf.Tensor:
        """mean(alpha log pi(a|s) - min Q(s, a)) with a reparameterised."""
        actions, logprob = self.forward(
            obs, reparameterize=True, get_logprob=True, noise=noise
        )
        q = tf.minimum(*self.critic(obs, actions))
        return tf.reduce_mean(alpha * logprob - q)

    def loss_temperature(
        self,
        obs: Cond,
        alpha: tf.Tensor,
        target_entropy: float,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor:
        """-mean(alpha (log pi + target_entropy)); the gradient is alpha's alone."""
        _, logprob = self.forward(obs, get_logprob=True, noise=noise)
        gap = tf.cast(tf.stop_gradient(logprob) + target_entropy, alpha.dtype)
        return -tf.reduce_mean(alpha * gap)

    def update_target_critic(self, tau: float) -> None:
        """target <- (1 - tau) target + tau critic."""
        polyak(self.target_critic.parameters(), self.critic.parameters(), tau)
