"""Functions of `torch` that make one tensor of several, or several of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_axis, as_tensor, is_int
from util.torch_to_tf.dtypes import cast_together
from util.torch_to_tf.sizes import Size, are_known, as_size, as_sizes, listed, size_of


def torch_stack(tensors: Any, dim: int = 0) -> tf.Tensor:
    """Tensors of equal size along a new axis (`torch.stack`).

    Types are promoted.

    Raises:
        ValueError: There are none, or they differ in size.

    Example: `torch_stack([tf.constant([1, 2]), tf.constant([3, 4])], 1)` gives
        `[[1, 3], [2, 4]]`.
    """
    parts = _tensors(tensors)
    axis = as_axis(dim, parts[0].shape.rank + 1)
    shape = parts[0].shape
    for index, part in enumerate(parts):
        if part.shape.rank != shape.rank or not part.shape.is_compatible_with(shape):
            raise ValueError(
                f"tensors must have equal sizes, got {tuple(shape)} at 0 and "
                f"{tuple(part.shape)} at {index}."
            )
    return tf.stack(_promoted(parts), axis)


def torch_cat(tensors: Any, dim: int = 0) -> tf.Tensor:
    """Tensors one after the other along an axis (`torch.cat`).

    Types are promoted. As in PyTorch, tensors of shape (0,) go with any other.

    Raises:
        ValueError: There are none, or they differ in another axis.

    Example: `torch_cat([tf.constant([1, 2]), tf.constant([3])])` gives `[1, 2, 3]`.
    """
    parts = _promoted(_tensors(tensors))
    shapes = [part.shape.as_list() for part in parts]
    kept = [part for part, shape in zip(parts, shapes, strict=True) if shape != [0]]
    if not kept:
        return parts[0]
    if [] in shapes:
        raise ValueError("tensors must have an axis, got one without.")
    axis = as_axis(dim, kept[0].shape.rank)
    _check_joint([shape for shape in shapes if shape != [0]], axis)
    return kept[0] if len(kept) == 1 else tf.concat(kept, axis)


def _check_joint(shapes: list[list[int | None]], axis: int) -> None:
    """All sizes but one are equal, as far as they are known."""
    first = shapes[0]
    for index, shape in enumerate(shapes):
        pairs = [*zip(shape, first, strict=False)]
        del pairs[axis : axis + 1]
        if len(shape) != len(first) or any(
            None not in pair and pair[0] != pair[1] for pair in pairs
        ):
            raise ValueError(
                f"tensors must be alike except in dimension {axis}, got "
                f"{tuple(first)} and, at {index}, {tuple(shape)}."
            )


def torch_hstack(tensors: Any) -> tf.Tensor:
    """Tensors side by side: along the second axis, or the only one (`torch.hstack`).

    Example: `torch_hstack([tf.constant([[1], [2]]), tf.constant([[3], [4]])])` gives
        `[[1, 3], [2, 4]]`.
    """
    parts = [
        part if part.shape.rank else tf.reshape(part, [1]) for part in _tensors(tensors)
    ]
    return torch_cat(parts, 0 if parts[0].shape.rank == 1 else 1)


def torch_split(
    tensor: Any, split_size_or_sections: Any, dim: int = 0
) -> tuple[tf.Tensor, ...]:
    """A tensor in pieces along an axis (`torch.split`).

    Args:
        tensor: With at least one axis.
        split_size_or_sections: The size of all pieces but the last, which may be
            smaller; the axis must then have a known size in a graph. Or a sequence of
            all sizes.
        dim: The axis.

    Raises:
        ValueError: The sizes do not sum to that of the axis, or one is negative.

    Example: `torch_split(tf.constant([1, 2, 3]), 2)` gives `([1, 2], [3])`.
    """
    whole = as_tensor(tensor, "tensor")
    if not whole.shape.rank:
        raise ValueError("tensor must have an axis, got one without.")
    axis = as_axis(dim, whole.shape.rank)
    given, total = split_size_or_sections, whole.shape[axis]
    name = "split_size_or_sections"
    if isinstance(given, tuple | list):
        sizes = as_sizes(given, name)
        if total is not None and are_known(sizes) and sum(sizes) != total:
            raise ValueError(f"{name} must sum to {total}, got {given}.")
    else:
        sizes = _pieces(as_size(given, name), total)
    if len(sizes) < 2:
        return (whole,) if sizes else ()
    if are_known(sizes) and len(set(sizes)) == 1:
        return tuple(tf.split(whole, len(sizes), axis))
    return tuple(tf.split(whole, sizes, axis))


def _pieces(size: Size, total: int | None) -> list[Size]:
    """The sizes of pieces that are equal except for the last."""
    if total is None or not isinstance(size, int):
        raise ValueError(
            "split_size_or_sections must be a sequence where the size of the axis or "
            f"of the pieces is unknown, got {size}."
        )
    if size == 0 and total:
        raise ValueError(f"split_size_or_sections must be > 0 for size {total}, got 0.")
    if not total:
        return [0]
    full, rest = divmod(total, size)
    return [size] * full + ([rest] if rest else [])


def torch_meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[tf.Tensor, ...]:
    """The coordinates of all points of a grid (`torch.meshgrid`).

    Args:
        *tensors: Coordinates along each axis, one-dimensional (or one number) and of
            one type; one by one or as one sequence.
        indexing: "ij": tensor i changes along axis i. "xy": the first two are swapped.

    Returns:
        One tensor for each of those given, all of the size of the grid.

    Example: `torch_meshgrid(tf.constant([1, 2]), tf.constant([3]))` gives
        `([[1], [2]], [[3], [3]])`.
    """
    alone = len(tensors) == 1 and isinstance(tensors[0], tuple | list)
    lines = _tensors(tensors[0] if alone else tensors)
    if indexing not in ("ij", "xy"):
        raise ValueError(f"indexing must be 'ij' or 'xy', got {indexing!r}.")
    for line in lines:
        if line.shape.rank > 1 or line.dtype != lines[0].dtype:
            raise ValueError(
                "tensors must have at most one axis and the same type, got "
                f"{[(tuple(t.shape), t.dtype.name) for t in lines]}."
            )
    count = len(lines)
    order = list(range(count))
    if indexing == "xy" and count > 1:
        order[:2] = [1, 0]
    sizes = [size_of(line, 0) if line.shape.rank else 1 for line in lines]
    grid = [sizes[i] for i in order]
    return tuple(_along(line, order[i], sizes[i], grid) for i, line in enumerate(lines))


def _along(line: tf.Tensor, axis: int, size: Size, grid: list[Size]) -> tf.Tensor:
    """A line along one axis of a grid, repeated along the others."""
    if len(grid) == 1 and line.shape.rank:
        return line
    shape = [1] * len(grid)
    shape[axis] = size if is_int(size) else -1
    line = tf.reshape(line, shape)
    return line if are_known(grid) and grid == shape else tf.broadcast_to(line, grid)


def _promoted(parts: list[tf.Tensor]) -> list[tf.Tensor]:
    """Tensors of one type."""
    return cast_together(*parts) if len({part.dtype for part in parts}) > 1 else parts


def _tensors(values: Any, name: str = "tensors") -> list[tf.Tensor]:
    """The tensors of a sequence of at least one."""
    if not isinstance(values, Sequence) or not values:
        listed(values, name)
        raise ValueError(f"{name} must not be empty.")
    return [as_tensor(value, f"{name}[{i}]") for i, value in enumerate(values)]
