"""Noise prediction by a U-shaped convolutional network along the action chunk.

After Chi et al. (2023), Diffusion Policy, section 4.1. Action chunks come with their
channels last, and all convolutions work in that layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond, flat_state
from model.common.mlp import ResidualMLP
from model.common.vision import ImageEncoder, ImageOptions
from model.diffusion.channels_last import ChannelsLast, convolve
from model.diffusion.modules import (
    Conv1dBlock,
    Downsample1d,
    NoiseNetwork,
    Upsample1d,
    make_conv_activation,
    make_time_embedding,
)
from util.torch_to_tf import (
    nn_Conv1d,
    nn_Identity,
    nn_Linear,
    nn_Module,
    nn_ModuleList,
    nn_Sequential,
)


class ResidualBlock1D(ChannelsLast):
    """Two convolutional blocks, conditioned in between, around a shortcut.

    Args:
        in_channels: C.
        out_channels: C'.
        cond_dim: Width of the condition.
        kernel_size: Entries of the kernels, odd.
        n_groups: Groups of GroupNorm; None for no normalisation.
        cond_predict_scale: The condition gives a factor and a summand for each channel
            (FiLM, Perez et al., 2018), not only a summand.
        larger_encoder: Three linear layers for the condition, not one.
        activation_type: "Mish" or "ReLU".
        groupnorm_eps: Of GroupNorm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        cond_dim: int,
        kernel_size: int = 5,
        n_groups: int | None = None,
        cond_predict_scale: bool = False,
        larger_encoder: bool = False,
        activation_type: str = "Mish",
        groupnorm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd to keep the length, got {kernel_size}."
            )
        self.blocks = nn_ModuleList(
            Conv1dBlock(
                channels,
                out_channels,
                kernel_size,
                n_groups,
                activation_type,
                groupnorm_eps,
            )
            for channels in (in_channels, out_channels)
        )
        self.cond_predict_scale = cond_predict_scale
        width = out_channels * 2 if cond_predict_scale else out_channels
        self.cond_encoder = _condition_encoder(
            cond_dim, width, larger_encoder, activation_type
        )
        self.residual_conv = (
            nn_Identity()
            if in_channels == out_channels
            else nn_Conv1d(in_channels, out_channels, 1)
        )

    def channels_last(self, x: tf.Tensor, cond: tf.Tensor) -> tf.Tensor:
        """Maps x (B, L, C) and a condition (B, cond_dim) to (B, L, C')."""
        first, second = self.blocks
        y, shift = first.channels_last(x), self.cond_encoder(cond)[:, None]
        if self.cond_predict_scale:
            scale, shift = tf.split(shift, 2, axis=-1)
            y *= scale
        y = second.channels_last(y + shift)
        shortcut = self.residual_conv
        return y + (convolve(shortcut, x) if isinstance(shortcut, nn_Conv1d) else x)


def _condition_encoder(
    cond_dim: int, width: int, larger: bool, activation: str
) -> nn_Sequential:
    """An activation and a linear layer; if larger, two such pairs after a first one."""
    layers = [nn_Linear(cond_dim, width)] if larger else []
    for size in (width, width) if larger else (cond_dim,):
        layers += [make_conv_activation(activation), nn_Linear(size, width)]
    return nn_Sequential(*layers)


