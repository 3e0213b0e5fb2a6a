"""Functions of `torch.nn.functional` without a module of their own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor, check_broadcast, is_int
from util.torch_to_tf.dtypes import cast_together, expect_type
from util.torch_to_tf.scalars import as_number, as_scalar

_REDUCTIONS = ("none", "mean", "sum")
_MODES = ("constant", "reflect", "replicate", "circular")

# Sizes before and after an axis that is padded.
Sides = tuple[int, int]


def torch_mse_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> tf.Tensor:
    """Squared differences, or their mean or sum (`torch.nn.functional.mse_loss`).

    Warns if the shapes differ, which is seldom meant.

    Args:
        input: A tensor.
        target: A tensor that broadcasts to it.
        size_average: Old: with `reduce`, whether "sum" is meant instead of "mean".
        reduce: Old: whether "none" is meant.
        reduction: "none", "mean" or "sum".
        weight: Factors of the entries; the mean is then divided by their sum.

    Raises:
        TypeError: The common type is not floating.
        ValueError: The shapes do not fit, or there is no such reduction.

    Example: `torch_mse_loss(tf.constant([1.0, 2.0]), tf.constant([1.0, 4.0]))` gives
        `2.0`.
    """
    if size_average is not None or reduce is not None:
        reduction = _old_reduction(size_average, reduce)
    if reduction not in _REDUCTIONS:
        raise ValueError(f"reduction must be one of {_REDUCTIONS}, got {reduction!r}.")
    weights = [] if weight is None else [as_tensor(weight, "weight")]
    given = cast_together(as_tensor(input), as_tensor(target, "target"), *weights)
    value, goal, weights = given[0], given[1], given[2:]
    expect_type(value.dtype.is_floating, value, "with target a floating type")
    _check_shapes(value, goal, weights)
    errors = tf.math.squared_difference(value, goal)
    if weights:
        errors = errors * weights[0]
    if reduction == "none":
        return errors
    if reduction == "sum" or not weights:
        return (tf.reduce_sum if reduction == "sum" else tf.reduce_mean)(errors)
    return tf.reduce_sum(errors) / tf.reduce_sum(weights[0])


def _old_reduction(size_average: bool | None, reduce: bool | None) -> str:
    warnings.warn("size_average and reduce are old, use reduction.", stacklevel=3)
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def _check_shapes(
    value: tf.Tensor, target: tf.Tensor, weights: Sequence[tf.Tensor]
) -> None:
    check_broadcast(input=value, target=target)
    if not value.shape.is_compatible_with(target.shape):
        warnings.warn(
            f"target has shape {tuple(target.shape)}, input {tuple(value.shape)}: they "
            "are broadcast.",
            stacklevel=3,
        )
    for weight in weights:
        if not value.shape.is_compatible_with(weight.shape):
            raise ValueError(
                f"weight must have the shape {tuple(value.shape)} of input, "
                f"got {tuple(weight.shape)}."
            )


def nn_functional_pad(
    input: Any, pad: Sequence[int], mode: str = "constant", value: Any = None
) -> tf.Tensor:
    """Adds entries before and after the last axes (`torch.nn.functional.pad`).

    A negative size takes entries away. "constant" pads any axes; the other modes pad
    all but the first or the first two of 2 to 5 axes, up to three:

    * "reflect" mirrors at the first and last entry, less than an axis' size;
    * "replicate" repeats these;
    * "circular" goes on at the other end, at most once around.

    Args:
        input: A tensor.
        pad: Sizes before and after the last axis, then the one before it, and so on.
        mode: One of the four.
        value: What a constant is, 0 by default.

    Raises:
        TypeError: The sizes are no ints; or bool is reflected or replicated.
        ValueError: Sizes, mode, value and shape do not fit.

    Example: `nn_functional_pad(tf.constant([[1, 2, 3]]), (1, 2), "reflect")` gives
        `[[2, 1, 2, 3, 2, 1]]`.
    """
    tensor, sides = as_tensor(input), _sides(pad)
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {_MODES}, got {mode!r}.")
    rank = len(tensor.shape)
    if len(sides) > rank:
        raise ValueError(f"pad must be for {rank} axes or fewer, got {pad}.")
    axes = dict(enumerate(sides, start=rank - len(sides)))
    if mode == "constant":
        return _pad_constant(tensor, axes, 0 if value is None else value)
    if rank > 5 or rank - len(sides) not in (1, 2) or not sides:
        raise ValueError(
            f"pad must be for all but 1 or 2 of 2 to 5 axes with mode={mode!r}, got "
            f"{pad} for shape {tuple(tensor.shape)}."
        )
    if value is not None and as_scalar(value, "value") != 0:
        raise ValueError(f"value must be None with mode={mode!r}, got {value}.")
    if mode == "circular":
        return _pad_circular(tensor, axes)
    _check_mirrored(tensor, axes, mode)
    return _pad_mirrored(tensor, axes, mode)


def _sides(pad: Any) -> list[Sides]:
    """Sizes before and after each of the last axes, in their order."""
    if not isinstance(pad, Sequence) or not all(map(is_int, pad)):
        raise TypeError(f"pad must be a tuple of ints, got {pad!r}.")
    if len(pad) % 2:
        raise ValueError(f"pad must have two sizes for each axis, got {tuple(pad)}.")
    sizes = [int(size) for size in pad]
    return list(zip(sizes[::2], sizes[1::2], strict=True))[::-1]


def _pad_constant(tensor: tf.Tensor, axes: dict[int, Sides], value: Any) -> tf.Tensor:
    number = as_scalar(value, "value")
    if tensor.dtype.is_unsigned and not tf.is_tensor(number) and number < 0:
        raise ValueError(f"value must fit {tensor.dtype.name}, got {number}.")
    fill = as_number(number, tensor.dtype, "value")
    tensor = _cropped(tensor, axes)
    paddings = _positive(axes, len(tensor.shape))
    if not any(map(any, paddings)):
        return tensor
    return tf.pad(tensor, paddings, constant_values=fill)


def _pad_circular(tensor: tf.Tensor, axes: dict[int, Sides]) -> tf.Tensor:
    shape = tuple(tensor.shape)
    tensor = _cropped(tensor, axes)
    for axis, (before, after) in axes.items():
        size, rest = shape[axis], tensor.shape[axis]
        # Beyond `rest` PyTorch reads what it has not written.
        if size is not None and (before > rest or after > size or after > 0 == rest):
            raise ValueError(
                f"pad must go around at most once, got {before, after} for {size}."
            )
        ends = [tensor]
        if before > 0:
            ends.insert(0, _sliced(tensor, axis, -before, None))
        if after > 0:
            rounds = 1 if rest is None else -(-after // rest)
            again = _repeated(tensor, axis, rounds)
            ends.append(_sliced(again, axis, 0, after))
        tensor = tf.concat(ends, axis) if len(ends) > 1 else tensor
    return tensor


def _check_mirrored(tensor: tf.Tensor, axes: dict[int, Sides], mode: str) -> None:
    expect_type(tensor.dtype != tf.bool, tensor, "another type than bool")
    shape = tuple(tensor.shape)
    batched = len(shape) - len(axes) == 2
    if 0 in shape[batched:]:
        raise ValueError(f"input must not be empty, got shape {shape}.")
    for axis, (before, after) in axes.items():
        size = shape[axis]
        if size is None:
            continue
        if size + before + after < 1:
            raise ValueError(f"pad must leave an entry of {size}, got {before, after}.")
        if mode == "reflect" and max(before, after) >= size:
            raise ValueError(
                f"pad must be less than size {size} to reflect, got {before, after}."
            )


def _pad_mirrored(tensor: tf.Tensor, axes: dict[int, Sides], mode: str) -> tf.Tensor:
    added = _positive(axes, len(tensor.shape))
    if mode == "reflect" and any(map(any, added)):
        # TensorFlow does not reflect an empty batch.
        is_empty = tensor.shape[0] == 0
        tensor = tf.pad(tensor, added, "CONSTANT" if is_empty else "REFLECT")
    elif mode == "replicate":
        for axis, (before, after) in enumerate(added):
            ends = [tensor]
            if before:
                ends.insert(0, _repeated(_sliced(tensor, axis, 0, 1), axis, before))
            if after:
                ends.append(_repeated(_sliced(tensor, axis, -1, None), axis, after))
            tensor = tf.concat(ends, axis) if len(ends) > 1 else tensor
    return _cropped(tensor, axes)


def _positive(axes: dict[int, Sides], rank: int) -> list[Sides]:
    """What is added to each axis."""
    sides = [axes.get(axis, (0, 0)) for axis in range(rank)]
    return [(max(before, 0), max(after, 0)) for before, after in sides]


def _cropped(tensor: tf.Tensor, axes: dict[int, Sides]) -> tf.Tensor:
    """Without what negative sizes take away.

    Raises:
        ValueError: An axis has less than that.
    """
    index = [slice(None)] * len(tensor.shape)
    for axis, (before, after) in axes.items():
        size = tensor.shape[axis]
        if size is not None and max(-before, 0) + max(-after, 0) > size:
            raise ValueError(
                f"pad must take away at most {size} entries, got {before, after}."
            )
        index[axis] = slice(max(-before, 0) or None, min(after, 0) or None)
    return tensor if index.count(slice(None)) == len(index) else tensor[tuple(index)]


def _sliced(
    tensor: tf.Tensor, axis: int, start: int | None, stop: int | None
) -> tf.Tensor:
    return tensor[(slice(None),) * axis + (slice(start, stop),)]


def _repeated(tensor: tf.Tensor, axis: int, count: int) -> tf.Tensor:
    """What there is along an axis, `count` times."""
    if count == 1:
        return tensor
    return tf.tile(
        tensor, [count if i == axis else 1 for i in range(len(tensor.shape))]
    )
