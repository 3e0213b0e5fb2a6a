"""Small images, and backbones that look at them, for tests of networks that see."""

from typing import Any

import numpy as np
import tensorflow as tf

from model.common.vit import VitEncoder
from tests.model.fakes import normal
from util.torch_to_tf import nn_Module

SIZE = 24
"""Height and width: four patches."""


class PixelBackbone(nn_Module):
    """Every pixel is a patch, its channels are the features."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.num_patch, self.patch_repr_dim = size * size, channels
        self.repr_dim = size * size * channels

    def call(self, obs: tf.Tensor) -> tf.Tensor:
        """Maps (B, C, H, W) to (B, H W, C)."""
        rows = tf.transpose(tf.cast(obs, tf.float32), [0, 2, 3, 1])
        return tf.reshape(rows, [-1, self.num_patch, self.patch_repr_dim])


def encoder(channels: int = 3, size: int = SIZE, **options: Any) -> VitEncoder:
    """A small `VitEncoder`."""
    cfg = {"embed_dim": 8, "num_heads": 2, **options}
    return VitEncoder([channels, size, size], cfg, channels, size, size)


def pictures(*shape: int, seed: int = 0, dtype: str = "uint8") -> np.ndarray:
    """Random values in 0..255."""
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(dtype)


def seen(
    rows: int, steps: int = 1, channels: int = 3, size: int = SIZE, width: int = 5
) -> dict[str, tf.Tensor]:
    """Observations of a state (rows, 1, width) and images (rows, steps, ...)."""
    return {
        "state": tf.constant(normal(rows, 1, width)),
        "rgb": tf.constant(pictures(rows, steps, channels, size, size)),
    }
