"""Largest and smallest entries, with PyTorch's rules for ties and NaN.

A NaN counts as the largest and the smallest. TensorFlow's `argmax` passes over it, and
so do `maximum` and `reduce_max` where XLA compiles for a CPU; hence the tests for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import (
    as_axis,
    as_tensor,
    check_broadcast,
    is_int,
    is_tensor,
)
from util.torch_to_tf.dtypes import cast, cast_together, expect_type
from util.torch_to_tf.gradients import spread_over, summed_to


class Extreme(NamedTuple):
    """What `torch_max` and `torch_min` find along an axis."""

    values: tf.Tensor
    indices: tf.Tensor


class Side(NamedTuple):
    """What the largest and the smallest differ in."""

    wins: Callable[..., tf.Tensor]
    loses: Callable[..., tf.Tensor]
    of_two: Callable[..., tf.Tensor]
    of_all: Callable[..., tf.Tensor]
    where: Callable[..., tf.Tensor]


LARGEST = Side(tf.greater_equal, tf.less, tf.maximum, tf.reduce_max, tf.argmax)
SMALLEST = Side(tf.less_equal, tf.greater, tf.minimum, tf.reduce_min, tf.argmin)


def torch_max(
    input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None
) -> Any:
    """The largest entry (`torch.max`).

    Of all; along an axis, with where it stands first; or of two tensors, entry by
    entry. The gradient is shared by equal entries, except along an axis, where the
    first one gets it.

    Args:
        input: A tensor.
        dim: An axis, or what `other` is.
        keepdim: Whether the axis stays, with size 1.
        other: The second tensor.

    Returns:
        A tensor; with an axis a pair (values, indices).

    Raises:
        ValueError: Shapes do not broadcast.
        IndexError: There is no such axis, or no entry to choose from.

    Example: `torch_max(tf.constant([[1, 7], [8, 2]]), 1)` gives `([7, 8], [1, 0])`.
    """
    return _extreme(LARGEST, input, dim, keepdim, other)


def torch_min(
    input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None
) -> Any:
    """The smallest entry, with the arguments and rules of `torch_max` (`torch.min`).

    Example: `torch_min(tf.constant([[1, 7], [8, 2]]), 1)` gives `([1, 2], [0, 1])`.
    """
    return _extreme(SMALLEST, input, dim, keepdim, other)


def torch_argmax(
    input: Any, dim: int | None = None, keepdim: bool = False
) -> tf.Tensor:
    """Where the largest entry first stands (`torch.argmax`).

    Without `dim` it is counted through all entries, row by row.

    Raises:
        TypeError: The type of the tensor is bool or complex.
        IndexError: There is no such axis, or no entry.

    Example: `torch_argmax(tf.constant([[1, 7], [8, 2]]), 1)` gives `[1, 0]`.
    """
    value = as_tensor(input)
    sorts = not (value.dtype.is_bool or value.dtype.is_complex)
    expect_type(sorts, value, "a type with an order")
    if dim is None:
        _check_entries(value, None)
        index = _index(LARGEST, tf.reshape(value, [-1]), 0)
        return tf.reshape(index, [1] * len(value.shape)) if keepdim else index
    axis = as_axis(dim, len(value.shape))
    _check_entries(value, axis)
    if len(value.shape) == 0:
        return tf.zeros([], tf.int64)
    index = _index(LARGEST, value, axis)
    return tf.expand_dims(index, axis) if keepdim else index


def better(side: Side, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """The larger or smaller of two tensors, entry by entry; NaN if one is NaN."""
    if not first.dtype.is_floating:
        return side.of_two(first, second)
    stays = tf.logical_or(side.wins(first, second), tf.math.is_nan(first))
    return tf.where(stays, first, second)


def _extreme(side: Side, input: Any, dim: Any, keepdim: bool, other: Any) -> Any:
    value = as_tensor(input)
    expect_type(not value.dtype.is_complex, value, "a type with an order")
    if other is None and is_tensor(dim) and not is_int(dim):
        other, dim = dim, None
    if (other is not None or dim is None) and keepdim:
        raise TypeError("keepdim must be given together with dim only.")
    if other is not None and dim is not None:
        raise TypeError(f"dim must not be given together with other, got {dim!r}.")
    if other is not None:
        return _of_two(side, value, as_tensor(other, "other"))
    axis = None if dim is None else as_axis(dim, len(value.shape))
    _check_entries(value, axis)
    if value.dtype.is_bool:
        found = _reduced(side, tf.cast(value, tf.uint8), axis, keepdim)
        return tf.nest.map_structure(
            lambda x: x if x.dtype == tf.int64 else tf.cast(x, tf.bool), found
        )
    return _reduced(side, value, axis, keepdim)


def _check_entries(value: tf.Tensor, axis: int | None) -> None:
    if axis is None and value.shape.num_elements() == 0:
        raise IndexError("dim must be given where input has no entry.")
    if axis is not None and value.shape.rank and value.shape[axis] == 0:
        raise IndexError(f"dim must name an axis that is not empty, got {axis}.")


def _reduced(side: Side, value: tf.Tensor, axis: int | None, keepdim: bool) -> Any:
    if axis is None:
        return _of_all(side, value)
    if len(value.shape) == 0:
        return Extreme(value, tf.zeros([], tf.int64))
    index = _index(side, value, axis)
    best = _along(side, value, axis, index)
    found = Extreme(best, index)
    return Extreme(*(tf.expand_dims(x, axis) for x in found)) if keepdim else found


def _index(side: Side, value: tf.Tensor, axis: int) -> tf.Tensor:
    index = side.where(value, axis)
    if not value.dtype.is_floating:
        return index
    nan = tf.math.is_nan(value)
    return tf.where(tf.reduce_any(nan, axis), tf.argmax(nan, axis), index)


def _best(side: Side, value: tf.Tensor, axis: int | None) -> tf.Tensor:
    best = side.of_all(value, axis)
    if not value.dtype.is_floating:
        return best
    nan = tf.constant(np.nan, value.dtype)
    return tf.where(tf.reduce_any(tf.math.is_nan(value), axis), nan, best)


def _of_all(side: Side, value: tf.Tensor) -> tf.Tensor:
    if not value.dtype.is_floating:
        return _best(side, value, None)

    @tf.custom_gradient
    def best_of(value: tf.Tensor) -> tuple:
        best = _best(side, value, None)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            nan = tf.math.is_nan(value)
            equal = tf.where(tf.math.is_nan(best), nan, value == best)
            share = upstream / tf.reduce_sum(tf.cast(equal, value.dtype))
            return tf.where(equal, share, tf.zeros([], value.dtype))

        return best, gradient

    return best_of(value)


def _along(side: Side, value: tf.Tensor, axis: int, index: tf.Tensor) -> tf.Tensor:
    if not value.dtype.is_floating:
        return _best(side, value, axis)

    @tf.custom_gradient
    def best_of(value: tf.Tensor) -> tuple:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            size = value.shape[axis]
            depth = tf.shape(value)[axis] if size is None else size
            chosen = tf.one_hot(index, depth, True, False, axis, tf.bool)
            spread = spread_over(upstream, [axis])
            return tf.where(chosen, spread, tf.zeros([], value.dtype))

        return _best(side, value, axis), gradient

    return best_of(value)


def _of_two(side: Side, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    expect_type(not second.dtype.is_complex, second, "a type with an order", "other")
    check_broadcast(input=first, other=second)
    first, second = cast_together(first, second)
    if first.dtype.is_bool:
        both = (tf.cast(x, tf.uint8) for x in (first, second))
        return cast(side.of_two(*both), tf.bool)
    if not first.dtype.is_floating:
        return better(side, first, second)

    @tf.custom_gradient
    def better_of(first: tf.Tensor, second: tf.Tensor) -> tuple:
        def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            zero = tf.zeros([], upstream.dtype)
            shared = tf.where(first == second, upstream / 2, upstream)
            to_first = tf.where(side.loses(first, second), zero, shared)
            to_second = tf.where(side.loses(second, first), zero, shared)
            return summed_to(to_first, first), summed_to(to_second, second)

        return better(side, first, second), gradients

    return better_of(first, second)
