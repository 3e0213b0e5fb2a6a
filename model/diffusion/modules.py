"""Building blocks of diffusion networks."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from util.torch_to_tf import nn_Linear, nn_Mish, nn_Module, nn_Sequential


class SinusoidalPosEmb(nn_Module):
    """Sines, then cosines, of t at geometrically spaced frequencies.

    freq_j = exp(-j log(10000) / (dim/2 - 1)) (after Vaswani et al., 2017, sec. 3.5).

    Args:
        dim: Width of the embedding, even and >= 4.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 4:
            raise ValueError(f"dim must be >= 4, got {dim}.")
        half = dim // 2
        scale = math.log(10000) / (half - 1)
        self.frequencies = np.exp(
            np.arange(half, dtype=np.float32) * np.float32(-scale)
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Steps (...,) to embeddings (..., dim)."""
        angle = tf.cast(x, tf.float32)[..., None] * self.frequencies
        return tf.concat([tf.sin(angle), tf.cos(angle)], axis=-1)


def make_time_embedding(time_dim: int, hidden_dim: int) -> nn_Sequential:
    """Sinusoidal embedding -> Linear -> Mish -> Linear; (B,) to (B, time_dim)."""
    return nn_Sequential(
        SinusoidalPosEmb(time_dim),
        nn_Linear(time_dim, hidden_dim),
        nn_Mish(),
        nn_Linear(hidden_dim, time_dim),
    )
