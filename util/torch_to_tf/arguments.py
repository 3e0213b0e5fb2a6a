"""What PyTorch accepts as an argument, and how to say that something is not.

PyTorch raises RuntimeError for most of it; here an argument of a wrong type is a
TypeError, an axis that does not exist an IndexError, all else a ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import keras
import numpy as np
import tensorflow as tf

_TENSORS = (
    tf.Tensor,
    tf.Variable,
    keras.Variable,
    keras.KerasTensor,
    np.ndarray,
    np.generic,
)


def is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor, variable or array; Python numbers are none."""
    return isinstance(value, _TENSORS)


def as_tensor(value: Any, name: str = "input") -> tf.Tensor:
    """The tensor of a tensor, variable or array.

    Raises:
        TypeError: Anything else, Python numbers and lists too, as in PyTorch.
    """
    if not is_tensor(value):
        raise TypeError(f"{name} must be a tensor, got {value!r}.")
    return tf.convert_to_tensor(value)


def is_int(value: Any) -> TypeGuard[int]:
    """Whether `value` is a whole Python or NumPy number; booleans are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def as_axis(dim: Any, rank: int, name: str = "dim") -> int:
    """The axis that `dim` names, counted from 0; a scalar has axes 0 and -1.

    Raises:
        TypeError: Not a whole number.
        IndexError: There is no such axis.
    """
    if not is_int(dim):
        raise TypeError(f"{name} must be an int, got {dim!r}.")
    limit = max(rank, 1)
    if not -limit <= dim < limit:
        raise IndexError(
            f"{name} must be in [{-limit}, {limit - 1}] for {rank} axes, got {dim}."
        )
    return int(dim) % limit


def as_axes(dim: Any, rank: int, name: str = "dim") -> list[int]:
    """The axes that an int or a sequence of ints names, counted from 0.

    None and an empty sequence stand for all axes, as PyTorch's reductions have it.

    Raises:
        TypeError: An entry is not a whole number.
        IndexError: There is no such axis.
        ValueError: An axis stands there twice.
    """
    entries = [dim] if not isinstance(dim, tuple | list) else dim
    if dim is None or len(entries) == 0:
        return list(range(rank))
    found = [as_axis(entry, rank, name) for entry in entries]
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must name each axis once, got {dim!r}.")
    # A scalar has no axis, though PyTorch lets 0 and -1 name one.
    return found if rank else []


def spread(values: Sequence[Any]) -> list[Any]:
    """`*sizes`, given one by one or as one sequence, as a list."""
    if len(values) == 1 and isinstance(values[0], tuple | list | tf.TensorShape):
        return list(values[0])
    return list(values)


def check_broadcast(**operands: tf.Tensor) -> None:
    """Refuses operands whose sizes, as far as they are known, do not broadcast.

    Raises:
        ValueError: Names the operands and their shapes.
    """
    shape = tf.TensorShape([])
    try:
        for operand in operands.values():
            shape = tf.broadcast_static_shape(shape, operand.shape)
    except ValueError:
        shapes = [tuple(operand.shape) for operand in operands.values()]
        raise ValueError(
            f"{' and '.join(operands)} must broadcast, got shapes {shapes}."
        ) from None
