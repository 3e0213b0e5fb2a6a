"""The way from camera images to features, shared by all networks that see.

The reference has no such file: four of its networks repeat this. The modules belong to
the network itself, because checkpoints have them there.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from model.common.modules import RandomShiftsAug, SpatialEmb
from util.config import compat
from util.torch_to_tf import (
    clone_network,
    nn_Dropout,
    nn_LayerNorm,
    nn_Linear,
    nn_Module,
    nn_ReLU,
    nn_Sequential,
)

LARGEST_SHIFT = 4


@dataclass(frozen=True)
class ImageOptions:
    """What a network does with images.

    Attributes:
        img_cond_steps: How many of the newest time steps it sees.
        spatial_emb: Features of an image by `SpatialEmb`; 0 for `visual_feature_dim`
            features by a linear layer.
        visual_feature_dim: See `spatial_emb`.
        dropout: Probability with which a feature is dropped.
        num_img: Images of a time step, side by side along the channels.
        augment: Shift images at random in training mode.
    """

    img_cond_steps: int = 1
    spatial_emb: int = 0
    visual_feature_dim: int = 128
    dropout: float = 0.0
    num_img: int = 1
    augment: bool = False

    def __post_init__(self) -> None:
        for name in ("img_cond_steps", "num_img"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}.")
        if self.spatial_emb < 0 or self.spatial_emb == 1:
            raise ValueError(f"spatial_emb must be 0 or > 1, got {self.spatial_emb}.")

    @property
    def width(self) -> int:
        """Features of all images."""
        return self.num_img * (self.spatial_emb or self.visual_feature_dim)

    @property
    def compressions(self) -> list[str]:
        """Names of the modules that compress each image."""
        if self.num_img == 1:
            return ["compress"]
        return [f"compress{number}" for number in range(1, self.num_img + 1)]


class ImageEncoder(nn_Module):
    """Part of a network that sees: one backbone for all images, then compression."""

    images: ImageOptions

    @property
    def draws_in_training(self) -> bool:
        """Whether images are shifted at random."""
        return self.images.augment

    def add_images(
        self,
        backbone: nn_Module,
        images: ImageOptions,
        prop_dim: int,
        first: bool = False,
    ) -> None:
        """Makes the modules `backbone` and `compress`, or `compress1` and so on.

        The modules of all images start equal.

        Args:
            backbone: Maps images (B, C, H, W) to features of patches (B, P, E).
            images: What to do with images.
            prop_dim: Width of the features of the state.
            first: Put them before all other modules, as checkpoints have them.
        """
        held = self.__dict__["_torch_modules"]
        others = list(held.items()) if first else []
        self.images, self.backbone = images, backbone
        compress = _make_compression(backbone, images, prop_dim)
        for name in images.compressions:
            is_first = name == images.compressions[0]
            setattr(self, name, compress if is_first else clone_network(compress))
        for name, module in others:
            del held[name]
            held[name] = module
        self.shift = RandomShiftsAug(LARGEST_SHIFT)

    def see(
        self, rgb: tf.Tensor, prop: tf.Tensor, augment: bool | None = None
    ) -> tf.Tensor:
        """Features of the images, then `prop`, (B, width + prop_dim).

        Args:
            rgb: Images in 0..255, bytes or floats, (B, T, num_img * C, H, W).
            prop: Features of the state, (B, prop_dim).
            augment: Whether to shift the images, each by itself; None for what the
                options say, in training mode only.
        """
        images = _newest(rgb, self.images)
        if augment is None:
            is_active = self.training or compat("augment_in_eval")
            augment = self.images.augment and is_active
        if augment:
            images = [self.shift(image) for image in images]
        patches = tf.split(self.backbone(tf.concat(images, axis=0)), len(images))
        features = [
            self._compress(name, part, prop)
            for name, part in zip(self.images.compressions, patches, strict=True)
        ]
        return tf.concat([*features, prop], axis=-1)

    def _compress(self, name: str, patches: tf.Tensor, prop: tf.Tensor) -> tf.Tensor:
        """Features of an image by those of its patches (B, P, E)."""
        compress = getattr(self, name)
        if self.images.spatial_emb:
            return compress(patches, prop)
        return compress(tf.reshape(patches, [-1, self.backbone.repr_dim]))


def _make_compression(
    backbone: nn_Module, images: ImageOptions, prop_dim: int
) -> nn_Module:
    """From the features of one image's patches to those of the image."""
    if images.spatial_emb:
        return SpatialEmb(
            num_patch=backbone.num_patch,
            patch_dim=backbone.patch_repr_dim,
            prop_dim=prop_dim,
            proj_dim=images.spatial_emb,
            dropout=images.dropout,
        )
    return nn_Sequential(
        nn_Linear(backbone.repr_dim, images.visual_feature_dim),
        nn_LayerNorm(images.visual_feature_dim),
        nn_Dropout(images.dropout),
        nn_ReLU(),
    )


def _newest(rgb: tf.Tensor, images: ImageOptions) -> list[tf.Tensor]:
    """Each image (B, C', H, W) with the channels of the newest steps, oldest first.

    Raises:
        ValueError: Steps are missing, or the channels are not those of `num_img`.
    """
    rgb = tf.convert_to_tensor(rgb)
    steps, count = images.img_cond_steps, images.num_img
    if rgb.shape.rank != 5 or rgb.shape[1] < steps or rgb.shape[2] % count:
        raise ValueError(
            f'cond["rgb"] must be (B, T, C, H, W) with T >= img_cond_steps={steps} and '
            f"C divisible by num_img={count}, got {tuple(rgb.shape)}."
        )
    size = rgb.shape[2] // count
    parts = tf.split(rgb[:, -steps:], count, axis=2)
    return [tf.reshape(part, [-1, steps * size, *rgb.shape[3:]]) for part in parts]
