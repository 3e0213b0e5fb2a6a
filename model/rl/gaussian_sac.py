"""Soft actor-critic (Haarnoja et al., 2018) on a squashed Gaussian policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import GaussianModel
from model.common.objectives import bellman_error, polyak, q_target
from util.seeding import Draws
from util.torch_to_tf import clone_network, nn_Module


class SoftGaussian(GaussianModel):
    """What policies with an entropy bonus share; leaves say what their critics are."""

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
        """Squared Bellman errors of the critics, see `critic_error`.

        Args:
            obs: {"state": (B, To, Do)}.
            next_obs: As `obs`.
            actions: (B, Ta, Da).
            rewards: (B,).
            terminated: (B,), 0 or 1.
            gamma: Discount per chunk step.
            alpha: Temperature.
            noise: The draws of `next_value`.
        """
        next_value = self.next_value(next_obs, alpha, self.draws(noise))
        target = q_target(rewards, terminated, next_value, gamma)
        return self.critic_error(obs, actions, target)

    def next_value(
        self, next_obs: Cond, alpha: tf.Tensor | float, draws: Draws
    ) -> tf.Tensor:
        """V(s') of the target, (B,)."""
        raise NotImplementedError

    def critic_error(
        self, obs: Cond, actions: tf.Tensor, target: tf.Tensor
    ) -> tf.Tensor:
        """How far the critics are from a target (B,)."""
        raise NotImplementedError

    def policy_value(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """Q(s, a) that the actor climbs, (B,)."""
        raise NotImplementedError

    def loss_actor(
        self, obs: Cond, alpha: tf.Tensor | float, noise: Sequence[Any] | None = None
    ) -> tf.Tensor:
        """mean(alpha log pi(a|s) - Q(s, a)) with a reparameterised."""
        actions, logprob = self.forward(
            obs, reparameterize=True, get_logprob=True, noise=noise
        )
        return tf.reduce_mean(alpha * logprob - self.policy_value(obs, actions))

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


class SAC_Gaussian(SoftGaussian):
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

    def next_value(
        self, next_obs: Cond, alpha: tf.Tensor | float, draws: Draws
    ) -> tf.Tensor:
        """min Q'(s', a') - alpha log pi(a'|s') with a' sampled, (B,)."""
        actions, logprob = self.forward(next_obs, get_logprob=True, noise=draws)
        return tf.minimum(*self.target_critic(next_obs, actions)) - alpha * logprob

    def critic_error(
        self, obs: Cond, actions: tf.Tensor, target: tf.Tensor
    ) -> tf.Tensor:
        """Sum of both critics' mean squared errors."""
        return bellman_error(self.critic(obs, actions), target)

    def policy_value(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """The lower value of both critics, (B,)."""
        return tf.minimum(*self.critic(obs, actions))

    def update_target_critic(self, tau: float) -> None:
        """target <- (1 - tau) target + tau critic."""
        polyak(self.target_critic.parameters(), self.critic.parameters(), tau)
