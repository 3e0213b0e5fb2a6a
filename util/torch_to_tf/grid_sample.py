"""Sampling of images and volumes at points between their pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.dtypes import expect_type
from util.torch_to_tf.sizes import Size, are_known, size_of

_PADDING = ("zeros", "border", "reflection")
_BICUBIC = -0.75  # PyTorch's parameter of the convolution (Keys, 1981).


class _Tap(NamedTuple):
    """Indices along an axis, and the weights of what is there; None for 1."""

    index: tf.Tensor
    weight: tf.Tensor | None


def torch_nn_functional_grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> tf.Tensor:
    """Values at points of images or volumes (`torch.nn.functional.grid_sample`).

    -1 and 1 are the ends of an axis, and points are (x, y) or (x, y, z): the last axis
    of the input first. There are gradients to both arguments, at the ends those of
    PyTorch; "nearest" has none to the grid.

    Args:
        input: (N, C, H, W), or (N, C, D, H, W).
        grid: (N, H_out, W_out, 2), or (N, D_out, H_out, W_out, 3).
        mode: "bilinear", "nearest" or, of images only, "bicubic".
        padding_mode: What is outside: "zeros", the "border", or its "reflection".
        align_corners: Whether the ends are the centres of the outer pixels instead of
            their edges.

    Returns:
        (N, C, H_out, W_out), or (N, C, D_out, H_out, W_out).

    Raises:
        TypeError: The types are not floating or not the same.
        ValueError: There is no such mode, or the shapes do not fit.

    Example: `torch_nn_functional_grid_sample(tf.constant([[[[1.0, 3.0]]]]),
        tf.zeros([1, 1, 1, 2]))` gives `[[[[2.0]]]]`.
    """
    image, points = as_tensor(input), as_tensor(grid, "grid")
    _check_modes(mode, padding_mode, align_corners, len(image.shape))
    _check_shapes(image, points)
    channels, *sizes = [size_of(image, axis) for axis in range(1, len(image.shape))]
    taps = [
        _taps(place, size, mode, padding_mode, bool(align_corners))
        for place, size in zip(_places(points), reversed(sizes), strict=True)
    ]
    last = len(sizes) + 1
    pixels = tf.transpose(image, [0, *range(2, last + 1), 1])
    flat = _with_batch(pixels, [_product(sizes), channels])
    total = sum(_weighted(flat, chosen, sizes) for chosen in itertools.product(*taps))
    sampled = _with_batch(total, [*_inner(points), channels])
    return tf.transpose(sampled, [0, last, *range(1, last)])


def _inner(points: tf.Tensor) -> list[Size]:
    """The sizes of the output: all but the first and the last of the points."""
    return [size_of(points, axis) for axis in range(1, len(points.shape) - 1)]


def _with_batch(tensor: tf.Tensor, sizes: Sequence[Size]) -> tf.Tensor:
    """Another shape, the first axis staying as it is."""
    batch = tensor.shape[0]
    if batch is None:
        # One size may be left to TensorFlow, unless there is nothing at all.
        is_settled = are_known(sizes) and 0 not in sizes
        batch = -1 if is_settled else tf.shape(tensor)[0]
    return tf.reshape(tensor, [batch, *sizes])


def _places(points: tf.Tensor) -> list[tf.Tensor]:
    """x, y and z of all points, each (N, points)."""
    count = _product(_inner(points))
    return [_with_batch(place, [count]) for place in tf.unstack(points, axis=-1)]


def _weighted(flat: tf.Tensor, taps: Sequence[_Tap], sizes: list[Size]) -> tf.Tensor:
    """One of the pixels around each point, times its weight: (N, points, C)."""
    index, weights = taps[-1].index, [t.weight for t in taps if t.weight is not None]
    for tap, size in zip(reversed(taps[:-1]), sizes[1:], strict=True):
        index = index * size + tap.index
    found = tf.gather(flat, index, axis=1, batch_dims=1)
    return found * tf.expand_dims(_product(weights), -1) if weights else found


def _taps(
    place: tf.Tensor, size: Size, mode: str, padding: str, align: bool
) -> list[_Tap]:
    """What a point takes from one axis."""
    count = float(size) if isinstance(size, int) else tf.cast(size, place.dtype)
    place = (place + 1.0) * ((count - 1.0 if align else count) / 2.0)
    if not align:
        place = place - 0.5
    if mode == "bicubic":
        base = tf.floor(place)
        nodes = [base + float(step) for step in (-1, 0, 1, 2)]
        return [
            _tap(node, weight, count, padding, align)
            for node, weight in zip(nodes, _cubic(place - base), strict=True)
        ]
    if padding != "zeros":
        place = _inside(place, count, padding, align)
        padding = "none"
    if mode == "nearest":
        return [_tap(tf.round(place), None, count, padding, align)]
    base = tf.floor(place)
    part = place - base
    following = (
        base + 1.0 if padding == "zeros" else tf.minimum(base + 1.0, count - 1.0)
    )
    return [
        _tap(base, 1.0 - part, count, padding, align),
        _tap(following, part, count, padding, align),
    ]


def _cubic(part: tf.Tensor) -> list[tf.Tensor]:
    """Weights of the four pixels around, the second of which is `part` before."""

    def near(x: tf.Tensor) -> tf.Tensor:
        return ((_BICUBIC + 2.0) * x - (_BICUBIC + 3.0)) * x * x + 1.0

    def far(x: tf.Tensor) -> tf.Tensor:
        return ((_BICUBIC * x - 5.0 * _BICUBIC) * x + 8.0 * _BICUBIC) * x - (
            4.0 * _BICUBIC
        )

    return [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)]


def _tap(
    node: tf.Tensor,
    weight: tf.Tensor | None,
    count: Any,
    padding: str,
    align: bool,
) -> _Tap:
    """The pixel at a node of the axis, which may be outside."""
    if padding == "zeros":
        there = (node >= 0.0) & (node < count)
        node = tf.where(there, node, tf.zeros_like(node))
        mask = tf.cast(there, node.dtype)
        weight = mask if weight is None else weight * mask
    elif padding != "none":
        node = _inside(node, count, padding, align)
    return _Tap(tf.cast(node, tf.int32), weight)


def _inside(place: tf.Tensor, count: Any, padding: str, align: bool) -> tf.Tensor:
    """Places on the axis; NaN at its start. No gradient at the ends and beyond."""
    if padding == "reflection":
        place = _reflected(place, count, align)
    zero, end = tf.zeros_like(place), count - 1.0
    return tf.where(place > 0.0, tf.where(place < end, place, end), zero)


def _reflected(place: tf.Tensor, count: Any, align: bool) -> tf.Tensor:
    """Reflected at both ends until inside."""
    low, period = (0.0, 2.0 * (count - 1.0)) if align else (-0.5, 2.0 * count)
    offset = place - low
    offset = tf.where(offset < 0.0, -offset, offset)
    # A single pixel gives NaN here, and then its place.
    offset = offset - tf.floor(offset / period) * period
    return tf.minimum(offset, period - offset) + low


def _product(factors: Sequence[Any]) -> Any:
    total, *rest = factors
    for factor in rest:
        total = total * factor
    return total


def _check_modes(mode: str, padding: str, align: Any, rank: int) -> None:
    modes = ("bilinear", "nearest", "bicubic")
    for name, given, known in (
        ("mode", mode, modes),
        ("padding_mode", padding, _PADDING),
    ):
        if given not in known:
            raise ValueError(f"{name} must be one of {known}, got {given!r}.")
    if not isinstance(align, bool | None):
        raise TypeError(f"align_corners must be a bool, got {align!r}.")
    if mode == "bicubic" and rank != 4:
        raise ValueError(f"mode must not be 'bicubic' for an input of {rank} axes.")


def _check_shapes(image: tf.Tensor, points: tf.Tensor) -> None:
    expect_type(image.dtype.is_floating, image, "a floating type")
    expect_type(
        points.dtype == image.dtype,
        points,
        f"the type {image.dtype.name} of input",
        "grid",
    )
    shape, found = tuple(image.shape), tuple(points.shape)
    if len(shape) not in (4, 5):
        raise ValueError(f"input must have 4 or 5 axes, got shape {shape}.")
    expected = (shape[0], *[None] * (len(shape) - 2), len(shape) - 2)
    if not tf.TensorShape(expected).is_compatible_with(found) or found[-1] is None:
        raise ValueError(
            f"grid must have shape {expected} for input of shape {shape}, got {found}."
        )
    if 0 in shape[2:]:
        raise ValueError(f"input must have pixels, got shape {shape}.")
