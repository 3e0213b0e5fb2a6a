"""What agents save and load: named objects, state folders, and policies.

`util.state_folder` describes the format of a state folder, `util.torch_file` reads the
reference's ``.pt`` files. Both hold networks in PyTorch's state dict layout.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from util.state_folder import (
    STATE_NAME,
    find_complete,
    is_complete,
    list_states,
    load_state,
    read_meta,
    save_state,
)
from util.torch_file import MetaTensor, load_torch_file

__all__ = [
    "PolicyFile",
    "StateRegistry",
    "Stateful",
    "find_complete",
    "is_complete",
    "list_states",
    "load_policy",
    "load_state",
    "read_meta",
    "resolve_policy_path",
    "save_state",
]

_STEP_KEYS = ("itr", "epoch", "step")
# RLPD and IBRL of the reference save a skeleton without values under this prefix.
_SKELETON_PREFIX = "base_model."


@runtime_checkable
class Stateful(Protocol):
    """An object whose state can be saved."""

    def get_state(self) -> Any:
        """Returns nested mappings, lists, arrays and numbers."""

    def set_state(self, state: Any) -> None:
        """Takes over what `get_state` returned."""


@runtime_checkable
class KeepsFiles(Protocol):
    """An object that writes part of its state into files of its own."""

    def settle(self) -> None:
        """Removes files that only states before the last one need."""


class StateRegistry:
    """The objects that make up a checkpoint, by name."""

    def __init__(self) -> None:
        self._objects: dict[str, Stateful] = {}

    def add(self, name: str, obj: Stateful) -> None:
        """Registers `obj` to be saved as `name`.

        Raises:
            TypeError: If `obj` lacks `get_state` or `set_state`.
            ValueError: If `name` is taken.
        """
        if not isinstance(obj, Stateful):
            kind = type(obj).__name__
            raise TypeError(f"{name} must have get_state and set_state, got a {kind}.")
        if name in self._objects:
            raise ValueError(f"name must be new, got {name!r} a second time.")
        self._objects[name] = obj

    def get_state(self, without: Collection[str] = ()) -> dict[str, Any]:
        """Returns the state of each object by its name, except of some."""
        return {
            name: obj.get_state()
            for name, obj in self._objects.items()
            if name not in without
        }

    def settle(self) -> None:
        """Tells objects with files of their own that their last state is on disk."""
        for obj in self._objects.values():
            if isinstance(obj, KeepsFiles):
                obj.settle()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Gives each object its state, in the order of registration.

        Raises:
            ValueError: If the names differ; no object is changed then.
        """
        missing = sorted(self._objects.keys() - state.keys())
        unknown = sorted(state.keys() - self._objects.keys())
        if missing or unknown:
            raise ValueError(
                f"state must hold {sorted(self._objects)}; "
                f"it lacks {missing} and has unknown {unknown}."
            )
        for name, obj in self._objects.items():
            obj.set_state(state[name])


def _newest_in(folder: Path) -> Path | None:
    """Returns the newest state of a checkpoint folder, ours before PyTorch's."""
    if states := list_states(folder):
        return states[-1][1]
    with suppress(FileNotFoundError):
        return find_complete(folder / "last")
    files = [p for p in folder.glob("state_*.pt") if STATE_NAME.fullmatch(p.stem)]
    return max(files, key=lambda p: int(p.stem[len("state_") :]), default=None)


def resolve_policy_path(path: str | Path) -> Path:
    """Returns the ``.pt`` file or state folder that `path` means.

    Args:
        path: A ``.pt`` file; a state folder; or a run folder, whose newest complete
            ``checkpoint/state_<n>`` is taken, else ``checkpoint/last``. The name of a
            missing ``state_<n>.pt`` finds the folder ``state_<n>`` beside it.

    Raises:
        FileNotFoundError: If there is nothing; lists what was looked for.
    """
    path = Path(path).expanduser().absolute()
    if path.is_file():
        return path
    own = path.with_suffix("") if path.suffix == ".pt" else path
    with suppress(FileNotFoundError):
        return find_complete(own)
    for folder in (path / "checkpoint", path):
        if newest := _newest_in(folder):
            return newest
    raise FileNotFoundError(
        f"no policy at {path}: looked for that file, for a complete state folder "
        f"{own}, and for state_<n>, last and state_<n>.pt in "
        f"{path / 'checkpoint'} and {path}."
    )


@dataclass(frozen=True)
class PolicyFile:
    """The networks of a checkpoint, keyed as in PyTorch's state dicts.

    Attributes:
        path: The file or folder that was read.
        kind: "torch" for a ``.pt`` file, "own" for a state folder.
        weights: Raw weights (entry "model"), None if there are none.
        ema: Averaged weights, None if there are none (fine-tuned by the reference).
        step: Epoch or iteration of the save, 0 if unknown.
        meta: The meta of a state folder; the other entries of a ``.pt`` file.
    """

    path: Path
    kind: Literal["torch", "own"]
    weights: dict[str, np.ndarray] | None
    ema: dict[str, np.ndarray] | None
    step: int
    meta: dict[str, Any]


def _networks(value: Any, name: str, path: Path) -> dict[str, np.ndarray] | None:
    """Returns a state dict without entries that have no values."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise ValueError(f"{path}: {name} must be a state dict, got {kind}.")
    arrays = {}
    for key, array in value.items():
        if isinstance(array, MetaTensor) or str(key).startswith(_SKELETON_PREFIX):
            continue
        if isinstance(array, np.generic):
            array = np.asarray(array)
        if not isinstance(array, np.ndarray):
            kind = type(array).__name__
            raise ValueError(f"{path}: {name}[{key!r}] must be an array, got {kind}.")
        arrays[str(key)] = array
    return arrays


def _find_step(*sources: Mapping[str, Any]) -> int:
    for source in sources:
        for key in _STEP_KEYS:
            if isinstance(source.get(key), int):
                return source[key]
    return 0


def load_policy(path: str | Path) -> PolicyFile:
    """Returns the networks that `path` means, see `resolve_policy_path`.

    Entries without values (meta tensors, ``base_model.*``) are left out. Of a state
    folder, only the networks are read.

    Raises:
        FileNotFoundError: If there is nothing to load.
        ValueError: If the file is corrupt or holds neither "model" nor "ema".
    """
    path = resolve_policy_path(path)
    kind: Literal["torch", "own"] = "own" if path.is_dir() else "torch"
    meta: dict[str, Any]
    if kind == "own":
        content, meta = load_state(path, ("model", "ema", *_STEP_KEYS))
    else:
        content = load_torch_file(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold a dict, got {type(content).__name__}.")
        meta = {k: v for k, v in content.items() if k not in ("model", "ema")}
    weights = _networks(content.get("model"), "model", path)
    ema = _networks(content.get("ema"), "ema", path)
    if weights is None and ema is None:
        everything = load_state(path)[0] if kind == "own" else content
        keys = ", ".join(str(key) for key in list(everything)[:20])
        raise ValueError(f"{path} must hold 'model' or 'ema', got the keys: {keys}.")
    return PolicyFile(path, kind, weights, ema, _find_step(meta, content), meta)
