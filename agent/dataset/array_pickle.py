"""Reads a pickled mapping of numeric NumPy arrays without executing anything.

The reference accepts `.pkl` data sets and hands them to `pickle`, which runs whatever
the file asks for. Here every class the file names is replaced by a stub that keeps
plain numbers and bytes; arrays are rebuilt from those after loading.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_NUMERIC_KINDS = "biuf"


class _DtypeStub:
    """What a pickle says about a dtype: its code and its byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def dtype(self) -> np.dtype[Any]:
        """The numeric dtype.

        Raises:
            pickle.UnpicklingError: For objects, strings and structures.
        """
        order = "" if self.order == "|" else self.order
        try:
            dtype = np.dtype(order + self.code)
        except TypeError as error:
            raise pickle.UnpicklingError(f"dtype {self.code!r}") from error
        if dtype.kind not in _NUMERIC_KINDS:
            raise pickle.UnpicklingError(f"dtype {dtype} is not numeric")
        return dtype


class _ArrayStub:
    """What a pickle says about an array: shape, dtype, order and raw bytes."""

    def __init__(self, *_: Any) -> None:
        self.parts: tuple[Any, Any, Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.parts = (raw, dtype, shape, "F" if fortran else "C")

    def array(self) -> np.ndarray:
        """The array itself.

        Raises:
            pickle.UnpicklingError: If the bytes are not those of a numeric array.
        """
        if self.parts is None:
            raise pickle.UnpicklingError("an array without contents")
        raw, dtype, shape, order = self.parts
        if not isinstance(dtype, _DtypeStub) or not isinstance(raw, bytes | bytearray):
            raise pickle.UnpicklingError("an array that does not hold plain bytes")
        flat = np.frombuffer(raw, dtype.dtype())
        return flat.reshape(tuple(shape), order=order).copy()


def _array_from_buffer(*parts: Any) -> _ArrayStub:
    """Pickle protocol 5: the array arrives as (bytes, dtype, shape, order)."""
    stub = _ArrayStub()
    stub.parts = (parts[0], parts[1], parts[2], parts[3])
    return stub


def _latin1(text: str, encoding: str) -> bytes:
    """Old protocols write bytes as text in this one encoding."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Old protocols write empty bytes as a call of `bytes` without arguments."""
    return b""


class _Frozen:
    """A function that a pickle may call but not change."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it tries to change a function")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ArrayStub,
    ("numpy", "dtype"): _DtypeStub,
    ("_codecs", "encode"): _Frozen(_latin1),
    ("__builtin__", "bytes"): _Frozen(_no_bytes),
    ("collections", "OrderedDict"): OrderedDict,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[_core + ".multiarray", "_reconstruct"] = _ArrayStub
    _ALLOWED[_core + ".numeric", "_frombuffer"] = _Frozen(_array_from_buffer)


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the names in `_ALLOWED` and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        """The stub for `module.name`."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _ALLOWED[module, name]


def load_array_pickle(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a pickled mapping from names to numeric arrays.

    Args:
        path: The `.pkl` file.

    Raises:
        ValueError: If the file is damaged, or holds anything but such a mapping.
    """
    try:
        with open(path, "rb") as file:
            mapping = _ArrayUnpickler(file).load()
        if not isinstance(mapping, dict):
            raise pickle.UnpicklingError(f"a {type(mapping).__name__}, not a mapping")
        return {str(name): _to_array(value) for name, value in mapping.items()}
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError) as error:
        raise ValueError(_refusal(path, error)) from error
    except (AttributeError, IndexError, KeyError, OverflowError) as error:
        raise ValueError(_refusal(path, error)) from error


def _to_array(value: Any) -> np.ndarray:
    array = value.array() if isinstance(value, _ArrayStub) else np.asarray(value)
    if array.dtype.kind not in _NUMERIC_KINDS:
        raise pickle.UnpicklingError(f"a value of dtype {array.dtype}")
    return array


def _refusal(path: str | Path, error: Exception) -> str:
    return (
        f"{path}: only a pickled dict of numeric NumPy arrays is read, and nothing in "
        f"it is executed; refused because: {error}. Save the data as .npz instead."
    )
