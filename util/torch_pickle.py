"""Unpickles what ``torch.save`` pickles, without executing anything.

A pickle may name any function and have it called, so an `Unpickler` with a closed list
of names is used here. What the list holds are stand-ins that record which tensor is
meant; `util.torch_file` makes arrays of them when the whole pickle has been read.
"""

import pickle
import pickletools
import reprlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from util.torch_file_writer import STORAGE_DTYPES

# PyTorch's dtype name -> NumPy type of the stored bytes (bfloat16 is the upper half
# of a float32, NumPy has none).
RAW_DTYPES = {
    "float32": "f4",
    "float64": "f8",
    "float16": "f2",
    "bfloat16": "u2",
    "uint8": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "int8": "i1",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "bool": "u1",
    "complex64": "c8",
    "complex128": "c16",
}
_MAX_DIMENSIONS = 64  # of a NumPy array
_BYTE_ORDERS = ("<", ">", "|")
_OPCODE_NAMES = """
PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1
LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINSTRING SHORT_BINSTRING
BINBYTES SHORT_BINBYTES EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS
EMPTY_DICT SETITEM SETITEMS BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL
STACK_GLOBAL REDUCE BUILD BINPERSID
"""
_OPCODES = frozenset(_OPCODE_NAMES.split())


class _StandIn:
    """Something a pickle can refer to but neither look into nor change."""

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"the pickle tries to change a {type(self).__name__}")


@dataclass(frozen=True)
class MetaTensor(_StandIn):
    """A tensor of PyTorch's "meta" device: it has a shape and no values.

    Attributes:
        shape: Its shape.
        dtype: PyTorch's name of its dtype, such as "float32".
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class _Function(_StandIn):
    name: str
    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


@dataclass(frozen=True)
class _StorageType(_StandIn):
    dtype: str


@dataclass(frozen=True)
class Dtype(_StandIn):
    """A torch.dtype, by PyTorch's name without "torch."."""

    name: str


@dataclass(frozen=True)
class Storage(_StandIn):
    """A one-dimensional block of `numel` elements, kept outside the pickle."""

    key: str
    dtype: str
    location: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.numel * np.dtype(RAW_DTYPES[self.dtype]).itemsize


@dataclass(frozen=True)
class Tensor(_StandIn):
    """A view of a storage; offset and strides count elements, as in PyTorch."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _NumpyDtype(_StandIn):
    """A NumPy dtype of a scalar; BUILD gives it its byte order."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in _BYTE_ORDERS:
            raise ValueError(f"bad state of a NumPy dtype: {show(state)}")
        self.dtype = self.dtype.newbyteorder(state[1])


class _OrderedDict(OrderedDict):
    """An OrderedDict that ignores the attributes (`_metadata`) a pickle sets."""

    def __setstate__(self, state: Any) -> None:
        pass


def show(value: Any) -> str:
    """Returns the beginning of `repr(value)`, cheap for values of exploding text."""
    return reprlib.repr(value)[:100]


def _sizes(name: str, values: Any) -> tuple[int, ...]:
    """Returns `values` as a tuple after checking that they are sizes."""
    valid = type(values) in (tuple, list) and len(values) <= _MAX_DIMENSIONS
    if not valid or any(type(v) is not int or v < 0 for v in values):
        raise ValueError(f"{name} must be non-negative integers, got {show(values)}")
    return tuple(values)


