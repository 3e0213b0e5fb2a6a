"""MLP noise prediction networks, from the state or from images too."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from model.common.critic import Cond, flat_state
from model.common.mlp import MLP, make_mlp
from model.common.vision import ImageEncoder, ImageOptions
from model.diffusion.modules import NoiseNetwork, make_time_embedding
from util.torch_to_tf import nn_Module


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

    def embed(self, time: tf.Tensor) -> tf.Tensor:
        """Embeddings (n, time_dim) of steps (n,)."""
        return self.time_embedding(time)

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


class VisionDiffusionMLP(DiffusionMLP, ImageEncoder):
    """Predicts the noise (or the clean action) from camera images and the state.

    Args:
        backbone: Maps images to features of patches, such as `VitEncoder`.
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        img_cond_steps: How many of the newest images are seen.
        time_dim: Width of the embedding of the denoising step.
        mlp_dims: Hidden widths.
        activation_type: Activation of the hidden layers.
        out_activation_type: Activation of the output.
        use_layernorm: LayerNorm in the hidden layers.
        residual_style: `ResidualMLP` instead of `MLP`.
        spatial_emb: Features of an image by `SpatialEmb`; 0 for a linear layer.
        visual_feature_dim: Features of an image by a linear layer.
        dropout: Probability with which a feature of an image is dropped.
        num_img: Images of a time step.
        augment: Shift images at random in training mode.
    """

    def __init__(
        self,
        backbone: nn_Module,
        action_dim: int,
        horizon_steps: int,
        cond_dim: int,
        img_cond_steps: int = 1,
        time_dim: int = 16,
        mlp_dims: Sequence[int] = (256, 256),
        activation_type: str = "Mish",
        out_activation_type: str = "Identity",
        use_layernorm: bool = False,
        residual_style: bool = False,
        spatial_emb: int = 0,
        visual_feature_dim: int = 128,
        dropout: float = 0.0,
        num_img: int = 1,
        augment: bool = False,
    ) -> None:
        images = ImageOptions(
            img_cond_steps, spatial_emb, visual_feature_dim, dropout, num_img, augment
        )
        super().__init__(
            action_dim,
            horizon_steps,
            images.width + cond_dim,
            time_dim,
            mlp_dims,
            activation_type=activation_type,
            out_activation_type=out_activation_type,
            use_layernorm=use_layernorm,
            residual_style=residual_style,
        )
        self.add_images(backbone, images, cond_dim, first=True)

    def encode(self, cond: Cond) -> tf.Tensor:
        """Features of the images, then the flat state, (B, F).

        Args:
            cond: {"state": (B, To, Do), "rgb": (B, T, C, H, W) in 0..255}.
        """
        return self.see(cond["rgb"], flat_state(cond))
