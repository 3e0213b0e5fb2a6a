"""PyTorch's rules for the types of results.

Python floats count as float32, Python ints as int64. Where types meet, booleans give
way to integers and these to floats; within one of these kinds a tensor with axes
decides, then a scalar tensor, then a Python number (`torch.result_type`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import is_tensor

# PyTorch's own names where they differ from TensorFlow's; Python's types as dtypes.
_NAMES: dict[str | type, str] = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    float: "float64",
    int: "int64",
}


def as_dtype(dtype: Any, name: str = "dtype") -> tf.DType:
    """The TensorFlow type of a type or its name, PyTorch's names included.

    Raises:
        TypeError: There is no such type.
    """
    try:
        if isinstance(dtype, str | type):
            dtype = _NAMES.get(dtype, dtype)
        return tf.as_dtype(dtype)
    except TypeError:
        raise TypeError(f"{name} must be a tensor type, got {dtype!r}.") from None


def default_dtype(value: Any) -> tf.DType:
    """The type that PyTorch gives a Python number (or array or tensor)."""
    if is_tensor(value):
        return tf.as_dtype(value.dtype)
    if isinstance(value, bool):
        return tf.bool
    if isinstance(value, int):
        return tf.int64
    return tf.complex64 if isinstance(value, complex) else tf.float32


def result_type(*operands: Any) -> tf.DType:
    """The type of the result of an operation on tensors and Python numbers.

    Tensors with axes, scalar tensors and numbers each have a least common type; the
    first of these decides unless a later one is of a higher kind. float16 with a
    complex number gives complex64: TensorFlow has no complex32.

    Source: the type promotion rules of `torch.result_type`.
    """
    groups: dict[int, list[tf.DType]] = {}
    for value in operands:
        groups.setdefault(_priority(value), []).append(default_dtype(value))
    return reduce(_prevailing, (common_dtype(groups[rank]) for rank in sorted(groups)))


def common_dtype(dtypes: Iterable[tf.DType]) -> tf.DType:
    """The least type that can hold all of them (`torch.promote_types`)."""
    return reduce(_promoted, dtypes)


def cast_together(*operands: Any) -> list[tf.Tensor]:
    """Operands as tensors of their `result_type`."""
    dtype = result_type(*operands)
    return [cast(value, dtype) for value in operands]


def cast(value: Any, dtype: tf.DType) -> tf.Tensor:
    """`value` as a tensor of `dtype`, without an operation where it has it."""
    if not is_tensor(value):
        number = dtype.as_numpy_dtype(value) if isinstance(value, bool) else value
        return tf.constant(number, dtype)
    value = tf.convert_to_tensor(value)
    return value if value.dtype == dtype else tf.cast(value, dtype)


def floating(value: tf.Tensor) -> tf.Tensor:
    """Whole numbers and booleans as float32, all else as it is."""
    return cast(value, tf.float32) if _kind(value.dtype) < 2 else value


def summed(value: tf.Tensor) -> tf.Tensor:
    """Whole numbers and booleans as int64, which sums and products have."""
    return cast(value, tf.int64) if _kind(value.dtype) < 2 else value


def wide(value: tf.Tensor) -> tf.Tensor:
    """16-bit floats as float32, in which PyTorch sums them up, all else as it is."""
    halves = (tf.float16, tf.bfloat16)
    return tf.cast(value, tf.float32) if value.dtype in halves else value


def expect_type(
    fits: bool, value: tf.Tensor, expected: str, name: str = "input"
) -> None:
    """Refuses an argument whose type does not fit.

    Raises:
        TypeError: Names the argument, its type and what was expected.
    """
    if not fits:
        raise TypeError(f"{name} must have {expected}, got {value.dtype.name}.")


def _kind(dtype: tf.DType) -> int:
    return (
        0 if dtype.is_bool else 1 if dtype.is_integer else 3 if dtype.is_complex else 2
    )


def _priority(value: Any) -> int:
    if not is_tensor(value):
        return 0
    return 1 if len(value.shape) == 0 else 2


def _prevailing(lower: tf.DType, higher: tf.DType) -> tf.DType:
    """The type where `higher` is of operands that decide before those of `lower`."""
    if _kind(lower) <= _kind(higher):
        return higher
    return _promoted(lower, higher)


def _promoted(first: tf.DType, second: tf.DType) -> tf.DType:
    low, high = sorted((first, second), key=_kind)
    if _kind(low) == _kind(high):
        return _wider(first, second)
    return tf.complex128 if high.is_complex and low == tf.float64 else high


def _wider(first: tf.DType, second: tf.DType) -> tf.DType:
    if first == second:
        return first
    if {first, second} == {tf.float16, tf.bfloat16}:
        return tf.float32
    for half in (tf.bfloat16, tf.float16):
        if half in (first, second):
            return second if first == half else first
    return tf.as_dtype(np.promote_types(first.as_numpy_dtype, second.as_numpy_dtype))
