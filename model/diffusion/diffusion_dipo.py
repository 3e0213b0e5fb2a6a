"""DIPO (Yang et al., 2023): clones actions that were moved up the Q-function."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond
from model.common.objectives import polyak
from model.diffusion.exploring import TwinQDiffusion
from util.torch_to_tf import (
    clone_network,
    nn_Module,
    torch_clamp,
    torch_nn_utils_clip_grad_norm_,
)

ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-5


class DIPODiffusion(TwinQDiffusion):
    """A policy that clones actions after steps along dQ/da; its slow copy acts.

    Args:
        actor: Noise prediction network.
        critic: `CriticObsAct` with `double_q`, of whole chunks.
        **kwargs: Arguments of `ExploringDiffusion`.
    """

    def __init__(self, actor: nn_Module, critic: nn_Module, **kwargs: Any) -> None:
        super().__init__(actor, critic, **kwargs)
        self.actor = self.network
        self.actor_target = clone_network(self.network)
        self.restore_parts()

    @property
    def policy(self) -> nn_Module:
        """The slow copy."""
        return self.actor_target

    def update_target_actor(self, tau: float) -> None:
        """actor_target <- (1 - tau) actor_target + tau actor."""
        polyak(self.actor_target.parameters(), self.actor.parameters(), tau)

    def guide_actions(
        self,
        obs: Cond,
        actions: tf.Tensor,
        action_lr: float,
        action_gradient_steps: int,
        max_norm: float | None = None,
    ) -> tf.Tensor:
        """Chunks after steps of Adam up min Q, each limited to [-1, 1].

        Algorithm 2 of Yang et al. (2023). The gradient of the whole batch is clipped
        as one. Adam (Kingma and Ba, 2015) starts anew, with PyTorch's arithmetic.

        Args:
            obs: {"state": (B, To, Do)}.
            actions: Where to start, (B, Ta, Da).
            action_lr: Learning rate.
            action_gradient_steps: Number of steps.
            max_norm: Limit of the gradient's norm; 0.1 Ta Da if None.
        """
        size = self.horizon_steps * self.action_dim
        limit: float = 0.1 * size if max_norm is None else max_norm
        beta1, beta2 = ADAM_BETAS
        # In double, as PyTorch has them.
        counts = 1.0 + np.arange(action_gradient_steps)
        rates = tf.constant(action_lr / (1.0 - beta1**counts), tf.float32)
        roots = tf.constant(np.sqrt(1.0 - beta2**counts), tf.float32)

        def step(
            i: tf.Tensor, x: tf.Tensor, m: tf.Tensor, v: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            clipped, _ = torch_nn_utils_clip_grad_norm_(self.descent(obs, x), limit)
            g = tf.convert_to_tensor(clipped[0])
            m = m + (g - m) * (1.0 - beta1)
            v = v * beta2 + g * g * (1.0 - beta2)
            x = x - rates[i] * m / (tf.sqrt(v) / roots[i] + ADAM_EPS)
            return i + 1, torch_clamp(x, -1.0, 1.0), m, v

        zeros = tf.zeros_like(actions)
        _, guided, _, _ = tf.while_loop(
            lambda *_: True,  # a second condition would be read from the device
            step,
            (tf.constant(0), actions, zeros, zeros),
            maximum_iterations=action_gradient_steps,
        )
        return tf.stop_gradient(guided)

    def descent(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """Gradient of -sum min Q by the actions, (B, Ta, Da)."""
        with tf.GradientTape() as tape:
            tape.watch(actions)
            loss = -tf.reduce_sum(tf.minimum(*self.q_values(obs, actions)))
        return tape.gradient(loss, actions)
