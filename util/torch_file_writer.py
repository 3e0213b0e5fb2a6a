"""Writes PyTorch ``.pt`` files without PyTorch.

The file is the zip archive that ``torch.save`` has written since version 1.6: one
pickle (``data.pkl``) in which tensors are references to raw little-endian storages
(``data/<n>``). `torch.load(weights_only=True)` reads it. The pickle is emitted here
opcode by opcode, so that nothing but the few operations PyTorch allows can get in.
"""

import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# PyTorch's name of a storage class -> its name of the element type.
STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_STORAGE_OF_DTYPE = {dtype: storage for storage, dtype in STORAGE_DTYPES.items()}
_ROOT = "archive"
_ALIGNMENT = 64  # bytes; PyTorch maps storages into memory at this alignment
_LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name and extra field


def sync_folder(folder: Path) -> None:
    """Makes renames inside `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain_write_error(error: OSError, path: Path) -> OSError:
    """Returns `error` again, with the path and the free space in its message."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"cannot write {path}: {error.strerror or error}; {free} bytes are free"
    return OSError(error.errno, text) if error.errno else OSError(text)


@contextmanager
def open_aside(path: Path) -> Iterator[BinaryIO]:
    """Opens a file beside `path` that replaces `path` once it is complete.

    Raises:
        OSError: If writing fails; `path` is then as it was before.
    """
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise explain_write_error(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


class _Emitter:
    """Builds the pickle of one object and collects the storages it refers to."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self._key_of_id: dict[int, str] = {}
        self._out = bytearray()

    def pickle(self, obj: Any) -> bytes:
        """Returns the protocol 2 pickle of `obj`."""
        self._out += pickle.PROTO + b"\x02"
        try:
            self._emit(obj, "obj")
        except RecursionError:
            message = "obj must not contain itself or be nested very deeply."
            raise ValueError(message) from None
        return bytes(self._out + pickle.STOP)

    def _emit(self, obj: Any, where: str) -> None:
        if isinstance(obj, np.generic):
            obj = obj.item()
        if isinstance(obj, np.ndarray):
            self._emit_tensor(obj, where)
        elif isinstance(obj, dict):
            self._emit_dict(obj, where)
        elif isinstance(obj, list):
            self._out += pickle.EMPTY_LIST + pickle.MARK
            self._emit_all(obj, where)
            self._out += pickle.APPENDS
        elif isinstance(obj, tuple):
            self._out += pickle.MARK
            self._emit_all(obj, where)
            self._out += pickle.TUPLE
        else:
            self._emit_scalar(obj, where)

    def _emit_all(self, items: Any, where: str) -> None:
        for index, item in enumerate(items):
            self._emit(item, f"{where}[{index}]")

    def _emit_scalar(self, obj: Any, where: str) -> None:
        if obj is None:
            self._out += pickle.NONE
        elif isinstance(obj, bool):
            self._out += pickle.NEWTRUE if obj else pickle.NEWFALSE
        elif isinstance(obj, int):
            self._emit_int(obj, where)
        elif isinstance(obj, float):
            self._out += pickle.BINFLOAT + struct.pack(">d", obj)
        elif isinstance(obj, str):
            data = obj.encode("utf-8", "surrogatepass")
            self._out += pickle.BINUNICODE + struct.pack("<I", len(data)) + data
        else:
            raise TypeError(
                f"{where} must be a dict, list, tuple, NumPy array, str, int, float, "
                f"bool or None, got {type(obj).__name__}."
            )

    def _emit_int(self, value: int, where: str) -> None:
        if -(2**31) <= value < 2**31:
            self._out += pickle.BININT + struct.pack("<i", value)
            return
        data = pickle.encode_long(value)
        if len(data) > 255:
            raise ValueError(f"{where} must fit into 255 bytes, got a larger integer.")
        self._out += pickle.LONG1 + bytes([len(data)]) + data

    def _emit_global(self, module: str, name: str) -> None:
        self._out += pickle.GLOBAL + f"{module}\n{name}\n".encode()

    def _emit_dict(self, obj: dict, where: str) -> None:
        if isinstance(obj, OrderedDict):
            self._emit_empty_ordered_dict()
        else:
            self._out += pickle.EMPTY_DICT
        self._out += pickle.MARK
        for key, value in obj.items():
            self._emit_scalar(key, f"key {key!r} of {where}")
            self._emit(value, f"{where}[{key!r}]")
        self._out += pickle.SETITEMS

    def _emit_empty_ordered_dict(self) -> None:
        self._emit_global("collections", "OrderedDict")
        self._out += pickle.EMPTY_TUPLE + pickle.REDUCE

    def _emit_tensor(self, array: np.ndarray, where: str) -> None:
        storage = _STORAGE_OF_DTYPE.get(array.dtype.name)
        if storage is None:
            raise TypeError(
                f"{where} must have a dtype of {sorted(_STORAGE_OF_DTYPE)}, "
                f"got {array.dtype}."
            )
        if id(array) not in self._key_of_id:
            self._key_of_id[id(array)] = str(len(self.arrays))
            self.arrays.append(array)
        strides = [int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim)]
        self._emit_global("torch._utils", "_rebuild_tensor_v2")
        self._out += pickle.MARK + pickle.MARK
        self._emit_scalar("storage", where)
        self._emit_global("torch", storage)
        for part in (self._key_of_id[id(array)], "cpu", array.size):
            self._emit_scalar(part, where)
        self._out += pickle.TUPLE + pickle.BINPERSID
        for value in (0, array.shape, tuple(strides), False):
            self._emit(value, where)
        self._emit_empty_ordered_dict()
        self._out += pickle.TUPLE + pickle.REDUCE


def _write_entry(
    archive: zipfile.ZipFile, stream: BinaryIO, name: str, data: bytes
) -> None:
    """Appends one uncompressed entry whose data starts at a multiple of 64 bytes."""
    entry = zipfile.ZipInfo(f"{_ROOT}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
    start = stream.tell() + _LOCAL_HEADER_BYTES + len(entry.filename) + 4
    padding = -start % _ALIGNMENT
    entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    archive.writestr(entry, data)


def save_torch_file(obj: Any, path: str | Path) -> None:
    """Writes `obj` as a ``.pt`` file that ``torch.load`` reads; replaces `path`.

    NumPy arrays become CPU tensors (an array that occurs several times is stored
    once and shared, as PyTorch does for aliased modules), NumPy scalars become
    Python numbers. The file appears only once it is complete.

    Args:
        obj: Nested dict, OrderedDict, list and tuple of NumPy arrays, str, int,
            float, bool and None.
        path: File to write; its folder is made if missing.

    Raises:
        TypeError: If `obj` contains anything else; the message says where.
        ValueError: If `obj` contains itself, or an integer of over 255 bytes.
        OSError: If writing fails; a file that was there stays as it was.
    """
    emitter = _Emitter()
    data = emitter.pickle(obj)
    with (
        open_aside(Path(path)) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
    ):
        _write_entry(archive, stream, "data.pkl", data)
        _write_entry(archive, stream, "byteorder", b"little")
        for key, array in enumerate(emitter.arrays):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            _write_entry(archive, stream, f"data/{key}", little.tobytes())
        _write_entry(archive, stream, "version", b"3\n")
