"""MLP noise prediction network."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from model.common.critic import Cond, flat_state
from model.common.mlp import MLP, make_mlp
from model.diffusion.modules import NoiseNetwork, make_time_embedding


class DiffusionMLP(NoiseNetwork):
    """Predicts the noise (or the clean action) of a noisy action chunk.

    Args:
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        time_dim: Width of the embedding of the denoising step.
        mlp_dims: Hidden widths.
        cond_mlp_dims: Widths of an encoder of the state; None feeds the raw state.
        activation_type: Activation of the hidden layers.
        out_activation_type: Activation of the output.
        use_layernorm: LayerNorm in the hidden layers.
        residual_style: `ResidualMLP` instead of `MLP`.
    """

    def __init__(
        self,
        action_dim: int,
        horizon_steps: int,
        cond_dim: int,
        time_dim: int = 16,
        mlp_dims: Sequence[int] = (256, 256),
        cond_mlp_dims: Sequence[int] | None = None,
        activation_type: str = "Mish",
        out_activation_type: str = "Identity",
        use_layernorm: bool = False,
        residual_style: bool = False,
    ) -> None:
        super().__init__()
        self.output_width = action_dim * horizon_steps
        self.time_embedding = make_time_embedding(time_dim, time_dim * 2)
        self.cond_mlp = None
        if cond_mlp_dims:
            self.cond_mlp = MLP(
                [cond_dim, *cond_mlp_dims], activation_type=activation_type
            )
            cond_dim = cond_mlp_dims[-1]
        self.mlp_mean = make_mlp(
            residual_style,
            [time_dim + self.output_width + cond_dim, *mlp_dims, self.output_width],
            activation_type=activation_type,
            out_activation_type=out_activation_type,
            use_layernorm=use_layernorm,
        )

    def encode(self, cond: Cond) -> tf.Tensor:
        """The flat state, encoded if there is an encoder, (B, F)."""
        state = flat_state(cond)
        return state if self.cond_mlp is None else self.cond_mlp(state)

    def predict(
        self, x: tf.Tensor, embedding: tf.Tensor, features: tf.Tensor
    ) -> tf.Tensor:
        """Prediction (B, Ta, Da), see `NoiseNetwork`."""
        flat = tf.reshape(x, [-1, self.output_width])
        out = self.mlp_mean(tf.concat([flat, embedding, features], axis=-1))
        return tf.reshape(out, tf.shape(x))
