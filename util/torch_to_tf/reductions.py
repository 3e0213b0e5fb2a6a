"""Functions of `torch` over one, several or all axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_axes, as_axis, as_tensor
from util.torch_to_tf.dtypes import as_dtype, cast, expect_type, floating, summed, wide
from util.torch_to_tf.gradients import spread_over
from util.torch_to_tf.sizes import size_of

Axes = int | Sequence[int] | None


def torch_sum(
    input: Any, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None
) -> tf.Tensor:
    """The sum; int64 for whole numbers (`torch.sum`).

    Args:
        input: A tensor.
        dim: An axis or several; all by default.
        keepdim: Whether these stay, with size 1.
        dtype: What to convert to beforehand.

    Example: `torch_sum(tf.constant([[1, 2], [3, 4]]), 0)` gives `[4, 6]`.
    """
    value = _converted(as_tensor(input), dtype, summed)
    axes = as_axes(dim, len(value.shape))
    reduce = tf.reduce_any if value.dtype.is_bool else tf.reduce_sum
    return cast(reduce(wide(value), axes, keepdim), value.dtype)


def torch_mean(
    input: Any, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None
) -> tf.Tensor:
    """The mean; arguments as of `torch_sum` (`torch.mean`).

    Raises:
        TypeError: The type of the entries, or `dtype`, is one of whole numbers.

    Example: `torch_mean(tf.constant([[1.0, 2.0], [3.0, 4.0]]))` gives `2.5`.
    """
    value = _converted(as_tensor(input), dtype)
    _expect_fractions(value, dtype)
    axes = as_axes(dim, len(value.shape))
    return cast(tf.reduce_mean(wide(value), axes, keepdim), value.dtype)


def torch_nanmean(
    input: Any, dim: Axes = None, keepdim: bool = False, *, dtype: Any = None
) -> tf.Tensor:
    """The mean of the entries that are not NaN (`torch.nanmean`).

    NaN if all are. Arguments as of `torch_mean`.

    Raises:
        TypeError: The type of the entries, or `dtype`, is not floating.

    Example: `torch_nanmean(tf.constant([1.0, np.nan, 3.0]))` gives `2.0`.
    """
    value = as_tensor(input)
    expect_type(value.dtype.is_floating, value, "a floating type")
    value = _converted(value, dtype)
    _expect_fractions(value, dtype)
    axes = as_axes(dim, len(value.shape))

    @tf.custom_gradient
    def mean(value: tf.Tensor) -> tuple:
        is_nan = tf.math.is_nan(value)
        zero = tf.zeros([], value.dtype)
        total = tf.reduce_sum(tf.where(is_nan, zero, value), axes, keepdim)
        known = tf.cast(tf.logical_not(is_nan), value.dtype)
        count = tf.reduce_sum(known, axes, keepdim)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # 0 to an entry that is NaN, but NaN to all where there is no other.
            parts = upstream / count, tf.where(count == 0.0, np.nan, zero)
            share, rest = parts if keepdim else (spread_over(x, axes) for x in parts)
            return tf.where(is_nan, rest, share)

        return total / count, gradient

    return cast(mean(wide(value)), value.dtype)


def torch_prod(
    input: Any, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> tf.Tensor:
    """The product of all entries or along an axis; int64 for ints (`torch.prod`).

    Example: `torch_prod(tf.constant([[1, 2], [3, 4]]), 1)` gives `[2, 12]`.
    """
    value = _converted(as_tensor(input), dtype, summed)
    if dim is None and keepdim:
        raise TypeError("keepdim must be given together with dim only.")
    axes = as_axes(None if dim is None else (dim,), len(value.shape))
    reduce = tf.reduce_all if value.dtype.is_bool else tf.reduce_prod
    return reduce(value, axes, keepdim)


def torch_cumprod(input: Any, dim: int, *, dtype: Any = None) -> tf.Tensor:
    """Products of the entries so far along an axis; int64 for ints (`torch.cumprod`).

    The gradient holds where entries are 0 too.

    Raises:
        TypeError: `dtype` is bool.

    Example: `torch_cumprod(tf.constant([2.0, 0.5, 4.0]), 0)` gives `[2.0, 1.0, 4.0]`.
    """
    value = _converted(as_tensor(input), dtype, summed)
    expect_type(not value.dtype.is_bool, value, "a type of numbers", "dtype")
    axis = as_axis(dim, len(value.shape))
    if len(value.shape) == 0 or value.shape[axis] == 1:
        return value
    if not (value.dtype.is_floating or value.dtype.is_complex):
        return tf.math.cumprod(value, axis)

    @tf.custom_gradient
    def products(value: tf.Tensor) -> tuple:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return _cumprod_gradient(upstream, value, axis)

        return tf.math.cumprod(value, axis), gradient

    return products(value)


def _cumprod_gradient(upstream: tf.Tensor, value: tf.Tensor, axis: int) -> tf.Tensor:
    """Without a division by 0.

    An entry before the first 0 has an effect on the products up to there; the first 0
    on those from there to the second, as they are without it; an entry after it on
    none.
    """
    zero = tf.zeros([], value.dtype)
    is_zero = value == zero
    zeros = tf.cumsum(tf.cast(is_zero, tf.int32), axis)
    is_first = tf.logical_and(is_zero, zeros == 1)
    before = zeros == 0
    one = tf.ones([], value.dtype)
    products = tf.math.cumprod(tf.where(is_first, one, value), axis)
    effect = upstream * tf.math.conj(products)

    def from_here(part: tf.Tensor) -> tf.Tensor:
        kept = tf.where(part, effect, zero)
        return tf.cumsum(kept, axis, reverse=True)

    divisor = tf.where(before, tf.math.conj(value), one)
    of_first = tf.where(is_first, from_here(zeros == 1), zero)
    return tf.where(before, from_here(before) / divisor, of_first)


def torch_std(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tf.Tensor:
    """The standard deviation, with n - 1 in the denominator (`torch.std`).

    Of one entry it is NaN. Where it is 0, so is its gradient.

    Args:
        input: A tensor.
        dim: An axis or several; all by default. A bool here is `unbiased`.
        unbiased: Whether to divide by n - 1, or by n.
        keepdim: Whether the axes stay, with size 1.
        correction: What to subtract from n instead; 1 by default.

    Raises:
        TypeError: The type is not floating; `unbiased` and `correction` are both given.

    Example: `torch_std(tf.constant([1.0, 2.0, 3.0]))` gives `1.0`.
    """
    if isinstance(dim, bool):
        if unbiased is not None:
            raise TypeError(f"unbiased must be given once, got {dim} and {unbiased}.")
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError("unbiased and correction must not be given together.")
    value = as_tensor(input)
    expect_type(value.dtype.is_floating, value, "a floating type")
    axes = as_axes(dim, len(value.shape))
    if correction is None:
        correction = 0.0 if unbiased is False else 1.0
    return cast(_std(wide(value), axes, keepdim, correction), value.dtype)


def _std(
    value: tf.Tensor, axes: list[int], keepdim: bool, correction: float
) -> tf.Tensor:
    count = math.prod(size_of(value, axis) for axis in axes)
    if tf.is_tensor(count):
        rest = tf.cast(count, value.dtype) - correction
        divisor = tf.maximum(rest, 0.0)
    else:
        rest = tf.constant(count - correction, value.dtype)
        divisor = max(count - correction, 0.0)

    @tf.custom_gradient
    def std(value: tf.Tensor) -> tuple:
        mean = tf.reduce_mean(value, axes, keepdims=len(axes) < len(value.shape))
        centred = value - mean
        root = tf.sqrt(tf.reduce_sum(tf.square(centred), axes, keepdim) / divisor)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            zero = tf.zeros([], root.dtype)
            share = tf.where(root == 0.0, zero, upstream / root)
            share = share if keepdim else spread_over(share, axes)
            return share / rest * centred

        return root, gradient

    return std(value)


def torch_logsumexp(input: Any, dim: Axes, keepdim: bool = False) -> tf.Tensor:
    """log(sum(exp(x))) without overflow (`torch.logsumexp`).

    Raises:
        TypeError: `dim` is None, or the type complex.

    Example: `torch_logsumexp(tf.constant([0.0]), 0)` gives `0.0`.
    """
    value = floating(as_tensor(input))
    expect_type(value.dtype.is_floating, value, "a real type")
    if dim is None:
        raise TypeError("dim must be an int or a tuple of ints, got None.")
    axes = as_axes(dim, len(value.shape))

    @tf.custom_gradient
    def total_of(value: tf.Tensor) -> tuple:
        total = tf.reduce_logsumexp(value, axes, keepdim)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            if not keepdim:
                upstream = spread_over(upstream, axes)
            spread = total if keepdim else spread_over(total, axes)
            return upstream * tf.exp(value - spread)

        return total, gradient

    return cast(total_of(wide(value)), value.dtype)


def torch_softmax(input: Any, dim: int, *, dtype: Any = None) -> tf.Tensor:
    """exp(x) divided by its sum along an axis (`torch.softmax`).

    Beside an infinite entry or NaN, TensorFlow may return 0 where PyTorch has NaN.

    Raises:
        TypeError: The type of the entries is not floating, and no `dtype` is given.

    Example: `torch_softmax(tf.constant([1.0, 1.0]), 0)` gives `[0.5, 0.5]`.
    """
    value = _converted(as_tensor(input), dtype)
    expect_type(value.dtype.is_floating, value, "a floating type")
    axis = as_axis(dim, len(value.shape))
    if len(value.shape) == 0:
        return tf.reshape(tf.nn.softmax(tf.reshape(value, [1])), [])
    return tf.nn.softmax(value, axis)


def _converted(
    value: tf.Tensor,
    dtype: Any,
    default: Callable[[tf.Tensor], tf.Tensor] = lambda value: value,
) -> tf.Tensor:
    return default(value) if dtype is None else cast(value, as_dtype(dtype))


def _expect_fractions(value: tf.Tensor, dtype: Any) -> None:
    name = "input" if dtype is None else "dtype"
    fits = value.dtype.is_floating or value.dtype.is_complex
    expect_type(fits, value, "a floating or complex type", name)
