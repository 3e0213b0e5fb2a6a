"""Sizes, in the ways in which PyTorch lets them be given, and those of a tensor.

A size is an int or an integer tensor of one number, such as `tf.shape(x)[0]`, which
stands for an axis whose size is known at run time only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from util.torch_to_tf.arguments import is_int, is_tensor, spread
from util.torch_to_tf.dtypes import cast

Size: TypeAlias = int | tf.Tensor


def one_by_one(values: Sequence[Any], keyword: Any, name: str) -> list[Any]:
    """The entries of `*values`, of one sequence in its place, or of the keyword.

    Raises:
        TypeError: None of these is given, or two are.
    """
    if (keyword is not None) == bool(values):
        raise TypeError(f"{name} must be given once.")
    return listed(keyword, name) if not values else spread(values)


def listed(values: Any, name: str) -> list[Any]:
    """The entries of a sequence.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(values, tuple | list | tf.TensorShape):
        raise TypeError(f"{name} must be a tuple of ints, got {values!r}.")
    return list(values)


def as_size(value: Any, name: str = "size", least: int = 0) -> Size:
    """A size as an int; as a tensor where only the run will tell.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is less than `least`.
    """
    if is_tensor(value) and not tuple(value.shape) and _is_whole(value.dtype):
        tensor = tf.convert_to_tensor(value)
        static = tf.get_static_value(tensor)
        if static is None:
            return cast(tensor, tf.int32)
        value = int(static)
    if not is_int(value):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be >= {least}, got {value}.")
    return int(value)


def _is_whole(dtype: Any) -> bool:
    return tf.as_dtype(dtype).is_integer


def as_sizes(values: Sequence[Any], name: str = "size", least: int = 0) -> list[Size]:
    """`as_size` of each entry."""
    return [as_size(value, f"{name}[{i}]", least) for i, value in enumerate(values)]


def sizes_of(tensor: tf.Tensor) -> list[Size]:
    """The sizes of a tensor; those that are unknown as tensors."""
    known = tensor.shape.as_list()
    if None not in known:
        return known
    found = tf.shape(tensor)
    return [found[i] if size is None else size for i, size in enumerate(known)]


def size_of(tensor: tf.Tensor, axis: int) -> Size:
    """The size of one axis."""
    size = tensor.shape[axis]
    return tf.shape(tensor)[axis] if size is None else size


def are_known(sizes: Sequence[Size | None]) -> bool:
    """Whether all sizes are ints."""
    return all(isinstance(size, int) for size in sizes)


def with_one_open(sizes: Sequence[int | None]) -> list[int] | None:
    """Sizes with -1 for one that is unknown; None where that does not settle them."""
    unknown = list(sizes).count(None)
    if unknown > 1 or (unknown and 0 in sizes):
        return None
    return [-1 if size is None else size for size in sizes]
