"""Functions of `torch` that make tensors of one value.

All take the type, PyTorch's default being float32, and

* `device`, a TensorFlow device such as "CPU:0" or "GPU:0";
* `requires_grad`, with which the result is a trainable `tf.Variable`. That needs eager
  code, as variables are not made inside a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.dtypes import as_dtype
from util.torch_to_tf.parameter import check_trainable
from util.torch_to_tf.scalars import as_number, as_scalar, number_dtype
from util.torch_to_tf.sizes import as_sizes, listed, one_by_one


def created(
    make: Callable[[], tf.Tensor], device: str | None, requires_grad: bool
) -> Any:
    """What `make` returns, on a device, as a variable if it is to be trained.

    Raises:
        ValueError: It cannot be trained, or not be made a variable in a graph.
    """
    with nullcontext() if device is None else tf.device(device):
        tensor = make()
        if not requires_grad:
            return tensor
        check_trainable(tensor.dtype, requires_grad)
        if not tf.executing_eagerly():
            raise ValueError(
                "requires_grad must be False in a graph, got True: make the variable "
                "outside of the compiled function."
            )
        return tf.Variable(tensor, trainable=True)


def torch_zeros(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """Zeros of a given size (`torch.zeros`).

    Args:
        *sizes: One by one, or as one sequence. An axis whose size is known at run time
            only takes an integer tensor.
        size: The same by name.
        dtype: float32 by default.
        device: Where to put it.
        requires_grad: Whether to make a trainable variable of it.

    Example: `torch_zeros(2, 3)` gives `[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]`.
    """
    shape = as_sizes(one_by_one(sizes, size, "size"))
    kind = tf.float32 if dtype is None else as_dtype(dtype)
    return created(lambda: tf.zeros(shape, kind), device, requires_grad)


def torch_ones(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """Ones of a given size; arguments as of `torch_zeros` (`torch.ones`).

    Example: `torch_ones((2,), dtype=tf.int64)` gives `[1, 1]`.
    """
    shape = as_sizes(one_by_one(sizes, size, "size"))
    kind = tf.float32 if dtype is None else as_dtype(dtype)
    return created(lambda: tf.ones(shape, kind), device, requires_grad)


def torch_full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """A tensor of one value (`torch.full`).

    The type is that of the value: bool, int64, float32 or complex64. NumPy numbers and
    tensors without axes count as Python numbers of their kind.

    Raises:
        ValueError: `dtype` cannot hold the value.

    Example: `torch_full((2,), 3)` gives `[3, 3]`.
    """
    shape = as_sizes(listed(size, "size"))
    value = as_scalar(fill_value, "fill_value")
    kind = number_dtype(value) if dtype is None else as_dtype(dtype)
    number = as_number(value, kind, "fill_value")
    return created(lambda: tf.fill(shape, number), device, requires_grad)


def torch_zeros_like(
    input: Any,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """Zeros of the size and type of a tensor (`torch.zeros_like`).

    Example: `torch_zeros_like(tf.constant([5, 6]))` gives `[0, 0]`.
    """
    tensor = as_tensor(input)
    kind = None if dtype is None else as_dtype(dtype)
    return created(lambda: tf.zeros_like(tensor, kind), device, requires_grad)


def torch_ones_like(
    input: Any,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """Ones of the size and type of a tensor (`torch.ones_like`).

    Example: `torch_ones_like(tf.constant([5, 6]), dtype="float")` gives `[1.0, 1.0]`.
    """
    tensor = as_tensor(input)
    kind = None if dtype is None else as_dtype(dtype)
    return created(lambda: tf.ones_like(tensor, kind), device, requires_grad)


def torch_full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """One value, with the size and type of a tensor (`torch.full_like`).

    Raises:
        ValueError: The type cannot hold the value.

    Example: `torch_full_like(tf.constant([5, 6]), 1.5)` gives `[1, 1]`.
    """
    tensor = as_tensor(input)
    kind = tensor.dtype if dtype is None else as_dtype(dtype)
    number = as_number(as_scalar(fill_value, "fill_value"), kind, "fill_value")
    known = tensor.shape.is_fully_defined()
    shape = tensor.shape if known else tf.shape(tensor)
    return created(lambda: tf.fill(shape, number), device, requires_grad)
