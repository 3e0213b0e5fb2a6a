"""State folders: arrays without pickle, complete or not there at all.

A state folder holds ``arrays.npz`` (uncompressed), ``manifest.json`` (the structure
around the arrays, their shapes, dtypes and CRC32, and `meta`) and ``DONE``, written
last, with the CRC32 of the manifest. It is written under another name and renamed. A
folder that is replaced is first renamed to ``<name>.old``; readers fall back to that
name, so that a process may be killed at any moment without losing the state.
"""

import errno
import json
import math
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from util.torch_file_writer import explain_write_error, sync_folder

FORMAT = "dppo-tf state"
FORMAT_VERSION = 1
_FILES = _ARRAYS, _MANIFEST, _DONE = "arrays.npz", "manifest.json", "DONE"
_READ_ATTEMPTS = 50  # while a running training replaces the folder
STATE_NAME = re.compile(r"state_(\d+)")
_ARRAY_KINDS = "biufcSUmM"  # NumPy kinds that need no pickle and keep their dtype
_READ_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


class _Encoder:
    """Turns nested Python into JSON that refers to the arrays it collects."""

    def __init__(self, *, with_arrays: bool) -> None:
        self.arrays: list[np.ndarray] = []
        self._with_arrays = with_arrays
        # Holds the values, so that no other gets the id of one that was dropped.
        self._seen: dict[int, tuple[int, Any]] = {}

    def encode(self, value: Any, where: str) -> Any:
        """Returns the JSON node of `value`; an object with one "$" key is a tag."""
        if isinstance(value, np.ndarray | np.generic):
            return self._encode_array(value, where)
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"$float": str(value)}
        if isinstance(value, Mapping):
            return self._encode_mapping(value, where)
        if isinstance(value, list | tuple):
            items = [self.encode(v, f"{where}[{i}]") for i, v in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        raise TypeError(
            f"{where} must be a mapping, list, tuple, NumPy array, number, str, bool "
            f"or None, got {type(value).__name__}."
        )

    def _encode_mapping(self, value: Mapping, where: str) -> dict[str, Any]:
        if bad := [key for key in value if not isinstance(key, str | int)]:
            raise TypeError(f"keys of {where} must be str or int, got {bad[0]!r}.")
        items = [[k, self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]
        if all(isinstance(key, str) and key[:1] != "$" for key in value):
            return dict(items)
        return {"$items": items}

    def _encode_array(self, value: np.ndarray | np.generic, where: str) -> Any:
        if not self._with_arrays:
            if isinstance(value, np.generic):
                return self.encode(value.item(), where)
            raise TypeError(f"{where} must not be an array, got shape {value.shape}.")
        if value.dtype.kind not in _ARRAY_KINDS:
            raise TypeError(
                f"{where} must have a numeric or string dtype, got {value.dtype}."
            )
        tag = "$array" if isinstance(value, np.ndarray) else "$scalar"
        if id(value) not in self._seen:
            self._seen[id(value)] = len(self.arrays), value
            self.arrays.append(np.asarray(value))
        return {tag: self._seen[id(value)][0]}


def _decode(node: Any, arrays: "_ArrayReader | None") -> Any:
    if isinstance(node, list):
        return [_decode(item, arrays) for item in node]
    if not isinstance(node, dict):
        return node
    tag: str
    content: Any
    tag, content = next(iter(node.items()), ("", None))
    if tag == "$float":
        return float(content)
    if tag == "$tuple":
        return tuple(_decode(content, arrays))
    if tag == "$items":
        return {key: _decode(value, arrays) for key, value in content}
    if tag in ("$array", "$scalar") and arrays is not None:
        array = arrays.get(content)
        return array if tag == "$array" else array[()]
    return {key: _decode(value, arrays) for key, value in node.items()}


@dataclass
class _ArrayReader:
    """Reads arrays from an npz when first asked for and checks them."""

    npz: Any
    facts: list[dict[str, Any]]
    _arrays: dict[int, np.ndarray] = field(default_factory=dict)

    def get(self, index: int) -> np.ndarray:
        """Returns the array `index` of the manifest."""
        if index not in self._arrays:
            array = self.npz[f"{index}"]
            found, expected = _facts(array), self.facts[index]
            if found != expected:
                raise ValueError(f"array {index} must be {expected}, is {found}")
            self._arrays[index] = array
        return self._arrays[index]


def _facts(array: np.ndarray) -> dict[str, Any]:
    """Returns what the manifest records of an array."""
    crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return {"shape": list(array.shape), "dtype": array.dtype.str, "crc32": crc}


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def _write_file(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _write_folder(folder: Path, arrays: list[np.ndarray], manifest: bytes) -> None:
    folder.mkdir()
    named: dict[str, Any] = {f"{i}": array for i, array in enumerate(arrays)}
    with (folder / _ARRAYS).open("wb") as stream:
        np.savez(stream, **named)
        stream.flush()
        os.fsync(stream.fileno())
    _write_file(folder / _MANIFEST, manifest)
    _write_file(folder / _DONE, f"{zlib.crc32(manifest)}\n".encode())
    sync_folder(folder)


def _remove_folder(folder: Path) -> None:
    """Removes a state folder, first its marker, so that a reader sees why it failed."""
    if folder.is_dir():
        (folder / _DONE).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _is_alive(pid: str) -> bool:
    """Returns whether a process of this number runs, other than this one."""
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return int(pid) != os.getpid()


def _remove_abandoned(folder: Path) -> None:
    """Removes what killed processes left of earlier attempts to write `folder`."""
    for path in folder.parent.glob(f".{folder.name}.tmp-*"):
        if not _is_alive(path.name.rpartition("-")[2]):
            shutil.rmtree(path, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    """Keeps a mistyped folder name from deleting somebody's files."""
    if is_complete(folder) or not folder.exists():
        return
    if not folder.is_dir() or {p.name for p in folder.iterdir()} - set(_FILES):
        raise FileExistsError(
            errno.EEXIST, f"{folder} exists and is not a checkpoint; remove it first"
        )


def _swap_in(temporary: Path, folder: Path) -> None:
    """Puts `temporary` in the place of `folder`; a complete state is always there."""
    old = _old(folder)
    if is_complete(folder):
        _remove_folder(old)
        folder.rename(old)
    else:
        _remove_folder(folder)
    temporary.rename(folder)
    sync_folder(folder.parent)
    _remove_folder(old)


def _encode_top(
    encoder: _Encoder, value: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Returns the JSON object of a mapping that has names as keys."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, got {type(value).__name__}.")
    if bad := [k for k in value if not isinstance(k, str) or k.startswith("$")]:
        raise TypeError(f"keys of {name} must be str without '$', got {bad[0]!r}.")
    try:
        return encoder.encode(value, name)
    except RecursionError:
        raise ValueError(f"{name} must not contain itself.") from None


def save_state(
    folder: str | Path, state: Mapping[str, Any], meta: Mapping[str, Any]
) -> None:
    """Writes a complete state folder, replacing the one that is there.

    An array object that occurs several times is stored once and comes back as one.

    Args:
        folder: The folder to write; parents are made if missing.
        state: Nested mappings (keys str or int), lists and tuples of NumPy arrays and
            scalars, numbers, strings, bools and None.
        meta: The same without arrays; `read_meta` returns it without reading arrays.

    Raises:
        TypeError: If `state` or `meta` contains anything else.
        ValueError: If one of them contains itself.
        FileExistsError: If `folder` exists and is something else than a checkpoint.
        OSError: If writing fails; says how much space is free. The state that was
            there is kept and nothing half-written remains.
    """
    folder = Path(folder).absolute()
    _refuse_foreign(folder)
    encoder = _Encoder(with_arrays=True)
    content = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "meta": _encode_top(_Encoder(with_arrays=False), meta, "meta"),
        "state": _encode_top(encoder, state, "state"),
        "arrays": [_facts(array) for array in encoder.arrays],
    }
    manifest = json.dumps(content, indent=1, allow_nan=False).encode()
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        _write_folder(temporary, encoder.arrays, manifest)
        _swap_in(temporary, folder)
    except OSError as error:
        raise explain_write_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_complete(folder: str | Path) -> bool:
    """Returns whether `folder` itself is a finished state folder."""
    return all((Path(folder) / name).is_file() for name in _FILES)


def find_complete(folder: str | Path) -> Path:
    """Returns `folder`, or the state it was replacing if its save was interrupted.

    Raises:
        FileNotFoundError: If neither is there and complete.
    """
    folder = Path(folder).absolute()
    # The first name is tried again: a running save may have renamed it in between.
    for path in (folder, _old(folder), folder):
        if is_complete(path):
            return path
    lacking = [name for name in _FILES if not (folder / name).is_file()]
    what = f"lacks {', '.join(lacking)}" if folder.is_dir() else "does not exist"
    raise FileNotFoundError(
        f"no complete checkpoint: {folder} {what}, {_old(folder).name} is none either."
    )


def _read_manifest(folder: Path) -> dict[str, Any]:
    data = (folder / _MANIFEST).read_bytes()
    if int((folder / _DONE).read_text()) != zlib.crc32(data):
        raise ValueError(f"{_MANIFEST} does not have the CRC32 that {_DONE} states")
    manifest = json.loads(data)
    if manifest["format"] != FORMAT or manifest["version"] != FORMAT_VERSION:
        raise ValueError(
            f"format must be {FORMAT!r} version {FORMAT_VERSION}, got "
            f"{manifest['format']!r} version {manifest['version']!r}"
        )
    if not all(isinstance(manifest[name], dict) for name in ("meta", "state")):
        raise ValueError(f"meta and state of {_MANIFEST} must be objects")
    return manifest


def _read(
    folder: Path, names: frozenset[str] | None, *, with_state: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns state (only the entries `names`, if given) and meta."""
    try:
        manifest = _read_manifest(folder)
        meta, node = _decode(manifest["meta"], None), manifest["state"]
        if not with_state:
            return {}, meta
        if names is not None:
            node = {name: node[name] for name in node if name in names}
        with np.load(folder / _ARRAYS, allow_pickle=False) as npz:
            return _decode(node, _ArrayReader(npz, manifest["arrays"])), meta
    except _READ_ERRORS as error:
        text = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"checkpoint {folder} is corrupt: {text}") from error


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Returns what changes when `folder` is replaced."""
    with suppress(OSError):
        status = (folder / _DONE).stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _load(
    folder: str | Path, names: frozenset[str] | None = None, *, with_state: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a state folder, again if a running training replaced it meanwhile."""
    for _ in range(_READ_ATTEMPTS):
        source = find_complete(folder)
        stamp = _stamp(source)
        try:
            return _read(source, names, with_state=with_state)
        except (OSError, ValueError):
            if stamp is not None and stamp == _stamp(source):
                raise
    raise FileNotFoundError(f"{folder} is replaced faster than it can be read.")


def load_state(
    folder: str | Path, names: Iterable[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the (state, meta) that `save_state` was given.

    Mappings come back as dicts.

    Args:
        folder: The folder that was saved.
        names: Top-level entries of the state to read; those that are not there are
            left out. None reads all.

    Raises:
        FileNotFoundError: If no complete state is there.
        ValueError: If the state is corrupt or of an unknown format version.
    """
    return _load(folder, None if names is None else frozenset(names))


def read_meta(folder: str | Path) -> dict[str, Any]:
    """Returns only the meta of a state folder; raises as `load_state`."""
    return _load(folder, with_state=False)[1]


def list_states(checkpoint_dir: str | Path) -> list[tuple[int, Path]]:
    """Returns (n, folder) of each complete ``state_<n>``, smallest n first.

    A ``state_<n>`` whose replacement was interrupted counts by its ``.old`` folder.
    """
    states: dict[int, Path] = {}
    for path in Path(checkpoint_dir).glob("state_*"):
        name = path.name.removesuffix(".old")
        if match := STATE_NAME.fullmatch(name):
            with suppress(FileNotFoundError):
                states[int(match[1])] = find_complete(path.with_name(name))
    return sorted(states.items())
