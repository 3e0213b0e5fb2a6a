"""Reads PyTorch ``.pt`` files without PyTorch and without executing anything.

A ``.pt`` file is a pickle plus raw storages: a zip archive since PyTorch 1.6, a row
of pickles followed by the storages before. `util.torch_pickle` reads the pickle; arrays
are cut out of the storages here, after every size, stride and offset was checked.
"""

import io
import math
import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from util.torch_file_writer import save_torch_file
from util.torch_pickle import (
    RAW_DTYPES,
    Dtype,
    MetaTensor,
    Storage,
    Tensor,
    expect,
    load_pickle,
    show,
)

__all__ = ["MetaTensor", "load_torch_file", "save_torch_file"]

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Overlapping views (expanded tensors) may add this much to the size of the file.
_MAX_EXPANDED_BYTES = 2**30
# What reading a damaged file can raise, in pickle, zipfile and NumPy.
_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass
class _Resolver:
    """Turns stand-ins into arrays and copies the containers around them.

    Attributes:
        read: Returns the bytes of a storage, None if the file has none for it.
        budget: Bytes that all arrays together may have.
        byteorder: "<" or ">", of the stored bytes.
    """

    read: Callable[[Storage], bytes | None]
    budget: int
    byteorder: Literal["<", ">"] = "<"
    _flat: dict[tuple[str, str], np.ndarray | None] = field(default_factory=dict)
    _arrays: dict[Tensor, np.ndarray | MetaTensor] = field(default_factory=dict)
    _done: dict[int, Any] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)

    def resolve(self, obj: Any) -> Any:
        """Returns `obj` with every stand-in replaced."""
        if obj is None or isinstance(
            obj, bool | int | float | str | bytes | np.generic | MetaTensor
        ):
            return obj
        if isinstance(obj, Storage):
            obj = Tensor(obj, obj.dtype, 0, (obj.numel,), (1,))
        if isinstance(obj, Tensor):
            if obj not in self._arrays:
                self._arrays[obj] = self._array(obj)
            return self._arrays[obj]
        if isinstance(obj, Dtype):
            return f"torch.{obj.name}"
        if isinstance(obj, dict | list | tuple):
            return self._container(obj)
        raise ValueError(f"a bare {type(obj).__name__} cannot be read")

    def _container(self, obj: Any) -> Any:
        if id(obj) in self._open:
            raise ValueError("the object contains itself")
        if id(obj) not in self._done:
            self._open.add(id(obj))
            self._done[id(obj)] = self._copy(obj)
            self._open.remove(id(obj))
        return self._done[id(obj)]

    def _copy(self, obj: Any) -> Any:
        if isinstance(obj, list | tuple):
            items = [self.resolve(item) for item in obj]
            return items if isinstance(obj, list) else tuple(items)
        kind = OrderedDict if isinstance(obj, OrderedDict) else dict
        for key in obj:
            if key is not None and not isinstance(key, int | float | str | bytes):
                raise ValueError(f"dict key {show(key)} must be a string or a number")
        return kind((key, self.resolve(value)) for key, value in obj.items())

    def _elements(self, storage: Storage, dtype: str) -> np.ndarray | None:
        """Returns all elements of a storage, shape (numel,); read once."""
        key = (storage.key, dtype)
        if key not in self._flat:
            data = self.read(storage)
            if data is None and storage.location != "meta":
                raise ValueError(f"the data of storage {storage.key!r} is missing")
            self._flat[key] = None if data is None else self._decode(data, dtype)
        return self._flat[key]

    def _decode(self, data: bytes, dtype: str) -> np.ndarray:
        raw = np.dtype(RAW_DTYPES[dtype])
        count = len(data) // raw.itemsize
        flat = np.frombuffer(data, raw.newbyteorder(self.byteorder), count)
        if dtype == "bfloat16":
            return (flat.astype(np.uint32) << 16).view(np.float32)
        return flat != 0 if dtype == "bool" else flat.astype(raw)

    def _array(self, tensor: Tensor) -> np.ndarray | MetaTensor:
        """Cuts a tensor's values out of its storage."""
        flat = self._elements(tensor.storage, tensor.dtype)
        if flat is None:
            return MetaTensor(tensor.shape, tensor.dtype)
        if 0 in tensor.shape:
            return np.empty(tensor.shape, flat.dtype)
        self._check_bounds(tensor, flat)
        strides = [stride * flat.itemsize for stride in tensor.strides]
        start = flat[tensor.offset :]
        view = np.lib.stride_tricks.as_strided(start, tensor.shape, strides)
        return np.array(view, order="C")

    def _check_bounds(self, tensor: Tensor, flat: np.ndarray) -> None:
        """Refuses a tensor that leaves its storage or is absurdly large."""
        steps = ((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        last = tensor.offset + sum(steps)
        where = f"a tensor of shape {tensor.shape} in storage {tensor.storage.key!r}"
        if last >= flat.size:
            raise ValueError(f"{where} needs element {last}, there are {flat.size}")
        self.budget -= math.prod(tensor.shape) * flat.itemsize
        if self.budget < 0:
            raise ValueError(f"{where} makes the tensors absurdly larger than the file")


def _check_archive(archive: zipfile.ZipFile, limit: int) -> str:
    """Returns the root folder of the archive, with its slash."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("the zip archive has two entries of the same name")
    if any(entry.compress_type for entry in archive.infolist()):
        raise ValueError("the zip archive is compressed; PyTorch's are not")
    if sum(entry.file_size for entry in archive.infolist()) > limit:
        raise ValueError("the zip archive claims more bytes than the file has")
    roots = [n[: -len("data.pkl")] for n in names if n.split("/")[1:] == ["data.pkl"]]
    if len(roots) != 1:
        raise ValueError("not a PyTorch file: the zip has no single <name>/data.pkl")
    return roots[0]


def _byteorder(archive: zipfile.ZipFile, root: str) -> Literal["<", ">"]:
    """Returns the archive's byte order; PyTorch before 2.1 did not record it."""
    order = b"little"
    if f"{root}byteorder" in archive.namelist():
        order = archive.read(f"{root}byteorder")
    if order not in (b"little", b"big"):
        raise ValueError(f"byteorder must be little or big, got {order[:20]!r}")
    return "<" if order == b"little" else ">"


def _load_zip(stream: BinaryIO, size: int) -> Any:
    with zipfile.ZipFile(stream) as archive:
        root = _check_archive(archive, size)
        names = frozenset(archive.namelist())

        def read(storage: Storage) -> bytes | None:
            name = f"{root}data/{storage.key}"
            if storage.numel == 0:
                return b""
            if name not in names:
                return None
            data = archive.read(name)
            if len(data) != storage.nbytes:
                raise ValueError(
                    f"{name} must have {storage.nbytes} bytes, has {len(data)}"
                )
            return data

        order = _byteorder(archive, root)
        obj, _ = load_pickle(io.BytesIO(archive.read(f"{root}data.pkl")))
        return _Resolver(read, _budget(size), order).resolve(obj)


def _budget(size: int) -> int:
    """Returns the bytes that the arrays of a file may have; bfloat16 doubles."""
    return 2 * size + _MAX_EXPANDED_BYTES


def _read_exactly(stream: BinaryIO, count: int, size: int) -> bytes:
    if count > size - stream.tell():
        raise ValueError(f"truncated: {count} bytes are missing at {stream.tell()}")
    return stream.read(count)


def _load_legacy(stream: BinaryIO, size: int) -> Any:
    """Reads magic number, protocol, system facts, object, keys, then raw storages."""
    try:
        header = [load_pickle(stream)[0], load_pickle(stream)[0]]
    except _ERRORS as error:
        raise ValueError(f"not a PyTorch file ({error})") from error
    if header != [_LEGACY_MAGIC, _LEGACY_PROTOCOL]:
        raise ValueError("not a PyTorch file (no zip archive, wrong magic number)")
    load_pickle(stream)
    obj, storages = load_pickle(stream)
    data = {}
    for key in expect("list of storages", load_pickle(stream)[0], list):
        storage = storages[expect("storage key", key, str)]
        (numel,) = struct.unpack("<q", _read_exactly(stream, 8, size))
        if numel != storage.numel:
            raise ValueError(f"storage {key!r} has {numel} of {storage.numel} elements")
        data[key] = _read_exactly(stream, storage.nbytes, size)
    return _Resolver(lambda storage: data.get(storage.key), _budget(size)).resolve(obj)


def _say(error: Exception) -> str:
    if isinstance(error, zipfile.BadZipFile):
        return f"the zip archive is truncated or corrupt ({error})"
    if type(error) is ValueError:
        return str(error)
    return f"corrupt or truncated ({type(error).__name__}: {error})"


def load_torch_file(path: str | Path) -> Any:
    """Returns what ``torch.save`` wrote to `path`, tensors as NumPy arrays.

    Arrays are contiguous, in native byte order and writable, whatever device the
    tensors were on; bfloat16 becomes float32, dtypes and devices become strings.
    Equal views of one storage (aliased modules) come back as one array object.
    Tensors without values come back as `MetaTensor`.

    Args:
        path: A ``.pt`` file of any PyTorch version since 0.4.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a PyTorch file, is truncated or corrupt, or
            names a function or class beyond those that describe tensors. The
            message names the file and what is wrong.
    """
    with Path(path).open("rb") as stream:
        try:
            size = os.fstat(stream.fileno()).st_size
            is_zip = stream.read(4) == b"PK\x03\x04"
            stream.seek(0)
            return _load_zip(stream, size) if is_zip else _load_legacy(stream, size)
        except _ERRORS as error:
            raise ValueError(
                f"cannot read PyTorch file {path}: {_say(error)}"
            ) from error
