"""Reads a `result.pkl` without executing anything that it asks for.

A pickle may name any function and have it called. Here the few names that plain
numbers, containers and NumPy arrays need stand for functions of this file; any other
is refused. Files of the reference and of this project are read.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_KINDS = "biufSU"  # of arrays: numbers and text
_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Function:
    """A function that a pickle may call but not change."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it tries to change a function")


class _Dtype:
    """A dtype: its code, and the byte order that a pickle sets afterwards."""

    def __init__(self, code: Any) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: Any) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype[Any]:
        dtype = np.dtype(f"{self.order.strip('|=')}{self.code}")
        if dtype.kind not in _KINDS:
            raise ValueError(f"it holds values of dtype {dtype}")
        return dtype


class _Array:
    """An array: empty until the pickle sets its shape, dtype and bytes."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _make_array(raw, dtype, shape, "F" if fortran else "C")


def _make_array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | bytearray):
        raise ValueError("it has an array that does not hold plain bytes")
    flat = np.frombuffer(raw, dtype.dtype())
    return flat.reshape(tuple(shape), order=order).copy()


def _make_scalar(dtype: Any, raw: Any) -> Any:
    return _make_array(raw, dtype, (), "C").item()


def _refuse(*_: Any) -> Any:
    raise ValueError("it calls a class of NumPy")


def _encode(text: Any, encoding: Any) -> bytes:
    """Protocol 2 writes bytes as Latin-1 text."""
    if encoding != "latin1" or not isinstance(text, str):
        raise ValueError(f"it encodes text to {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], _Function] = {
    ("numpy", "ndarray"): _Function(_refuse),
    ("numpy", "dtype"): _Function(lambda code, *_: _Dtype(code)),
    ("collections", "OrderedDict"): _Function(lambda items=(): dict(items)),
    ("_codecs", "encode"): _Function(_encode),
    ("__builtin__", "bytes"): _Function(lambda: b""),  # protocol 2 has no empty bytes
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _Function(_make_scalar)
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Function(lambda *_: _Array())
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _Function(_make_array)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ValueError(f"it refers to {module}.{name}")
        return _ALLOWED[module, name]


def read_results(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a `result.pkl`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged, or holds anything but a list of dicts of numbers,
            text, containers and arrays of these.
    """
    try:
        with path.open("rb") as stream:
            rows = _plain(_Unpickler(stream).load(), {})
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise ValueError(f"it holds a {type(rows).__name__}, not a list of dicts")
    except _ERRORS as error:
        raise ValueError(
            f"{path} must be a pickled list of dicts of numbers; nothing in it was "
            f"executed and it was refused because: {error}"
        ) from error
    return rows


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """`value` with arrays in the place of their stand-ins.

    `seen` keeps what was made of each container, so that a small file cannot unfold
    into a large object.
    """
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, _Function | _Dtype):
        raise ValueError(f"it holds a {type(value).__name__.strip('_').lower()}")
    if not isinstance(value, list | tuple | dict | set | frozenset):
        return value
    if id(value) not in seen:
        seen[id(value)] = None
        if isinstance(value, dict):
            new: Any = {key: _plain(item, seen) for key, item in value.items()}
        else:
            new = type(value)(_plain(item, seen) for item in value)
        seen[id(value)] = new
    return seen[id(value)]