def expect(name: str, value: Any, kind: type) -> Any:
    """Returns `value` if it is a `kind`; raises a ValueError otherwise."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {show(value)}")
    return value


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    """Records a tensor. Gradient flags and hooks have no meaning here."""
    if metadata:
        raise ValueError("tensors with a conjugate or negative bit are not supported")
    expect("storage", storage, Storage)
    name = expect("dtype", dtype, Dtype).name
    (first,) = _sizes("storage offset", (offset,))
    shape, strides = _sizes("size", size), _sizes("stride", stride)
    if len(shape) != len(strides):
        raise ValueError(f"size {shape} and stride {strides} differ in length")
    return Tensor(storage, name, first, shape, strides)


def _rebuild_tensor_v2(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Tensor:
    dtype = Dtype(expect("storage", storage, Storage).dtype)
    return _rebuild_tensor_v3(
        storage, offset, size, stride, requires_grad, hooks, dtype, metadata
    )


def _rebuild_parameter(data: Any, requires_grad: Any = True, hooks: Any = None) -> Any:
    return data if isinstance(data, MetaTensor) else expect("data", data, Tensor)


def _rebuild_meta(dtype: Any, size: Any, stride: Any, requires_grad: Any) -> MetaTensor:
    return MetaTensor(_sizes("size", size), expect("dtype", dtype, Dtype).name)


def _ordered_dict(items: Any = ()) -> _OrderedDict:
    if type(items) not in (tuple, list):
        raise ValueError(f"OrderedDict items must be a list, got {show(items)}")
    return _OrderedDict(items)


def _torch_device(kind: Any, index: Any = None) -> str:
    name = expect("device", kind, str)
    return name if index is None else f"{name}:{expect('device index', index, int)}"


def _torch_size(sizes: Any = ()) -> tuple[int, ...]:
    return _sizes("torch.Size", sizes)


def _numpy_dtype(code: Any, align: Any = False, copy: Any = True) -> _NumpyDtype:
    if code not in ("b1", *RAW_DTYPES.values()):
        raise ValueError(f"NumPy dtype {show(code)} is not supported")
    return _NumpyDtype(code)


def _numpy_scalar(dtype: Any, data: Any) -> np.generic:
    kind = expect("dtype", dtype, _NumpyDtype).dtype
    if type(data) is not bytes or len(data) != kind.itemsize:
        raise ValueError(f"bad value of a NumPy scalar: {show(data)}")
    return np.frombuffer(data, kind).astype(kind.newbyteorder("="))[0]


def _encode_latin1(text: Any, encoding: Any) -> bytes:
    """Protocol 2 writes bytes as Latin-1 text."""
    if encoding != "latin1":
        raise ValueError(f"_codecs.encode to {show(encoding)} is refused")
    return expect("text", text, str).encode("latin1")


def _allowed_globals() -> dict[tuple[str, str], _StandIn]:
    """Returns the closed list of names that a file may use, with their stand-ins."""
    functions: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): _ordered_dict,
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor_v2,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
        ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("torch._utils", "_rebuild_meta_tensor_no_storage"): _rebuild_meta,
        ("torch", "Size"): _torch_size,
        ("torch", "device"): _torch_device,
        ("numpy", "dtype"): _numpy_dtype,
        ("numpy.core.multiarray", "scalar"): _numpy_scalar,
        ("numpy._core.multiarray", "scalar"): _numpy_scalar,
        ("_codecs", "encode"): _encode_latin1,
    }
    allowed: dict[tuple[str, str], _StandIn] = {
        key: _Function(".".join(key), function) for key, function in functions.items()
    }
    allowed.update({("torch", name): Dtype(name) for name in RAW_DTYPES})
    for name, dtype in STORAGE_DTYPES.items():
        allowed["torch", name] = allowed["torch.cuda", name] = _StorageType(dtype)
    for name in ("UntypedStorage", "_UntypedStorage", "TypedStorage", "_TypedStorage"):
        allowed["torch.storage", name] = allowed["torch", name] = _StorageType("uint8")
    return allowed


_ALLOWED = _allowed_globals()


def _look_up(module: str, name: str) -> _StandIn:
    if (module, name) not in _ALLOWED:
        raise ValueError(f"refused: the file refers to the global {module}.{name}")
    return _ALLOWED[module, name]


class _Unpickler(pickle.Unpickler):
    """Unpickles into stand-ins; `storages` collects what was referred to."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        return _look_up(module, name)

    def persistent_load(self, pid: Any) -> Storage:
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
            raise ValueError(f"unknown persistent id {show(pid)}")
        if len(pid) == 6 and pid[5] is not None:
            raise ValueError("storage views (PyTorch 0.3 and older) are not supported")
        dtype = expect("storage type", pid[1], _StorageType).dtype
        key, location = expect("key", pid[2], str), expect("location", pid[3], str)
        (numel,) = _sizes("storage size", (pid[4],))
        storage = Storage(key, dtype, location, numel)
        if self.storages.setdefault(key, storage).nbytes != storage.nbytes:
            raise ValueError(f"storage {key!r} is used with two sizes")
        return storage


def _check_opcodes(stream: BinaryIO) -> None:
    """Refuses a pickle by its text, before anything is built from it.

    A memo index beyond the number of bytes so far is refused because the unpickler
    allocates that many entries.
    """
    start = stream.tell()
    for opcode, argument, position in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            _look_up(*str(argument).split(" ", 1))
        if opcode.name not in _OPCODES:
            raise ValueError(
                f"refused: the file uses the pickle operation {opcode.name}"
            )
        index: Any = argument if opcode.name.endswith("BINPUT") else 0
        if index > (position or 0) - start:
            raise ValueError(f"memo index {index} is out of range")


def load_pickle(stream: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """Returns the object pickled at the position of `stream`, and its storages.

    The object consists of plain Python containers and numbers and of `Tensor`,
    `Storage`, `Dtype` and `MetaTensor` (other stand-ins may occur in a hostile file).
    `stream` is left after the pickle.

    Raises:
        ValueError: If the pickle uses a name or an operation outside the closed list,
            or describes a tensor by anything but sizes. Broken pickles raise what
            `pickle` and `pickletools` raise, `pickle.UnpicklingError` for example.
    """
    start = stream.tell()
    _check_opcodes(stream)
    stream.seek(start)
    unpickler = _Unpickler(stream)
    return unpickler.load(), unpickler.storages
