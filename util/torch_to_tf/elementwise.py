"""Functions of `torch` that act entry by entry.

Whole numbers become float32 where PyTorch makes them so.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor, is_int
from util.torch_to_tf.dtypes import cast, expect_type, floating, wide


def torch_abs(input: Any) -> tf.Tensor:
    """Absolute values, real for complex numbers (`torch.abs`).

    The gradient at 0 and NaN is 0.

    Raises:
        TypeError: The type of the tensor is bool.

    Example: `torch_abs(tf.constant([-1.5, 2.0]))` gives `[1.5, 2.0]`.
    """
    value = as_tensor(input)
    expect_type(not value.dtype.is_bool, value, "a type of numbers")
    if value.dtype.is_unsigned:
        return value
    return _abs(value) if value.dtype.is_floating else tf.abs(value)


@tf.custom_gradient
def _abs(value: tf.Tensor) -> tuple:
    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        known = tf.where(tf.math.is_nan(value), tf.zeros([], value.dtype), value)
        return upstream * tf.sign(known)

    return tf.abs(value), gradient


def torch_square(input: Any) -> tf.Tensor:
    """x^2 (`torch.square`).

    Example: `torch_square(tf.constant([3, -2]))` gives `[9, 4]`.
    """
    value = as_tensor(input)
    return tf.square(cast(value, tf.int64) if value.dtype.is_bool else value)


def torch_exp(input: Any) -> tf.Tensor:
    """e^x (`torch.exp`).

    Example: `torch_exp(tf.constant([0]))` gives `[1.0]`.
    """
    return tf.exp(floating(as_tensor(input)))


def torch_log(input: Any) -> tf.Tensor:
    """Natural logarithm (`torch.log`).

    Example: `torch_log(tf.constant([1.0]))` gives `[0.0]`.
    """
    return tf.math.log(floating(as_tensor(input)))


def torch_sqrt(input: Any) -> tf.Tensor:
    """Square root (`torch.sqrt`).

    Example: `torch_sqrt(tf.constant([9, 4]))` gives `[3.0, 2.0]`.
    """
    return tf.sqrt(floating(as_tensor(input)))


def torch_atanh(input: Any) -> tf.Tensor:
    """Inverse of the hyperbolic tangent (`torch.atanh`).

    Example: `torch_atanh(tf.constant([0.0]))` gives `[0.0]`.
    """
    return tf.atanh(floating(as_tensor(input)))


def torch_tanh(input: Any) -> tf.Tensor:
    """Hyperbolic tangent, correctly rounded (`torch.tanh`).

    TensorFlow's in float32 is a rational approximation whose last bits matter where
    log(1 - tanh^2) is taken near saturation. The gradient is 1 - tanh^2 of the rounded
    value.

    Example: `torch_tanh(tf.constant([0.0]))` gives `[0.0]`.
    """
    value = floating(as_tensor(input))
    return tf.tanh(value) if value.dtype.is_complex else _tanh(value)


@tf.custom_gradient
def _tanh(value: tf.Tensor) -> tuple:
    output = tf.cast(tf.tanh(tf.cast(value, tf.float64)), value.dtype)
    return output, lambda upstream: upstream * (1.0 - tf.square(output))


def torch_round(input: Any, *, decimals: int = 0) -> tf.Tensor:
    """The nearest multiple of 10^-decimals, in the middle the even one (`torch.round`).

    The gradient is 0.

    Raises:
        TypeError: The type of the tensor has nothing to round, or `decimals` is no int.

    Example: `torch_round(tf.constant([0.5, 1.5]))` gives `[0.0, 2.0]`.
    """
    value = as_tensor(input)
    if not is_int(decimals):
        raise TypeError(f"decimals must be an int, got {decimals!r}.")
    whole = value.dtype.is_integer and decimals == 0
    expect_type(whole or value.dtype.is_floating, value, "a floating type")
    if decimals == 0:
        return value if whole else tf.round(value)
    exact = wide(value)
    scale = tf.constant(10.0, exact.dtype) ** abs(decimals)
    if decimals < 0:
        return cast(tf.round(exact / scale) * scale, value.dtype)
    return cast(tf.round(exact * scale) / scale, value.dtype)
