"""Building blocks of diffusion networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond
from model.diffusion.sampling import make_timesteps
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


class NoiseNetwork(nn_Module):
    """A network eps(x, t, s) whose parts in t and in s can be evaluated on their own.

    Sampling asks for the same observations in every denoising step; their encoding and
    the embeddings of the steps are then computed once. A leaf has a `time_embedding`.
    """

    time_embedding: nn_Module

    def encode(self, cond: Cond) -> tf.Tensor:
        """Features (B, F) of observations."""
        raise NotImplementedError

    def predict(
        self, x: tf.Tensor, embedding: tf.Tensor, features: tf.Tensor
    ) -> tf.Tensor:
        """Prediction (B, Ta, Da).

        Args:
            x: Noisy chunk (B, Ta, Da).
            embedding: Of the denoising step of each row, (B, time_dim).
            features: Of the observations, (B, F).
        """
        raise NotImplementedError

    def call(self, x: tf.Tensor, time: tf.Tensor, cond: Cond, **_: Any) -> tf.Tensor:
        """Prediction (B, Ta, Da).

        Args:
            x: Noisy chunk (B, Ta, Da).
            time: Denoising step of each row, (B,) int.
            cond: {"state": (B, To, Do)}.
        """
        embedding = self.time_embedding(tf.reshape(time, [-1]))
        return self.predict(x, embedding, self.encode(cond))


Prediction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def predict_at(network: nn_Module, cond: Cond, times: tf.Tensor) -> Prediction:
    """Returns a function of (x (B, Ta, Da), i) that predicts at step times[i].

    Args:
        network: Any network; a `NoiseNetwork` does less work.
        cond: Observations of B rows.
        times: Denoising steps (n,) int64.
    """
    if not isinstance(network, NoiseNetwork):
        return lambda x, i: network(x, make_timesteps(len_of(x), times[i]), cond=cond)
    table, features = network.time_embedding(times), network.encode(cond)
    return lambda x, i: network.predict(
        x, tf.repeat(table[i][None], len_of(x), axis=0), features
    )


def len_of(x: tf.Tensor) -> int | tf.Tensor:
    """Number of rows, a Python number if it is known."""
    return tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
