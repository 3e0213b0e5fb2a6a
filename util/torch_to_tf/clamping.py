"""Functions of `torch` that limit entries to an interval."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor, check_broadcast, is_tensor
from util.torch_to_tf.dtypes import cast, expect_type, result_type
from util.torch_to_tf.extremes import LARGEST, SMALLEST, better
from util.torch_to_tf.gradients import summed_to
from util.torch_to_tf.scalars import as_number, as_scalar


class _Bound(NamedTuple):
    """A bound, and whether it is a number: then it has no gradient and is not NaN."""

    value: tf.Tensor
    fixed: bool


def torch_clamp(input: Any, min: Any = None, max: Any = None) -> tf.Tensor:
    """Entries limited to [min, max]; max where min > max (`torch.clamp`).

    NaN in any of the three gives NaN. The gradient goes to the entry inside and at the
    bounds, otherwise to the bound; to nothing at NaN.

    Args:
        input: A tensor.
        min: The lower bound: a number, or a tensor that broadcasts.
        max: The upper bound.

    Raises:
        TypeError: The type is bool or complex, or a bound no number or tensor.
        ValueError: There is no bound, a type cannot hold it, or shapes do not fit.

    Example: `torch_clamp(tf.constant([-3.0, 0.5]), min=-1.0)` gives `[-1.0, 0.5]`.
    """
    value = as_tensor(input)
    if min is None and max is None:
        raise ValueError("at least one of min and max must be given, got None twice.")
    raw = {"min": min, "max": max}
    given = {
        name: bound if _has_gradient(bound) else as_scalar(bound, name)
        for name, bound in raw.items()
        if bound is not None
    }
    kind = result_type(value, *given.values())
    value = cast(value, kind)
    has_order = not (kind.is_bool or kind.is_complex)
    expect_type(has_order, value, "together with its bounds a type with an order")
    bounds = {name: _bound(bound, kind, name) for name, bound in given.items()}
    check_broadcast(input=value, **{name: b.value for name, b in bounds.items()})
    return _clamp(value, bounds.get("min"), bounds.get("max"))


def torch_clip(input: Any, min: Any = None, max: Any = None) -> tf.Tensor:
    """`torch_clamp` under another name (`torch.clip`).

    Example: `torch_clip(tf.constant([5, 1]), max=3)` gives `[3, 1]`.
    """
    return torch_clamp(input, min, max)


def torch_tensor_clamp_(input: Any, min: Any = None, max: Any = None) -> Any:
    """Limits the entries of a variable in place (`torch.Tensor.clamp_`).

    Args:
        input: A variable of TensorFlow or Keras.
        min: As in `torch_clamp`.
        max: As in `torch_clamp`.

    Returns:
        The variable itself.

    Raises:
        TypeError: It is no variable, or one of ints with a floating bound.
        ValueError: A bound has more entries than the variable.

    Example: `torch_tensor_clamp_(tf.Variable([5.0, 1.0]), max=3)` gives `[3.0, 1.0]`.
    """
    if not isinstance(input, tf.Variable | keras.Variable):
        raise TypeError(f"input must be a variable, got {input!r}.")
    limited = torch_clamp(input, min, max)
    dtype = tf.as_dtype(input.dtype)
    fits = dtype.is_floating or not limited.dtype.is_floating
    expect_type(fits, limited, f"a type that {dtype.name} can hold", "the result")
    if not limited.shape.is_compatible_with(input.shape):
        raise ValueError(
            f"min and max must broadcast to the shape {tuple(input.shape)} of input, "
            f"got {tuple(limited.shape)} together."
        )
    input.assign(cast(limited, dtype))
    return input


def _has_gradient(bound: Any) -> bool:
    return is_tensor(bound) and not isinstance(bound, np.generic)


def _bound(bound: Any, dtype: tf.DType, name: str) -> _Bound:
    if _has_gradient(bound):
        return _Bound(cast(bound, dtype), False)
    number = as_number(bound, dtype, name)
    return _Bound(tf.constant(number, dtype), bool(number == number))


def _clamp(value: tf.Tensor, low: _Bound | None, high: _Bound | None) -> tf.Tensor:
    if not value.dtype.is_floating:
        return _limited(value, low, high)

    @tf.custom_gradient
    def clamp(value: tf.Tensor, *tensors: tf.Tensor) -> tuple:
        left = list(tensors)
        lower, upper = (
            bound if bound is None or bound.fixed else _Bound(left.pop(0), False)
            for bound in (low, high)
        )

        def gradients(upstream: tf.Tensor) -> list[tf.Tensor]:
            return list(_gradients(upstream, value, lower, upper))

        return _limited(value, lower, upper), gradients

    tensors = [bound.value for bound in (low, high) if bound and not bound.fixed]
    return clamp(value, *tensors)


def _limited(value: tf.Tensor, low: _Bound | None, high: _Bound | None) -> tf.Tensor:
    for side, bound in ((LARGEST, low), (SMALLEST, high)):
        if bound:
            value = (
                side.of_two(value, bound.value)
                if bound.fixed
                else better(side, value, bound.value)
            )
    return value


def _gradients(
    upstream: tf.Tensor, value: tf.Tensor, low: _Bound | None, high: _Bound | None
) -> Iterator[tf.Tensor]:
    """Of the entries, and of those bounds that are tensors."""
    zero = tf.zeros([], upstream.dtype)
    sides = [value >= low.value] if low else []
    sides += [value <= high.value] if high else []
    inside = tf.logical_and(*sides) if len(sides) == 2 else sides[0]
    yield summed_to(tf.where(inside, upstream, zero), value)
    if low and not low.fixed:
        below = value < low.value
        below = tf.logical_and(below, low.value < high.value) if high else below
        yield summed_to(tf.where(below, upstream, zero), low.value)
    if high and not high.fixed:
        above = value > high.value
        above = tf.logical_or(above, high.value < low.value) if low else above
        yield summed_to(tf.where(above, upstream, zero), high.value)
