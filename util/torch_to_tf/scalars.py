"""Single numbers as arguments, and the conversions that PyTorch refuses."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import is_tensor
from util.torch_to_tf.dtypes import cast

Number = bool | int | float | complex


def as_scalar(value: Any, name: str) -> Any:
    """A Python number; a tensor where only the run will tell.

    Args:
        value: A number of Python or NumPy, or a tensor without axes.
        name: What to call it.

    Raises:
        TypeError: Anything else.
    """
    if isinstance(value, Number):
        return value.item() if isinstance(value, np.generic) else value
    if is_tensor(value) and not tuple(value.shape):
        tensor = tf.convert_to_tensor(value)
        static = tf.get_static_value(tensor)
        if tensor.dtype != tf.string:
            return tensor if static is None else static.item()
    raise TypeError(f"{name} must be a number, got {value!r}.")


def number_dtype(value: Any) -> tf.DType:
    """bool, int64, float32 or complex64: what PyTorch makes of a number's kind."""
    if is_tensor(value):
        kind = value.dtype
        whole = tf.bool if kind.is_bool else tf.int64
        rest = tf.complex64 if kind.is_complex else tf.float32
        return whole if kind.is_bool or kind.is_integer else rest
    if isinstance(value, bool):
        return tf.bool
    if isinstance(value, int):
        return tf.int64
    return tf.complex64 if isinstance(value, complex) else tf.float32


@cache
def _limits(dtype: tf.DType) -> tuple[int, int]:
    """The least and the greatest number of an integer type."""
    return int(dtype.min), int(dtype.max)


def as_number(value: Any, dtype: tf.DType, name: str) -> Any:
    """The number as one of `dtype`; fractions are cut off as in PyTorch.

    Raises:
        ValueError: The type cannot hold it.
    """
    if is_tensor(value):
        return cast(value, dtype)
    if isinstance(value, complex) and not (dtype.is_complex or dtype.is_bool):
        if value.imag:
            raise ValueError(f"{name} must be real for {dtype.name}, got {value}.")
        value = value.real
    kind = dtype.as_numpy_dtype
    if dtype.is_integer:
        # Unsigned types take negative ints of which the positive ones fit.
        least, most = _limits(dtype)
        wraps = least == 0 and isinstance(value, int)
        if not (-most if wraps else least) <= value <= most:
            raise ValueError(f"{name} must fit {dtype.name}, got {value}.")
        return kind(int(value) % (most + 1) if wraps else int(value))
    if not dtype.is_bool:
        limit = float(dtype.real_dtype.max)
        for part in (value.real, value.imag):
            if limit < abs(part) < math.inf:
                raise ValueError(f"{name} must fit {dtype.name}, got {value}.")
    return kind(value)
