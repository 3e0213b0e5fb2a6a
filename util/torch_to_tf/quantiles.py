"""Quantiles."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_axis, as_tensor, is_tensor
from util.torch_to_tf.dtypes import expect_type
from util.torch_to_tf.sizes import size_of

_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


class _Place(NamedTuple):
    """Which sorted entries a quantile lies between, and how far from the first."""

    low: Any
    high: Any = None
    weight: Any = None


def torch_quantile(
    input: Any,
    q: Any,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> tf.Tensor:
    """Quantiles of all entries or along an axis (`torch.quantile`).

    NaN where there is a NaN among the entries, without a gradient to them.

    Args:
        input: A tensor of float32 or float64.
        q: A number in [0, 1], or a tensor of the same type of one or, as a vector, of
            several, which then are the first axis of the result. In a graph its values
            are not checked.
        dim: The axis.
        keepdim: Whether the axis stays, with size 1.
        interpolation: Between neighbours: "linear", "lower", "higher", "midpoint" or
            "nearest".

    Raises:
        TypeError: A type does not fit.
        ValueError: There are no entries, or `q` or `interpolation` is none of these.

    Example: `torch_quantile(tf.constant([3.0, 1.0, 2.0]), 0.25)` gives `1.5`.
    """
    value = as_tensor(input)
    has_type = value.dtype in (tf.float32, tf.float64)
    expect_type(has_type, value, "the type float32 or float64")
    if interpolation not in _METHODS:
        raise ValueError(
            f"interpolation must be one of {_METHODS}, got {interpolation!r}."
        )
    if value.shape.num_elements() == 0:
        raise ValueError(f"input must have entries, got shape {tuple(value.shape)}.")
    q = _checked(q, value.dtype)
    rank = len(value.shape)
    axis = None if dim is None else as_axis(dim, rank)
    several = tf.is_tensor(q) and len(q.shape) == 1
    found = _along_last(_rows(value, axis), q, several, interpolation)
    if not keepdim or not rank:
        return found
    for kept in range(rank) if axis is None else [axis]:
        found = tf.expand_dims(found, kept + several)
    return found


def _checked(q: Any, dtype: tf.DType) -> Any:
    """A float or a tensor of the type of the entries."""
    if isinstance(q, bool | int | float | np.generic):
        values = q = float(q)
    elif is_tensor(q):
        q = as_tensor(q, "q")
        expect_type(q.dtype == dtype, q, f"the type {dtype.name} of input", "q")
        if len(q.shape) > 1:
            raise ValueError(f"q must have one axis at most, got shape {q.shape}.")
        values = tf.get_static_value(q)
    else:
        raise TypeError(f"q must be a number or a tensor, got {q!r}.")
    if values is not None and not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"q must be in [0, 1], got {values}.")
    return q


def _rows(value: tf.Tensor, axis: int | None) -> tf.Tensor:
    """The entries with what is sorted as the last axis."""
    rank = len(value.shape)
    if axis is None or rank == 0:
        return value if rank == 1 else tf.reshape(value, [-1])
    if axis == rank - 1:
        return value
    others = [other for other in range(rank) if other != axis]
    return tf.transpose(value, [*others, axis])


def _along_last(rows: tf.Tensor, q: Any, several: bool, method: str) -> tf.Tensor:
    place = _place(q, size_of(rows, -1), rows.dtype, method)
    ordered = tf.sort(rows)
    found = tf.gather(ordered, place.low, axis=-1)
    if place.high is not None:
        above = tf.gather(ordered, place.high, axis=-1)
        found = _between(found, above, place.weight)
    is_nan = tf.reduce_any(tf.math.is_nan(rows), -1, keepdims=several)
    found = tf.where(is_nan, tf.constant(np.nan, rows.dtype), found)
    rank = len(found.shape)
    if not several or rank == 1:
        return found
    return tf.transpose(found, [rank - 1, *range(rank - 1)])


def _place(q: Any, size: Any, dtype: tf.DType, method: str) -> _Place:
    """Without an operation where all of it is known."""
    if tf.is_tensor(q) or tf.is_tensor(size):
        rank = q * tf.cast(size - 1, dtype)
        floor, ceil, nearest = tf.floor, tf.math.ceil, tf.round
    else:
        kind = dtype.as_numpy_dtype
        rank = kind(q) * kind(size - 1)
        floor, ceil, nearest = np.floor, np.ceil, np.rint
    single = {"lower": floor, "higher": ceil, "nearest": nearest}.get(method)
    if single is not None:
        return _Place(_whole(single(rank)))
    low = floor(rank)
    weight = 0.5 if method == "midpoint" else rank - low
    return _Place(_whole(low), _whole(ceil(rank)), weight)


def _whole(rank: Any) -> Any:
    return tf.cast(rank, tf.int32) if tf.is_tensor(rank) else int(rank)


def _between(below: tf.Tensor, above: tf.Tensor, weight: Any) -> tf.Tensor:
    """From the nearer end, as PyTorch has it; the other end may be infinite."""
    step = above - below
    if not tf.is_tensor(weight):
        if weight < 0.5:
            return below + step * weight
        return above - step * (1.0 - weight)
    from_above = above - step * (1.0 - weight)
    return tf.where(weight < 0.5, below + step * weight, from_above)
