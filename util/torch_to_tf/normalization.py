"""Layers of `torch.nn` that normalise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import is_int
from util.torch_to_tf.layers import (
    add_bias,
    as_input,
    kept_sizes,
    make_parameter,
)
from util.torch_to_tf.module import nn_Module


class nn_LayerNorm(nn_Module):
    """Normalises the last axes of each entry (`torch.nn.LayerNorm`).

    y = (x - mean) / sqrt(var + eps) * weight + bias, var biased.

    Args:
        normalized_shape: Sizes of the normalised axes; an int for the last one only.
        eps: Added to the variance.
        elementwise_affine: Whether `weight` and `bias` exist.
        bias: Whether `bias` exists.
        device: Where the parameters are.
        dtype: Their type, and that of x and y.

    Example: `nn_LayerNorm(2)(tf.constant([[3.0, 3.0]]))` gives `[[0.0, 0.0]]`.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        given: Any = normalized_shape
        shape = (int(given),) if is_int(given) else tuple(given)
        if not shape or min(shape) < 0:
            raise ValueError(
                f"normalized_shape must have sizes >= 0, got {normalized_shape}."
            )
        self.normalized_shape, self.eps = shape, eps
        self.elementwise_affine = elementwise_affine
        self.weight = (
            make_parameter(np.ones(shape), device, dtype)
            if elementwise_affine
            else None
        )
        self.bias = (
            make_parameter(np.zeros(shape), device, dtype)
            if elementwise_affine and bias
            else None
        )

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Normalises; the shape stays."""
        input = as_input(input, self.weight)
        n = len(self.normalized_shape)
        found = input.shape[-n:].as_list() if input.shape.rank >= n else []
        if len(found) < n or any(
            size not in (None, own)
            for size, own in zip(found, self.normalized_shape, strict=True)
        ):
            raise ValueError(
                f"input has shape {tuple(input.shape)}, expected it to end in "
                f"normalized_shape={self.normalized_shape}."
            )
        output = _standardise(input, list(range(-n, 0)), self.eps)
        if self.weight is not None:
            output = output * self.weight
        if n == 1:
            return add_bias(output, self.bias)
        return output if self.bias is None else output + self.bias


def _standardise(x: tf.Tensor, axes: list[int], eps: float) -> tf.Tensor:
    """(x - mean) / sqrt(var + eps) over some axes, var biased.

    With its gradient in three terms: that of moments and differences needs twice as
    many passes over x.
    """

    @tf.custom_gradient
    def standardise(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        mean, variance = tf.nn.moments(x, axes, keepdims=True)
        rate = tf.math.rsqrt(variance + eps)
        y = (x - mean) * rate

        def grad(upstream: tf.Tensor) -> tf.Tensor:
            level, slope = (
                tf.reduce_mean(part, axes, keepdims=True)
                for part in (upstream, upstream * y)
            )
            return rate * (upstream - level - y * slope)

        return y, grad

    return standardise(x)


class nn_GroupNorm(nn_Module):
    """Normalises groups of channels of each entry (`torch.nn.GroupNorm`).

    y = (x - mean) / sqrt(var + eps) * weight + bias for x (N, C, ...); mean and biased
    var over a group's channels and all axes after them, weight and bias by channel.

    Args:
        num_groups: How many groups the channels are divided into.
        num_channels: C.
        eps: Added to the variance.
        affine: Whether `weight` and `bias` exist.
        device: Where the parameters are.
        dtype: Their type, and that of x and y.
        bias: Whether `bias` exists.

    Example: `nn_GroupNorm(2, 4)(tf.zeros([3, 4, 5])).shape` gives `(3, 4, 5)`.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_groups < 1 or num_channels < 0 or num_channels % num_groups:
            raise ValueError(
                f"num_groups must be >= 1 and divide num_channels={num_channels}, "
                f"got {num_groups}."
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        self.weight = (
            make_parameter(np.ones(num_channels), device, dtype) if affine else None
        )
        self.bias = (
            make_parameter(np.zeros(num_channels), device, dtype)
            if affine and bias
            else None
        )

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Normalises (N, C, ...); the shape stays."""
        input = as_input(input, self.weight)
        channels = self._channels(input)
        sizes = kept_sizes(input)
        within = channels // self.num_groups
        groups = [sizes[0], self.num_groups, within, *sizes[2:]]
        rank = input.shape.rank
        grouped = tf.reshape(input, groups)
        mean, variance = tf.nn.moments(grouped, list(range(2, rank + 1)), keepdims=True)
        by_channel = [self.num_groups, within] + [1] * (rank - 2)
        bias, weight = (
            None if value is None else tf.reshape(value, by_channel)
            for value in (self.bias, self.weight)
        )
        normal = tf.nn.batch_normalization(
            grouped, mean, variance, bias, weight, self.eps
        )
        return tf.reshape(normal, [sizes[0], channels, *sizes[2:]])

    def _channels(self, input: tf.Tensor) -> int:
        """The number of channels of the input.

        Raises:
            ValueError: It does not fit, or there is but one value to a group.
        """
        shape = input.shape
        if shape.rank < 2:
            raise ValueError(f"input must have 2 axes or more, got shape {shape}.")
        channels = self.num_channels if shape[1] is None else shape[1]
        fits = (
            channels == self.num_channels
            if self.affine
            else channels % self.num_groups == 0
        )
        if not fits:
            raise ValueError(
                f"input must have num_channels={self.num_channels} channels in "
                f"num_groups={self.num_groups}, got shape {tuple(shape)}."
            )
        rest = [shape[0], channels // self.num_groups, *shape[2:]]
        if None not in rest and math.prod(rest) == 1:
            raise ValueError(
                "input must have more than one value to a group, "
                f"got shape {tuple(shape)} for num_groups={self.num_groups}."
            )
        return channels
