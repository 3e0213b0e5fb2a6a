"""Diffusion Q-learning (Wang et al., 2023): Q differentiated through the sampler."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.diffusion.exploring import TwinQDiffusion
from util.config import compat
from util.seeding import Noise
from util.torch_to_tf import nn_Module


class DQLDiffusion(TwinQDiffusion):
    """A policy that clones the buffer's actions and climbs the Q-function.

    Args:
        actor: Noise prediction network.
        critic: `CriticObsAct` with `double_q`, of whole chunks.
        **kwargs: Arguments of `ExploringDiffusion`.
    """

    def __init__(self, actor: nn_Module, critic: nn_Module, **kwargs: Any) -> None:
        super().__init__(actor, critic, **kwargs)
        self.actor = self.network
        self.restore_parts()

    def loss_actor(
        self,
        obs: Cond,
        eta: float,
        act_steps: int,
        actions: tf.Tensor | None = None,
        noise: Noise = None,
    ) -> tf.Tensor:
        """BC loss of the buffer's actions - eta mean Q(s, a) / mean |Q|, a sampled.

        Eq. 3 of Wang et al. (2023). One critic, chosen by a coin, is climbed and the
        other one gives the scale, as in their code.

        Args:
            obs: {"state": (B, To, Do)}.
            eta: Weight of the second term.
            act_steps: Steps of a chunk that are executed: all of them.
            actions: The buffer's chunks (B, Ta, Da). The reference clones the sampled
                actions instead (`dql_bc_on_own_actions`) and takes none.
            noise: 1 + K draws as for `forward`, the two of `loss`, and the coin, a
                number in [0, 1).

        Raises:
            ValueError: Chunks are not executed as a whole, or `actions` is missing.
        """
        if act_steps != self.horizon_steps:
            raise ValueError(
                f"act_steps must be horizon_steps={self.horizon_steps}, got "
                f"{act_steps}: the critics see whole chunks."
            )
        draws = self.draws(noise)
        sampled = self.forward_train(obs, noise=draws)
        bc_loss = self.loss(self._cloned(sampled, actions), obs, noise=draws)
        q1, q2 = self.q_values(obs, sampled)
        heads = draws.uniform([]) > 0.5
        climbed = tf.where(heads, _normalised(q1, q2), _normalised(q2, q1))
        return bc_loss - eta * climbed

    def _cloned(self, sampled: tf.Tensor, actions: tf.Tensor | None) -> tf.Tensor:
        """The actions of the BC term."""
        if compat("dql_bc_on_own_actions"):
            return sampled
        if actions is None:
            raise ValueError("actions must be those of the buffer, got none.")
        return actions

    def forward_train(
        self,
        cond: Cond,
        deterministic: bool = False,
        noise: Noise = None,
    ) -> tf.Tensor:
        """Samples actions as `forward`, with the gradient of all denoising steps."""
        limit = self.final_action_clip_value
        if limit and compat("dql_unit_action_clip"):
            self.final_action_clip_value = 1.0
        try:
            return self.reparameterised(cond, deterministic, noise)
        finally:
            self.final_action_clip_value = limit


def _normalised(q: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """mean q / mean |scale|, without gradient of the scale."""
    return tf.reduce_mean(q) / tf.stop_gradient(tf.reduce_mean(tf.abs(scale)))
