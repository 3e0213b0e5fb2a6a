"""Functions of `torch` that repeat, reverse or blank out parts of a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_axes, as_axis, as_tensor, is_int
from util.torch_to_tf.sizes import (
    Size,
    as_size,
    as_sizes,
    listed,
    one_by_one,
    size_of,
    sizes_of,
    with_one_open,
)


def torch_tensor_repeat(input: Any, *counts: Any, repeats: Any = None) -> tf.Tensor:
    """Copies of the whole tensor side by side (`torch.Tensor.repeat`).

    Args:
        input: Any tensor.
        *counts: How often along each axis, one by one or as one sequence; more of them
            than axes make new axes in front.
        repeats: The same by name.

    Raises:
        ValueError: A count is negative, or there are too few.

    Example: `torch_tensor_repeat(tf.constant([1, 2]), 2, 2)` gives
        `[[1, 2, 1, 2], [1, 2, 1, 2]]`.
    """
    tensor = as_tensor(input)
    times = as_sizes(one_by_one(counts, repeats, "repeats"), "repeats")
    new = len(times) - tensor.shape.rank
    if new < 0:
        raise ValueError(
            f"repeats must have {tensor.shape.rank} entries or more, got {times}."
        )
    if new:
        shape = with_one_open([1] * new + tensor.shape.as_list())
        tensor = tf.reshape(tensor, shape or [1] * new + sizes_of(tensor))
    return tf.tile(tensor, times)


def torch_repeat_interleave(
    input: Any = None,
    repeats: Any = None,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> tf.Tensor:
    """Repeats each entry where it stands (`torch.repeat_interleave`).

    With one tensor only, these are the counts, and the result is the index of each
    repeated entry.

    Args:
        input: Any tensor.
        repeats: A count for all entries, or an int32 or int64 tensor of one for each.
        dim: The axis; None flattens the tensor.
        output_size: The size of the result along the axis. Where the counts get their
            values at run time, XLA needs it; it is not checked then.

    Raises:
        ValueError: A count is negative, their number is not that of the entries, or
            their sum not `output_size`.

    Example: `torch_repeat_interleave(tf.constant([5, 6]), 2)` gives `[5, 5, 6, 6]`.
    """
    if input is None or repeats is None:
        counts = _counts(repeats if input is None else input)
        if counts.shape.rank != 1:
            raise ValueError(f"repeats must have one axis, got {counts.shape}.")
        return _indices(counts, output_size)
    tensor = as_tensor(input)
    if dim is not None and not tensor.shape.rank:
        raise IndexError(f"dim must be None for a tensor without axes, got {dim}.")
    axis = 0 if dim is None else as_axis(dim, tensor.shape.rank)
    if dim is None and tensor.shape.rank != 1:
        tensor = tf.reshape(tensor, [-1])
    if not is_int(repeats):
        counts = _counts(repeats)
        static = tf.get_static_value(counts)
        if static is None or static.size != 1:
            counts = _matched(counts, size_of(tensor, axis), axis)
            return tf.gather(tensor, _indices(counts, output_size), axis=axis)
        repeats = static.item()
    return _repeated(tensor, int(as_size(repeats, "repeats")), axis, output_size)


def _counts(repeats: Any) -> tf.Tensor:
    """Counts of a type and rank that PyTorch takes."""
    counts = as_tensor(repeats, "repeats")
    if counts.dtype not in (tf.int32, tf.int64):
        raise TypeError(f"repeats must be int32 or int64, got {counts.dtype.name}.")
    if counts.shape.rank > 1:
        raise ValueError(f"repeats must have at most one axis, got {counts.shape}.")
    return counts


def _matched(counts: tf.Tensor, size: Size, axis: int) -> tf.Tensor:
    """One count for each of `size` entries."""
    given = counts.shape[0] if counts.shape.rank else 1
    if given in (1, None):
        return tf.broadcast_to(counts, [size])
    if is_int(size) and given != size:
        raise ValueError(
            f"repeats must have one entry or {size}, as dimension {axis} of input, "
            f"got {given}."
        )
    return counts


def _indices(counts: tf.Tensor, total: int | None) -> tf.Tensor:
    """0 as often as the first count says, 1 as often as the second, and so on."""
    static = tf.get_static_value(counts)
    if static is None:
        # The first whose cumulated count exceeds the position.
        end = tf.reduce_sum(counts) if total is None else total
        return tf.searchsorted(
            tf.cumsum(counts), tf.range(end, dtype=counts.dtype), "right", counts.dtype
        )
    if (static < 0).any():
        raise ValueError(f"repeats must not be negative, got {static.tolist()}.")
    _check_total(int(static.sum()), total)
    return tf.constant(np.repeat(np.arange(len(static), dtype=static.dtype), static))


def _check_total(found: int, output_size: int | None) -> None:
    if output_size not in (None, found):
        raise ValueError(f"output_size must be {found}, got {output_size}.")


def _repeated(
    tensor: tf.Tensor, count: int, axis: int, output_size: int | None
) -> tf.Tensor:
    """Every entry along the axis `count` times."""
    sizes = tensor.shape.as_list()
    if sizes[axis] is not None:
        _check_total(sizes[axis] * count, output_size)
    if count == 1:
        return tensor
    times = [1] * (len(sizes) + 1)
    times[axis + 1] = count
    tiled = tf.tile(tf.expand_dims(tensor, axis + 1), times)
    sizes[axis] = output_size if sizes[axis] is None else sizes[axis] * count
    shape = with_one_open(sizes)
    if shape is None:
        found = sizes_of(tensor)
        shape = [*found[:axis], found[axis] * count, *found[axis + 1 :]]
    return tf.reshape(tiled, shape)


def torch_flip(input: Any, dims: Any) -> tf.Tensor:
    """The tensor in reverse order along some axes (`torch.flip`).

    Args:
        input: Any tensor.
        dims: A sequence of axes.

    Example: `torch_flip(tf.constant([[1, 2], [3, 4]]), (1,))` gives `[[2, 1], [4, 3]]`.
    """
    tensor = as_tensor(input)
    given = listed(dims, "dims")
    axes = as_axes(given, tensor.shape.rank, "dims") if given else []
    return tf.reverse(tensor, axes) if axes else tensor


def torch_triu(input: Any, diagonal: int = 0) -> tf.Tensor:
    """Matrices with zeros below a diagonal (`torch.triu`).

    Args:
        input: Matrices in the last two axes.
        diagonal: Which one: 0 is the main one, positive ones lie above it.

    Example: `torch_triu(tf.constant([[1, 2], [3, 4]]))` gives `[[1, 2], [0, 4]]`.
    """
    tensor = as_tensor(input)
    if tensor.shape.rank < 2:
        raise ValueError(f"input must have two axes or more, got {tensor.shape}.")
    if not is_int(diagonal):
        raise TypeError(f"diagonal must be an int, got {diagonal!r}.")
    known = tensor.shape[-2]
    if diagonal == 0 or (diagonal < 0 and known is not None):
        return tf.linalg.band_part(tensor, min(-diagonal, known) if diagonal else 0, -1)
    rows, columns = size_of(tensor, -2), size_of(tensor, -1)
    line: Any = np.arange if is_int(rows) and is_int(columns) else tf.range
    kept = line(columns) - line(rows)[:, None] >= diagonal
    return tf.where(kept, tensor, tf.zeros([], tensor.dtype))