class Unet1D(NoiseNetwork):
    """Predicts the noise (or the clean action) of a noisy action chunk.

    Args:
        action_dim: Da.
        cond_dim: To * Do.
        diffusion_step_embed_dim: Width of the embedding of the denoising step.
        dim: Channels of the first level.
        dim_mults: Channels of each level in units of `dim`; the first is 1. Each level
            but the last halves the chunk.
        smaller_encoder: One linear layer for the condition in each block, not three;
            also if there is a `cond_mlp`.
        cond_mlp_dims: Widths of a residual encoder of the state, an even number of
            them; None feeds the raw state.
        kernel_size: Entries of the kernels, odd.
        n_groups: Groups of GroupNorm; None for no normalisation.
        activation_type: "Mish" or "ReLU".
        cond_predict_scale: As in `ResidualBlock1D`.
        groupnorm_eps: Of GroupNorm.
        visual_dim: Width of what a subclass puts before the features of the state.
    """

    def __init__(
        self,
        action_dim: int,
        cond_dim: int,
        diffusion_step_embed_dim: int = 32,
        dim: int = 32,
        dim_mults: Sequence[int] = (1, 2, 4, 8),
        smaller_encoder: bool = False,
        cond_mlp_dims: Sequence[int] | None = None,
        kernel_size: int = 5,
        n_groups: int | None = None,
        activation_type: str = "Mish",
        cond_predict_scale: bool = False,
        groupnorm_eps: float = 1e-5,
        *,
        visual_dim: int = 0,
    ) -> None:
        super().__init__()
        if not dim_mults or dim_mults[0] != 1:
            raise ValueError(f"dim_mults must begin with 1, got {list(dim_mults)}.")
        step_dim = diffusion_step_embed_dim
        self.time_mlp = make_time_embedding(step_dim, step_dim * 4)
        self.cond_mlp = None
        if cond_mlp_dims:
            self.cond_mlp = ResidualMLP(
                [cond_dim, *cond_mlp_dims], activation_type=activation_type
            )
        self.state_dim = cond_mlp_dims[-1] if cond_mlp_dims else cond_dim

        def block(channels: int, out_channels: int) -> ResidualBlock1D:
            return ResidualBlock1D(
                channels,
                out_channels,
                step_dim + visual_dim + self.state_dim,
                kernel_size,
                n_groups,
                cond_predict_scale,
                not (cond_mlp_dims or smaller_encoder),
                activation_type,
                groupnorm_eps,
            )

        widths = [action_dim, *(dim * factor for factor in dim_mults)]
        self.shrinks_by = 2 ** (len(dim_mults) - 1)
        self.mid_modules = nn_ModuleList(
            block(widths[-1], widths[-1]) for _ in range(2)
        )
        self.down_modules = _descent(widths, block)
        self.up_modules = _ascent(widths, block)
        last = Conv1dBlock(
            dim, dim, kernel_size, n_groups, activation_type, groupnorm_eps
        )
        self.final_conv = nn_Sequential(last, nn_Conv1d(dim, action_dim, 1))

    def embed(self, time: tf.Tensor) -> tf.Tensor:
        """Embeddings (n, diffusion_step_embed_dim) of steps (n,)."""
        return self.time_mlp(time)

    def encode(self, cond: Cond) -> tf.Tensor:
        """The flat state, encoded if there is an encoder, (B, F)."""
        state = flat_state(cond)
        return state if self.cond_mlp is None else self.cond_mlp(state)

    def predict(
        self, x: tf.Tensor, embedding: tf.Tensor, features: tf.Tensor
    ) -> tf.Tensor:
        """Prediction (B, Ta, Da), see `NoiseNetwork`.

        Raises:
            ValueError: The levels cannot halve the chunk and double it again.
        """
        if x.shape[1] % self.shrinks_by:
            raise ValueError(
                f"horizon_steps must be a multiple of {self.shrinks_by} for "
                f"{len(self.down_modules)} dim_mults, got {x.shape[1]}."
            )
        cond, skips = tf.concat([embedding, features], axis=-1), []
        for first, second, down in self.down_modules:
            x = second.channels_last(first.channels_last(x, cond), cond)
            skips.append(x)
            x = down.channels_last(x) if isinstance(down, Downsample1d) else x
        for block in self.mid_modules:
            x = block.channels_last(x, cond)
        for first, second, up in self.up_modules:
            x = first.channels_last(tf.concat([x, skips.pop()], axis=-1), cond)
            x = up.channels_last(second.channels_last(x, cond))
        last, to_action = self.final_conv
        return convolve(to_action, last.channels_last(x))


class VisionUnet1D(Unet1D, ImageEncoder):
    """Predicts the noise (or the clean action) from camera images and the state.

    An encoder of the state (`cond_mlp_dims`) comes before everything else, so that the
    features of the images depend on what it gives.

    Args:
        backbone: Maps images to features of patches, such as `VitEncoder`.
        action_dim: Da.
        img_cond_steps: How many of the newest images are seen.
        cond_dim: To * Do.
        spatial_emb: Features of an image by `SpatialEmb`; 0 for a linear layer.
        visual_feature_dim: Features of an image by a linear layer.
        dropout: Probability with which a feature of an image is dropped.
        num_img: Images of a time step.
        augment: Shift images at random in training mode.
        **kwargs: Arguments of `Unet1D`.
    """

    def __init__(
        self,
        backbone: nn_Module,
        action_dim: int,
        img_cond_steps: int = 1,
        *,
        cond_dim: int,
        spatial_emb: int = 0,
        visual_feature_dim: int = 128,
        dropout: float = 0.0,
        num_img: int = 1,
        augment: bool = False,
        **kwargs: Any,
    ) -> None:
        images = ImageOptions(
            img_cond_steps, spatial_emb, visual_feature_dim, dropout, num_img, augment
        )
        super().__init__(action_dim, cond_dim, visual_dim=images.width, **kwargs)
        self.add_images(backbone, images, self.state_dim, first=True)

    def encode(self, cond: Cond) -> tf.Tensor:
        """Features of the images, then those of the state, (B, F).

        Args:
            cond: {"state": (B, To, Do), "rgb": (B, T, C, H, W) in 0..255}.
        """
        return self.see(cond["rgb"], super().encode(cond))


Block = Callable[[int, int], ResidualBlock1D]


def _descent(widths: Sequence[int], block: Block) -> nn_ModuleList:
    """Two blocks and a halving for each level; the last level is not halved."""
    pairs = list(zip(widths, widths[1:], strict=False))
    return nn_ModuleList(
        nn_ModuleList(
            [
                block(before, after),
                block(after, after),
                nn_Identity() if level == len(pairs) else Downsample1d(after),
            ]
        )
        for level, (before, after) in enumerate(pairs, start=1)
    )


def _ascent(widths: Sequence[int], block: Block) -> nn_ModuleList:
    """Two blocks and a doubling for each level but the first, the last one first."""
    pairs = list(zip(widths[1:], widths[2:], strict=False))
    return nn_ModuleList(
        nn_ModuleList(
            [block(after * 2, before), block(before, before), Upsample1d(before)]
        )
        for before, after in reversed(pairs)
    )
