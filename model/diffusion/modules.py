"""Building blocks of diffusion networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond, repeat_rows
from model.common.mlp import make_activation
from model.diffusion.channels_last import ChannelsLast, convolve, normalise_groups
from model.diffusion.sampling import make_timesteps
from util.torch_to_tf import (
    nn_Conv1d,
    nn_ConvTranspose1d,
    nn_GroupNorm,
    nn_Identity,
    nn_Linear,
    nn_Mish,
    nn_Module,
    nn_Sequential,
)


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
    the embeddings of the steps are then computed once.
    """

    def embed(self, time: tf.Tensor) -> tf.Tensor:
        """Embeddings (n, time_dim) of denoising steps (n,)."""
        raise NotImplementedError

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
            time: Denoising step of each row, (B,) int, or one for all rows.
            cond: {"state": (B, To, Do)}.
        """
        embedding = self.embed(tf.reshape(time, [-1]))
        if embedding.shape[0] != x.shape[0]:
            embedding = tf.broadcast_to(embedding, [len_of(x), embedding.shape[-1]])
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
    table, features = network.embed(times), network.encode(cond)
    # Added, not repeated: XLA cannot differentiate a repetition inside a loop.
    return lambda x, i: network.predict(
        x, tf.zeros([len_of(x), 1]) + table[i], features
    )


def predict_rows(
    network: nn_Module, x: tf.Tensor, time: tf.Tensor, cond: Cond, copies: int
) -> tf.Tensor:
    """Predictions where `copies` rows in succession share an observation.

    A `NoiseNetwork` encodes each observation once.

    Args:
        network: Any network.
        x: Noisy chunks (B * copies, Ta, Da).
        time: Denoising step of each, (B * copies,) int.
        cond: Observations of B rows.
        copies: Rows for each observation.
    """
    if copies > 1 and isinstance(network, NoiseNetwork):
        features = tf.repeat(network.encode(cond), copies, axis=0)
        return network.predict(x, network.embed(time), features)
    return network(x, time, cond=repeat_rows(cond, copies))


def len_of(x: tf.Tensor) -> int | tf.Tensor:
    """Number of rows, a Python number if it is known."""
    return tf.shape(x)[0] if x.shape[0] is None else x.shape[0]


class Downsample1d(ChannelsLast):
    """Halves the length by a convolution; an odd one is rounded up.

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn_Conv1d(dim, dim, 3, 2, 1)

    def channels_last(self, x: tf.Tensor) -> tf.Tensor:
        """Maps (B, L, C) to (B, ceil(L / 2), C)."""
        return convolve(self.conv, x)


class Upsample1d(ChannelsLast):
    """Doubles the length by a transposed convolution.

    Args:
        dim: Channels C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn_ConvTranspose1d(dim, dim, 4, 2, 1)

    def channels_last(self, x: tf.Tensor) -> tf.Tensor:
        """Maps (B, L, C) to (B, 2 L, C)."""
        return convolve(self.conv, x)


CONV_ACTIVATIONS = ("Mish", "ReLU")


def make_conv_activation(name: str) -> nn_Module:
    """A new activation module of a convolutional block.

    Raises:
        ValueError: The name is not in `CONV_ACTIVATIONS`.
    """
    if name not in CONV_ACTIVATIONS:
        raise ValueError(
            f"activation_type must be one of {CONV_ACTIVATIONS}, got {name!r}."
        )
    return make_activation(name)


class Conv1dBlock(ChannelsLast):
    """Convolution -> [GroupNorm] -> activation, (B, C, L) to (B, C', L).

    Args:
        inp_channels: C.
        out_channels: C'.
        kernel_size: Entries of the kernel, odd to keep the length.
        n_groups: Groups of GroupNorm; None for no normalisation.
        activation_type: "Mish" or "ReLU".
        eps: Of GroupNorm.
    """

    def __init__(
        self,
        inp_channels: int,
        out_channels: int,
        kernel_size: int,
        n_groups: int | None = None,
        activation_type: str = "Mish",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        norm = nn_GroupNorm(n_groups, out_channels, eps) if n_groups else nn_Identity()
        self.block = nn_Sequential(
            nn_Conv1d(
                inp_channels, out_channels, kernel_size, padding=kernel_size // 2
            ),
            nn_Identity(),  # The reference changes shapes here and below.
            norm,
            nn_Identity(),
            make_conv_activation(activation_type),
        )

    def channels_last(self, x: tf.Tensor) -> tf.Tensor:
        """Maps (B, L, C) to (B, L, C')."""
        convolution, _, norm, _, activation = self.block
        x = convolve(convolution, x)
        if isinstance(norm, nn_GroupNorm):
            x = normalise_groups(norm, x)
        return activation(x)
