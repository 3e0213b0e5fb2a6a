"""Q-score matching (Psenka et al., 2024): the score of the policy is dQ/da."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.diffusion.exploring import TwinQDiffusion
from model.diffusion.modules import len_of
from util.seeding import Noise
from util.torch_to_tf import nn_Module


class QSMDiffusion(TwinQDiffusion):
    """A policy whose predicted noise points down the Q-function.

    Args:
        actor: Noise prediction network.
        critic: `CriticObsAct` with `double_q`, of whole chunks.
        **kwargs: Arguments of `ExploringDiffusion`.
    """

    critic_names = ("critic_q", "target_q")

    def __init__(self, actor: nn_Module, critic: nn_Module, **kwargs: Any) -> None:
        super().__init__(actor, critic, **kwargs)
        self.actor = self.network
        self.restore_parts()

    def loss_actor(
        self,
        obs: Cond,
        actions: tf.Tensor,
        q_grad_coeff: float,
        noise: Noise = None,
    ) -> tf.Tensor:
        """mean |-eps(a_t, t, s) - c grad_a Q(s, a_t)|^2 at noisy actions a_t.

        Q is the mean of both critics (Psenka et al., 2024, eq. 9 for the clean action).

        Args:
            obs: {"state": (B, To, Do)}.
            actions: Clean chunks (B, Ta, Da).
            q_grad_coeff: c, the inverse temperature of the policy.
            noise: Noise (B, Ta, Da) and steps (B,): in this order, unlike `loss`.
        """
        draws = self.draws(noise)
        epsilon = draws.normal(tf.shape(actions))
        t = draws.integers([len_of(actions)], self.denoising_steps)
        noisy = self.q_sample(actions, t, epsilon)
        score = q_grad_coeff * self.q_gradient(obs, noisy)
        return tf.reduce_mean((-self.network(noisy, t, cond=obs) - score) ** 2)

    def q_gradient(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """Gradient of the mean of both critics by the actions, a constant."""
        with tf.GradientTape() as tape:
            tape.watch(actions)
            q = tf.add_n(self.q_values(obs, actions)) / 2.0
        return tf.stop_gradient(tape.gradient(q, actions))
