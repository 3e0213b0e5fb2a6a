"""Functions of `torch` that count: ranges of numbers, and indices of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor, is_int, is_tensor
from util.torch_to_tf.creation import created
from util.torch_to_tf.dtypes import as_dtype, cast
from util.torch_to_tf.scalars import as_number, as_scalar, number_dtype
from util.torch_to_tf.sizes import as_size, as_sizes, listed


def torch_arange(
    *bounds: Any,
    start: Any = None,
    end: Any = None,
    step: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """Numbers from `start` up to and without `end` (`torch.arange`).

    The type is int64, or float32 if one of the bounds is a floating number. Bounds may
    be tensors without axes; gradients do not reach them.

    Args:
        *bounds: `end`; or `start`, `end`; or `start`, `end`, `step`.
        start: 0 by default.
        end: Above or, with a negative step, below `start`.
        step: Between neighbours, 1 by default.
        dtype: Of the result.
        device: Where to put it.
        requires_grad: Whether to make a trainable variable of it.

    Raises:
        ValueError: The step is 0 or leads away from `end`, or a bound is not finite.
            Where bounds are known at run time only, such a range is empty or the
            run fails.

    Example: `torch_arange(1, 2.5, 0.5)` gives `[1.0, 1.5, 2.0]`.
    """
    numbers = [
        as_scalar(value, name)
        for name, value in _bounds(bounds, start, end, step).items()
    ]
    kinds = [number_dtype(value) for value in numbers]
    default = tf.float32 if tf.float32 in kinds else tf.int64
    kind = default if dtype is None else as_dtype(dtype)
    if not (kind.is_integer or kind.is_floating):
        raise TypeError(f"dtype must be one of real numbers, got {kind.name}.")
    if any(isinstance(value, complex) for value in numbers):
        raise ValueError(f"start, end and step must be real, got {numbers}.")
    make = _dynamic_range if any(map(is_tensor, numbers)) else _static_range
    return created(lambda: make(numbers, kind), device, requires_grad)


def _bounds(given: Sequence[Any], start: Any, end: Any, step: Any) -> dict[str, Any]:
    """`start`, `end` and `step`, from those given by position and by name."""
    alone = len(given) == 1 and start is None and end is None
    names = ("end",) if alone else ("start", "end", "step")
    if len(given) > len(names):
        raise TypeError(f"start, end and step are at most 3, got {len(given)}.")
    found = {"start": start, "end": end, "step": step}
    for name, value in zip(names, given, strict=False):
        if found[name] is not None:
            raise TypeError(f"{name} must be given once.")
        found[name] = value
    if found["end"] is None:
        raise TypeError("end must be given.")
    if found["start"] is None and step is not None:
        raise TypeError("start must be given where step is.")
    defaults = {"start": 0, "end": 0, "step": 1}
    return {k: defaults[k] if v is None else v for k, v in found.items()}


def _static_range(numbers: Sequence[Any], kind: tf.DType) -> tf.Tensor:
    """A range of Python numbers; floats are computed in double precision."""
    start, end, step = numbers
    if kind == tf.int64 and all(map(math.isfinite, numbers)):
        start, end, step = map(int, numbers)
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ValueError(f"start and end must be finite, got {start} and {end}.")
    if not abs(step) > 0:
        raise ValueError(f"step must not be 0, got {step}.")
    if (end - start) * step < 0:
        raise ValueError(f"step must lead from {start} to {end}, got {step}.")
    if all(isinstance(value, int) for value in (start, end, step)):
        if kind in (tf.int32, tf.int64):
            return tf.range(*_fitting((start, end, step), kind))
        count = -((start - end) // step)
    else:
        count = math.ceil((end - start) / step)
    if kind.is_integer:
        start, step = int(start), int(step)
    return tf.constant((start + step * np.arange(count)).astype(kind.as_numpy_dtype))


def _dynamic_range(numbers: Sequence[Any], kind: tf.DType) -> tf.Tensor:
    """A range of tensors."""
    if kind in (tf.int32, tf.int64):
        return tf.range(*_fitting(numbers, kind))
    start, end, step = (cast(value, tf.float64) for value in numbers)
    index = tf.range(tf.math.ceil((end - start) / step))
    return tf.stop_gradient(cast(start + step * index, kind))


def _fitting(numbers: Sequence[Any], kind: tf.DType) -> list[Any]:
    names = ("start", "end", "step")
    pairs = zip(numbers, names, strict=True)
    return [as_number(value, kind, name) for value, name in pairs]


def torch_linspace(
    start: Any,
    end: Any,
    steps: Any,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """`steps` numbers from `start` to `end`, both included (`torch.linspace`).

    Counted from either end up to the middle. The type is float32 unless given. Bounds
    may be tensors without axes; gradients do not reach them.

    Raises:
        ValueError: `steps` is negative, or the type cannot hold a bound.

    Example: `torch_linspace(0, 1, 3)` gives `[0.0, 0.5, 1.0]`.
    """
    first, last = as_scalar(start, "start"), as_scalar(end, "end")
    count = as_size(steps, "steps")
    if is_tensor(count):
        raise TypeError("steps must be an int, got a tensor without a value yet.")
    kinds = [number_dtype(value) for value in (first, last)]
    default = tf.complex64 if tf.complex64 in kinds else tf.float32
    kind = default if dtype is None else as_dtype(dtype)
    if kind.is_bool:
        raise TypeError("dtype must be one of numbers, got bool.")
    first, last = as_number(first, kind, "start"), as_number(last, kind, "end")
    make = _dynamic_line if tf.is_tensor(first) or tf.is_tensor(last) else _static_line
    return created(lambda: make(first, last, count, kind), device, requires_grad)


def _static_line(first: Any, last: Any, count: int, kind: tf.DType) -> tf.Tensor:
    """A line between numbers of the type, computed in it; whole numbers in double."""
    if kind.is_integer:
        first, last = np.float64(first), np.float64(last)
    index, one = np.arange(count), type(first)
    with np.errstate(over="ignore", invalid="ignore"):
        step = (last - first) / one(max(count - 1, 1))
        low = first + step * index.astype(one)
        high = last - step * (count - 1 - index).astype(one)
    line = np.where(index < count // 2, low, high) if count > 1 else low
    return tf.constant(line.astype(kind.as_numpy_dtype))


def _dynamic_line(first: Any, last: Any, count: int, kind: tf.DType) -> tf.Tensor:
    """The same between tensors."""
    exact = tf.float64 if kind.is_integer else kind
    first, last = cast(first, exact), cast(last, exact)
    step = (last - first) / max(count - 1, 1)
    index = np.arange(count)
    low = first + step * tf.constant(index, exact)
    high = last - step * tf.constant(count - 1 - index, exact)
    line = tf.where(index < count // 2, low, high) if count > 1 else low
    return tf.stop_gradient(cast(line, kind))


def torch_unravel_index(indices: Any, shape: Any) -> tuple[tf.Tensor, ...]:
    """The index along each axis of positions in a flat tensor (`torch.unravel_index`).

    Positions beyond the end count on from the start, negative ones from the end.

    Args:
        indices: Whole numbers.
        shape: Sizes of the axes; an int for one axis.

    Returns:
        One int64 tensor for each axis.

    Raises:
        TypeError: `indices` are not of an integer type.
        ValueError: A size is negative, or 0 although there is a position.

    Example: `torch_unravel_index(tf.constant([1, 5]), (2, 3))` gives
        `([0, 1], [1, 2])`.
    """
    tensor = as_tensor(indices, "indices")
    if not tensor.dtype.is_integer:
        raise TypeError(f"indices must be whole numbers, got {tensor.dtype.name}.")
    sizes = as_sizes([shape] if is_int(shape) else listed(shape, "shape"), "shape")
    if 0 in [size for size in sizes if is_int(size)]:
        if 0 not in tensor.shape:
            raise ValueError(f"shape must have no 0 where indices are, got {shape}.")
        return tuple(cast(tensor, tf.int64) for _ in sizes)
    rest, found = cast(tensor, tf.int64), []
    for size in reversed(sizes[1:]):
        long = cast(size, tf.int64)
        found.append(tf.math.floormod(rest, long))
        rest = tf.math.floordiv(rest, long)
    if sizes:
        found.append(tf.math.floormod(rest, cast(sizes[0], tf.int64)))
    return tuple(reversed(found))
