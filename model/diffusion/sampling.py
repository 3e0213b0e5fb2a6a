"""Noise schedules and indexing by denoising step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def cosine_beta_schedule(
    timesteps: int, s: float = 0.008, dtype: type = np.float32
) -> np.ndarray:
    """Cosine schedule of Nichol and Dhariwal (2021), eq. 17.

    The grid has timesteps + 1 points evenly spaced on [0, timesteps + 1], as in the
    reference, rather than on [0, timesteps].

    Args:
        timesteps: Number of denoising steps K.
        s: Offset that keeps the first betas from vanishing.
        dtype: Type of the result.

    Returns:
        Betas (K,), index 0 the least noisy step, limited to [0, 0.999].

    Raises:
        TypeError: `timesteps` is not an int.
    """
    if not isinstance(timesteps, int | np.integer):
        raise TypeError(f"timesteps must be an int, got {timesteps!r}.")
    steps = int(timesteps) + 1
    x = np.linspace(0, steps, steps)
    alphas_cumprod = np.cos(((x / steps) + s) / (1 + s) * np.pi * 0.5) ** 2
    alphas_cumprod = alphas_cumprod / alphas_cumprod[0]
    betas = 1 - alphas_cumprod[1:] / alphas_cumprod[:-1]
    return np.clip(betas, 0, 0.999).astype(dtype)


def extract(a: np.ndarray | tf.Tensor, t: tf.Tensor, x_shape: Sequence) -> tf.Tensor:
    """a[t], shape (B, 1, ..., 1) with the rank of `x_shape`.

    Args:
        a: Values by step, (K,).
        t: Step of each row, (B,) int.
        x_shape: Shape of the tensor that the result is to be broadcast against.
    """
    values = tf.gather(tf.convert_to_tensor(a), tf.reshape(t, [-1]))
    return tf.reshape(values, [-1] + [1] * (len(x_shape) - 1))


def make_timesteps(batch_size: int | tf.Tensor, i: int | tf.Tensor) -> tf.Tensor:
    """The step i for every row, (B,) int64."""
    return tf.fill([batch_size], tf.cast(i, tf.int64))
