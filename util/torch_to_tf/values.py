"""Functions of `torch` between tensors, arrays and Python numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor, is_tensor
from util.torch_to_tf.creation import created
from util.torch_to_tf.dtypes import as_dtype, cast, common_dtype, default_dtype
from util.torch_to_tf.scalars import Number, as_number

_PLAIN = {bool, int, float, complex}


def torch_tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> tf.Tensor:
    """A tensor of numbers, of nested lists of them, or of an array (`torch.tensor`).

    Python floats become float32, ints int64, booleans bool, and what has a type keeps
    it (float64 arrays too); a list has the type that can hold all of its entries.
    Always a copy, and without a gradient to `data`. In a graph, entries of lists may be
    tensors without a value yet.

    Raises:
        TypeError: An entry is no number.
        ValueError: Lists differ in length, or the type cannot hold an entry.

    Example: `torch_tensor([[1, 2.5], [True, 4]])` gives `[[1.0, 2.5], [1.0, 4.0]]`.
    """
    kind = None if dtype is None else as_dtype(dtype)
    return created(lambda: _tensor(data, kind), device, requires_grad)


def _tensor(data: Any, dtype: tf.DType | None) -> tf.Tensor:
    if isinstance(data, np.ndarray):
        array = _checked(data, "data")
        kind = dtype or tf.as_dtype(array.dtype)
        return tf.constant(_wrapped(array, kind))
    if is_tensor(data) and not isinstance(data, np.generic):
        tensor = tf.stop_gradient(as_tensor(data, "data"))
        return cast(tensor, dtype or tensor.dtype)
    shape, entries = _unrolled(data, 0)
    kind = dtype or common_dtype(map(default_dtype, _representatives(entries)))
    if any(map(tf.is_symbolic_tensor, entries)):
        flat = tf.stack([_element(entry, kind) for entry in entries])
        return tf.stop_gradient(flat if len(shape) == 1 else tf.reshape(flat, shape))
    return tf.constant(_numbers(entries, kind).reshape(shape))


def _unrolled(data: Any, depth: int) -> tuple[tuple[int, ...], list[Any]]:
    """The shape of nested sequences, and their entries in order."""
    if isinstance(data, np.ndarray) and data.ndim:
        return data.shape, list(_checked(data, "data").flat)
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        return (), [_entry(data)]
    if data and {*map(type, data)} <= _PLAIN:
        return (len(data),), list(data)
    parts = [_unrolled(item, depth + 1) for item in data]
    inner = parts[0][0] if parts else ()
    for index, (shape, _) in enumerate(parts):
        if shape != inner:
            raise ValueError(
                f"data must be regular: at depth {depth}, entry 0 has shape {inner}, "
                f"entry {index} {shape}."
            )
    return (len(parts), *inner), [entry for _, entries in parts for entry in entries]


def _entry(value: Any) -> Any:
    """A number; a tensor of one number only where its value is not known yet."""
    if isinstance(value, Number | np.number | np.bool_):
        return value
    if is_tensor(value) and math.prod(value.shape) == 1:
        tensor = tf.convert_to_tensor(value)
        return tensor if tf.is_symbolic_tensor(tensor) else tensor.numpy().flat[0]
    raise TypeError(f"data must consist of numbers, got {value!r}.")


def _representatives(entries: Sequence[Any]) -> Iterator[Any]:
    """One entry of each type, or a float if there are none."""
    if not entries:
        yield 0.0
    yield from {
        (type(entry), getattr(entry, "dtype", None)): entry for entry in entries
    }.values()


def _plain(entry: Any) -> Any:
    """A number of NumPy as one of Python."""
    return entry.item() if isinstance(entry, np.generic) else entry


def _element(entry: Any, kind: tf.DType) -> tf.Tensor:
    if not tf.is_tensor(entry):
        return tf.constant(as_number(_plain(entry), kind, "data"))
    return cast(tf.reshape(entry, []) if entry.shape.rank else entry, kind)


def _numbers(entries: Sequence[Any], kind: tf.DType) -> np.ndarray:
    """Entries as an array of a type that can hold them; floats may become infinite."""
    if kind.is_integer:
        checked = [as_number(_plain(entry), kind, "data") for entry in entries]
        return np.array(checked, kind.as_numpy_dtype)
    array = np.array(entries)
    if array.dtype.kind == "c" and not (kind.is_complex or kind.is_bool):
        raise TypeError(f"data must be real for {kind.name}, got complex numbers.")
    return _wrapped(array, kind)


def _wrapped(array: np.ndarray, kind: tf.DType) -> np.ndarray:
    """The array in a type, without a warning where that loses numbers."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(kind.as_numpy_dtype)


def _checked(array: Any, name: str) -> np.ndarray:
    """An array of one of PyTorch's types."""
    kind, native = array.dtype, array.dtype.isnative
    size = 16 if kind.kind == "c" else 8
    if kind.kind not in "biufc" or kind.itemsize > size:
        raise TypeError(f"{name} must be an array of numbers, got type {kind}.")
    if not native:
        raise ValueError(f"{name} must have the machine's byte order, got type {kind}.")
    return array


def torch_from_numpy(ndarray: np.ndarray) -> tf.Tensor:
    """An array as a tensor of its type (`torch.from_numpy`).

    A copy, where PyTorch shares the memory: tensors here never change.

    Raises:
        TypeError: It is no array, or not one of numbers.
        ValueError: Its byte order is not the machine's.

    Example: `torch_from_numpy(np.arange(3.0))` gives `[0.0, 1.0, 2.0]`.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"ndarray must be a NumPy array, got {ndarray!r}.")
    return tf.constant(_checked(ndarray, "ndarray"))


def torch_tensor_clone(input: Any) -> tf.Tensor:
    """A copy with a gradient to the original (`torch.Tensor.clone`).

    Tensors never change, so a copy matters for variables only.

    Example: `torch_tensor_clone(tf.Variable([1.0, 2.0]))` gives `[1.0, 2.0]`.
    """
    return tf.identity(as_tensor(input))


def torch_tensor_detach(input: Any) -> tf.Tensor:
    """The same numbers without a gradient to the original (`torch.Tensor.detach`).

    Example: `torch_tensor_detach(tf.constant([1.0, 2.0]))` gives `[1.0, 2.0]`.
    """
    return tf.stop_gradient(as_tensor(input))


def torch_tensor_float(input: Any) -> tf.Tensor:
    """The tensor in float32 (`torch.Tensor.float`).

    Example: `torch_tensor_float(tf.constant([1, 2]))` gives `[1.0, 2.0]`.
    """
    return cast(as_tensor(input), tf.float32)


def torch_tensor_long(input: Any) -> tf.Tensor:
    """The tensor in int64, fractions cut off (`torch.Tensor.long`).

    Example: `torch_tensor_long(tf.constant([1.7, -1.7]))` gives `[1, -1]`.
    """
    return cast(as_tensor(input), tf.int64)


def torch_tensor_item(input: Any) -> Number:
    """The one entry of a tensor as a Python number (`torch.Tensor.item`).

    Raises:
        ValueError: There are more entries or none, or the tensor belongs to a graph
            and has no value yet.

    Example: `torch_tensor_item(tf.constant([[3.5]]))` gives `3.5`.
    """
    tensor = as_tensor(input)
    if tf.is_symbolic_tensor(tensor):
        raise ValueError(
            "input must have a value, got a tensor of a graph: item is for eager code."
        )
    if math.prod(tensor.shape) != 1:
        raise ValueError(f"input must have one entry, got shape {tensor.shape}.")
    return tensor.numpy().item()
