"""Functions of `torch` that give a tensor another shape or order of axes.

PyTorch's views share their memory with the tensor; tensors here never change, so there
is nothing to share, and every tensor counts as contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_axes, as_axis, as_tensor, is_int
from util.torch_to_tf.dtypes import as_dtype
from util.torch_to_tf.sizes import (
    Size,
    are_known,
    as_sizes,
    listed,
    one_by_one,
    size_of,
    sizes_of,
    with_one_open,
)


def torch_tensor_permute(input: Any, *axes: Any, dims: Any = None) -> tf.Tensor:
    """The tensor with its axes in another order (`torch.Tensor.permute`).

    Args:
        input: Any tensor.
        *axes: All of its axes, one by one or as one sequence.
        dims: The same by name.

    Raises:
        ValueError: An axis is missing or stands there twice.

    Example: `torch_tensor_permute(tf.constant([[1, 2]]), 1, 0)` gives `[[1], [2]]`.
    """
    tensor = as_tensor(input)
    order = one_by_one(axes, dims, "dims")
    if len(order) != tensor.shape.rank:
        raise ValueError(
            f"dims must name each of {tensor.shape.rank} axes once, got {order}."
        )
    return tf.transpose(tensor, as_axes(order, tensor.shape.rank, "dims"))


def torch_tensor_transpose(input: Any, dim0: int, dim1: int) -> tf.Tensor:
    """The tensor with two axes exchanged (`torch.Tensor.transpose`).

    Example: `torch_tensor_transpose(tf.constant([[1, 2]]), 0, 1)` gives `[[1], [2]]`.
    """
    tensor = as_tensor(input)
    rank = tensor.shape.rank
    first, second = as_axis(dim0, rank, "dim0"), as_axis(dim1, rank, "dim1")
    if first == second:
        return tensor
    order = list(range(rank))
    order[first], order[second] = second, first
    return tf.transpose(tensor, order)


def torch_reshape(input: Any, shape: Any) -> tf.Tensor:
    """The entries in another shape, in the same order (`torch.reshape`).

    Args:
        input: Any tensor.
        shape: A sequence of sizes, one of which may be -1: what is left for it.

    Raises:
        ValueError: The entries do not fill the shape, or -1 stands there twice or is
            ambiguous. If a size is unknown until it runs, it fails then.

    Example: `torch_reshape(tf.range(6), (2, -1))` gives `[[0, 1, 2], [3, 4, 5]]`.
    """
    return _reshaped(as_tensor(input), as_sizes(listed(shape, "shape"), "shape", -1))


def torch_tensor_view(
    input: Any, *sizes: Any, size: Any = None, dtype: Any = None
) -> tf.Tensor:
    """The entries in another shape, or the bytes as another type (`torch.Tensor.view`).

    With sizes it is `torch_reshape`. With a type, the bytes are read as numbers of that
    type, and the last axis grows or shrinks with their length; there is no gradient.

    Args:
        input: Any tensor; as all are contiguous, none is refused for its layout.
        *sizes: One by one, or as one sequence, or a type.
        size: The sizes by name.
        dtype: The type by name.

    Raises:
        ValueError: The entries do not fill the shape, or the last axis not numbers of
            the type.

    Example: `torch_tensor_view(tf.range(4), 2, -1)` gives `[[0, 1], [2, 3]]`.
    """
    tensor = as_tensor(input)
    if len(sizes) == 1 and isinstance(sizes[0], tf.DType | np.dtype | str | type):
        dtype, sizes = sizes[0], ()
    if dtype is None:
        given = as_sizes(one_by_one(sizes, size, "size"), "size", -1)
        return _reshaped(tensor, given)
    if sizes or size is not None:
        raise TypeError("size and dtype must not both be given.")
    return _reinterpreted(tensor, as_dtype(dtype))


def _reshaped(tensor: tf.Tensor, sizes: list[Size]) -> tf.Tensor:
    known = [size for size in sizes if isinstance(size, int) and size >= 0]
    free = sum(map(_is_open, sizes))
    if free > 1:
        raise ValueError(f"shape must have -1 at most once, got {sizes}.")
    if free and 0 in known:
        raise ValueError(f"shape must not have both 0 and -1, got {sizes}.")
    if tensor.shape.is_fully_defined() and are_known(sizes):
        count, filled = math.prod(tensor.shape), math.prod(known)
        if count % filled if free else count != filled:
            raise ValueError(
                f"shape must hold {count} entries, those of {tuple(tensor.shape)}, "
                f"got {sizes}."
            )
    return tf.reshape(tensor, sizes)


def _is_open(size: Size) -> bool:
    """Whether a size is -1, which leaves it open."""
    return isinstance(size, int) and size == -1


def _reinterpreted(tensor: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """The bytes of a tensor as numbers of another type."""
    old, new = tensor.dtype.size, dtype.size
    if tensor.dtype == dtype:
        return tensor
    if old != new and not tensor.shape.rank:
        raise ValueError(
            f"input must have an axis to be read as {dtype.name}, whose numbers have "
            f"{new} bytes instead of {old}."
        )
    if tensor.dtype.is_floating and dtype.is_floating:
        tensor = tf.stop_gradient(tensor)
    # The operation knows no booleans.
    source = tf.cast(tensor, tf.uint8) if tensor.dtype.is_bool else tensor
    if new > old:
        source = _grouped(source, new // old, dtype)
    plain = tf.uint8 if dtype.is_bool else dtype
    found = source if source.dtype == plain else tf.bitcast(source, plain)
    if new < old:
        *rest, last, _ = sizes_of(found)
        found = tf.reshape(found, [*rest, last * (old // new)])
    return tf.cast(found, tf.bool) if dtype.is_bool else found


def _grouped(tensor: tf.Tensor, count: int, dtype: tf.DType) -> tf.Tensor:
    """The last axis cut into groups, each of which is one number of `dtype`."""
    *rest, last = sizes_of(tensor)
    if isinstance(last, int) and last % count:
        raise ValueError(
            f"input must have a last size that {count} divides to be read as "
            f"{dtype.name}, got {last}."
        )
    return tf.reshape(tensor, [*rest, last // count, count])


def torch_flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> tf.Tensor:
    """Makes one axis of several in a row; a scalar gets one (`torch.flatten`).

    Raises:
        ValueError: `end_dim` comes before `start_dim`.

    Example: `torch_flatten(tf.constant([[1, 2], [3, 4]]))` gives `[1, 2, 3, 4]`.
    """
    tensor = as_tensor(input)
    rank = tensor.shape.rank
    start = as_axis(start_dim, rank, "start_dim")
    end = as_axis(end_dim, rank, "end_dim")
    if start > end:
        raise ValueError(f"start_dim must be <= end_dim, got {start_dim}, {end_dim}.")
    if rank == 0:
        return tf.reshape(tensor, [1])
    if start == end:
        return tensor
    known = tensor.shape.as_list()
    merged = known[start : end + 1]
    if 0 in merged or None not in merged:
        middle: int | None = math.prod(size for size in merged if size is not None)
    else:
        middle = None
    sizes = with_one_open([*known[:start], middle, *known[end + 1 :]])
    if sizes is not None:
        return tf.reshape(tensor, sizes)
    found = tf.shape(tensor)
    axes = found[start : end + 1]
    inner = tf.reduce_prod(axes, keepdims=True) if middle is None else [middle]
    return tf.reshape(tensor, tf.concat([found[:start], inner, found[end + 1 :]], 0))


def torch_unsqueeze(input: Any, dim: int) -> tf.Tensor:
    """The tensor with an axis of size 1 more (`torch.unsqueeze`).

    Example: `torch_unsqueeze(tf.constant([1, 2]), -1)` gives `[[1], [2]]`.
    """
    tensor = as_tensor(input)
    return tf.expand_dims(tensor, as_axis(dim, tensor.shape.rank + 1))


def torch_squeeze(input: Any, dim: Any = None) -> tf.Tensor:
    """The tensor without its axes of size 1 (`torch.squeeze`).

    Args:
        input: Any tensor.
        dim: Only these axes, an int or a sequence; those of another size stay. An axis
            whose size is unknown in a graph must be 1 when it runs. Without `dim`, the
            result then has no known rank.

    Example: `torch_squeeze(tf.constant([[[1], [2]]]), 0)` gives `[[1], [2]]`.
    """
    tensor = as_tensor(input)
    known = tensor.shape.as_list()
    if dim is None and None in known:
        return tf.squeeze(tensor)
    given = dim if dim is None or is_int(dim) else listed(dim, "dim")
    axes = [] if given == [] else as_axes(given, len(known))
    ones = [axis for axis in axes if known[axis] in (1, None)]
    return tf.squeeze(tensor, ones) if ones else tensor


def torch_tensor_expand(input: Any, *sizes: Any, size: Any = None) -> tf.Tensor:
    """Repeats the tensor along axes of size 1 and new ones (`torch.Tensor.expand`).

    Args:
        input: Any tensor.
        *sizes: All sizes of the result, one by one or as one sequence; -1 leaves that
            of the tensor. More sizes than axes make new axes in front.
        size: The same by name.

    Raises:
        ValueError: A size is not 1 and should change, or there are too few.

    Example: `torch_tensor_expand(tf.constant([[1], [2]]), -1, 2)` gives
        `[[1, 1], [2, 2]]`.
    """
    tensor = as_tensor(input)
    given = as_sizes(one_by_one(sizes, size, "size"), "size", -1)
    return _expanded(tensor, given)


def torch_tensor_expand_as(input: Any, other: Any) -> tf.Tensor:
    """Expands a tensor to the size of another (`torch.Tensor.expand_as`).

    Example: `torch_tensor_expand_as(tf.constant([1]), tf.zeros([2, 2]))` gives
        `[[1, 1], [1, 1]]`.
    """
    tensor, other = as_tensor(input), as_tensor(other, "other")
    sizes = other.shape.as_list()
    if None not in sizes:
        return _expanded(tensor, sizes)
    _check_expansion(tensor.shape.as_list(), sizes)
    return tf.broadcast_to(tensor, tf.shape(other))


def _expanded(tensor: tf.Tensor, sizes: list[Size]) -> tf.Tensor:
    own = tensor.shape.as_list()
    new = _check_expansion(own, sizes)
    target = [
        size_of(tensor, axis - new) if _is_open(size) else size
        for axis, size in enumerate(sizes)
    ]
    if are_known(target) and target == own:
        return tensor
    return tf.broadcast_to(tensor, target)


def _check_expansion(own: list[int | None], sizes: Sequence[Size | None]) -> int:
    """Whether an expansion is allowed, as far as sizes are known; the new axes."""
    new = len(sizes) - len(own)
    if new < 0:
        raise ValueError(f"size must have {len(own)} entries or more, got {sizes}.")
    if any(map(_is_open, sizes[:new])):
        raise ValueError(f"size must not have -1 for a new axis, got {sizes}.")
    for before, after in zip(own, sizes[new:], strict=True):
        fixed = isinstance(after, int) and not _is_open(after)
        if fixed and before not in (None, 1, after):
            raise ValueError(
                f"size must leave what is not 1 of {own} as it is, got {sizes}."
            )
    return new
