"""Functions of `torch` that choose entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_axis, as_tensor, check_broadcast, is_tensor
from util.torch_to_tf.dtypes import cast, expect_type, result_type
from util.torch_to_tf.scalars import as_number, as_scalar
from util.torch_to_tf.sizes import sizes_of


def torch_gather(
    input: Any, dim: int, index: Any, *, sparse_grad: bool = False
) -> tf.Tensor:
    """Entries that `index` numbers along an axis (`torch.gather`).

    The result has the shape of `index`; on other axes entry i is taken from entry i.

    Args:
        input: A tensor.
        dim: The axis.
        index: int32 or int64, with as many axes as `input` and on the others of them at
            most its size.
        sparse_grad: Accepted for PyTorch's signature; gradients are dense here.

    Raises:
        TypeError: The type of `index` is another one.
        ValueError: Its shape does not fit, or a number is out of range. In a graph,
            TensorFlow refuses that at run time on a CPU only, and not under XLA.

    Example: `torch_gather(tf.constant([[5, 6]]), 1, tf.constant([[1]]))` gives `[[6]]`.
    """
    value, index = as_tensor(input), as_tensor(index, "index")
    whole = index.dtype in (tf.int32, tf.int64)
    expect_type(whole, index, "the type int32 or int64", "index")
    rank = len(value.shape)
    axis = as_axis(dim, rank)
    if index.shape.num_elements() == 0:
        return tf.zeros(index.shape, value.dtype)
    _check_shapes(value, axis, index)
    if rank == 0 or len(index.shape) == 0:
        taken = torch_gather(*_vectors(value, index))
        return tf.reshape(taken, index.shape)
    if tf.executing_eagerly():
        _check_in_range(index.numpy(), value.shape[axis])
    return _taken(_cut(value, axis, index), axis, index)


def torch_where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """Entries of one tensor where a condition holds, else of another (`torch.where`).

    With a condition alone, where it is not 0: a vector of indices for each axis. XLA
    cannot compile that, as their number depends on the values.

    Args:
        condition: A tensor of bool.
        input: A tensor or number.
        other: A tensor or number; all three broadcast.

    Raises:
        TypeError: The condition is not bool, or only one of the two is given.
        ValueError: Shapes do not broadcast.

    Example: `torch_where(tf.constant([True, False]), 1, 2.5)` gives `[1.0, 2.5]`.
    """
    condition = as_tensor(condition, "condition")
    if input is None and other is None:
        found = tf.where(condition if condition.shape.rank else condition[None])
        return tuple(tf.unstack(found, len(condition.shape) or 1, axis=1))
    for name, choice in (("input", input), ("other", other)):
        if choice is None:
            raise TypeError(f"{name} must be given too, got None.")
    is_bool = condition.dtype in (tf.bool, tf.uint8)
    expect_type(is_bool, condition, "the type bool", "condition")
    given = {
        name: choice if is_tensor(choice) else as_scalar(choice, name)
        for name, choice in (("input", input), ("other", other))
    }
    kind = result_type(*given.values())
    first, second = (_choice(x, kind, name) for name, x in given.items())
    check_broadcast(condition=condition, input=first, other=second)
    return tf.where(cast(condition, tf.bool), first, second)


def torch_tensor_masked_fill(input: Any, mask: Any, value: Any) -> tf.Tensor:
    """The tensor with `value` where `mask` holds (`torch.Tensor.masked_fill`).

    The type stays; fractions are cut off for whole numbers.

    Args:
        input: A tensor.
        mask: A tensor of bool that broadcasts.
        value: A number, or a tensor without axes, which has its gradient.

    Raises:
        TypeError: The mask is not bool.
        ValueError: `value` has axes or does not fit the type, or shapes do not.

    Example: `torch_tensor_masked_fill(tf.constant([5, 6]), np.array([True, False]), 0)`
        gives `[0, 6]`.
    """
    tensor, mask = as_tensor(input), as_tensor(mask, "mask")
    expect_type(mask.dtype.is_bool, mask, "the type bool", "mask")
    check_broadcast(input=tensor, mask=mask)
    if not is_tensor(value):
        number = as_number(as_scalar(value, "value"), tensor.dtype, "value")
        return tf.where(mask, tf.constant(number, tensor.dtype), tensor)
    value = as_tensor(value, "value")
    if len(value.shape) > 0:
        raise ValueError(f"value must have no axes, got shape {tuple(value.shape)}.")
    return tf.where(mask, cast(value, tensor.dtype), tensor)


def _choice(value: Any, kind: tf.DType, name: str) -> tf.Tensor:
    if kind.is_integer and not is_tensor(value):
        value = as_number(value, kind, name)
    return cast(value, kind)


def _check_shapes(value: tf.Tensor, axis: int, index: tf.Tensor) -> None:
    shapes = [tuple(x.shape) or (1,) for x in (value, index)]
    if len(shapes[0]) != len(shapes[1]):
        raise ValueError(
            f"index must have as many axes as input, got shapes {shapes[1]} and "
            f"{shapes[0]}."
        )
    for i, (size, taken) in enumerate(zip(*shapes, strict=True)):
        if i != axis and None not in (size, taken) and taken > size:
            raise ValueError(
                f"index must have at most size {size} on axis {i}, got {taken}."
            )


def _check_in_range(numbers: np.ndarray, size: int) -> None:
    if numbers.min() < 0 or numbers.max() >= size:
        wrong = numbers[(numbers < 0) | (numbers >= size)][0]
        raise ValueError(f"index must be in [0, {size - 1}], got {wrong}.")


def _vectors(value: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, int, tf.Tensor]:
    value, index = (x if x.shape.rank else tf.reshape(x, [1]) for x in (value, index))
    return value, 0, index


def _cut(value: tf.Tensor, axis: int, index: tf.Tensor) -> tf.Tensor:
    """The part that the index covers on other axes than `axis`."""
    same = [
        i == axis or (size is not None and size == taken)
        for i, (size, taken) in enumerate(zip(value.shape, index.shape, strict=True))
    ]
    if all(same):
        return value
    sizes = sizes_of(index)
    return value[
        tuple(slice(None) if kept else slice(sizes[i]) for i, kept in enumerate(same))
    ]


def _taken(value: tf.Tensor, axis: int, index: tf.Tensor) -> tf.Tensor:
    last = len(value.shape) - 1
    if axis == last:
        return tf.gather(value, index, axis=last, batch_dims=last)
    order = [i for i in range(last + 1) if i != axis] + [axis]
    back = [order.index(i) for i in range(last + 1)]
    turned = (tf.transpose(x, order) for x in (value, index))
    found = tf.gather(*turned, axis=last, batch_dims=last)
    return tf.transpose(found, back)
