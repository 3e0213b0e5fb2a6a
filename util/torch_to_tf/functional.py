"""Functions of `torch` that several modules share."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf


def torch_clamp(
    input: Any, min: Any | None = None, max: Any | None = None
) -> tf.Tensor:
    """Limits entries to [min, max]; the gradient is 1 at the bounds, 0 outside.

    Where min > max the result is max. `tf.clip_by_value` follows the same rule for
    constant bounds; tensors as bounds get their gradient too, as in PyTorch.
    """
    if min is None and max is None:
        raise ValueError("at least one of min and max must be given.")
    if min is not None:
        input = tf.where(input < min, min * tf.ones_like(input), input)
    if max is not None:
        input = tf.where(input > max, max * tf.ones_like(input), input)
    return tf.convert_to_tensor(input)


@tf.custom_gradient
def torch_tanh(input: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """tanh, correctly rounded; the gradient is 1 - tanh^2 of the rounded value.

    TensorFlow's float32 tanh is a rational approximation whose last bits matter where
    log(1 - tanh^2) is taken near saturation.
    """
    output = tf.cast(tf.tanh(tf.cast(input, tf.float64)), input.dtype)
    return output, lambda upstream: upstream * (1.0 - tf.square(output))


def normal_log_prob(value: tf.Tensor, mean: Any, std: Any) -> tf.Tensor:
    """log N(value; mean, std), elementwise."""
    return (
        -((value - mean) ** 2) / (2.0 * std**2)
        - tf.math.log(std)
        - 0.5 * math.log(2.0 * math.pi)
    )


def normal_entropy(std: tf.Tensor) -> tf.Tensor:
    """1/2 + 1/2 log(2 pi) + log std, elementwise."""
    return 0.5 + 0.5 * math.log(2.0 * math.pi) + tf.math.log(std)


def torch_std(input: tf.Tensor) -> tf.Tensor:
    """Standard deviation of all entries with n - 1 in the denominator."""
    count = tf.cast(tf.size(input), input.dtype)
    centred = input - tf.reduce_mean(input)
    return tf.sqrt(tf.reduce_sum(centred**2) / (count - 1.0))


def torch_quantile(input: tf.Tensor, q: float) -> tf.Tensor:
    """The q-quantile of all entries, linear between neighbours."""
    ordered = tf.sort(tf.reshape(input, [-1]))
    position = tf.cast(tf.size(ordered) - 1, tf.float32) * q
    low = tf.cast(tf.floor(position), tf.int32)
    high = tf.cast(tf.math.ceil(position), tf.int32)
    weight = tf.cast(position - tf.floor(position), input.dtype)
    below, above = tf.gather(ordered, low), tf.gather(ordered, high)
    return below + (above - below) * weight
