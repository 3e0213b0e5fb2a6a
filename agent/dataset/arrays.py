"""Reads the arrays of a training file and refuses what cannot be trained on."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agent.dataset.array_pickle import load_array_pickle

_RANKS = {
    "states": (2, "(N, Do)"),
    "actions": (2, "(N, Da)"),
    "traj_lengths": (1, "(n_episodes,)"),
    "images": (4, "(N, C, H, W)"),
    "rewards": (1, "(N,)"),
    "terminals": (1, "(N,)"),
}


def read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of a `.npz` or `.pkl` training file, checked.

    Args:
        path: The file. Nothing in it is executed.
        names: Which of states, actions, traj_lengths, images, rewards and terminals to
            read; states, actions and traj_lengths must be among them.

    Returns:
        The arrays: images as stored, traj_lengths as int64, everything else float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the suffix is unknown, the file is damaged, or an array is
            missing, of the wrong shape, or not finite. Names file and array.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No data set at {path}. script/run.py fetches or generates it "
            "(data.source); own data are made as script/dataset/README.md says."
        )
    if path.suffix == ".npz":
        arrays = _read_npz(path, names)
    elif path.suffix == ".pkl":
        arrays = load_array_pickle(path)
    else:
        raise ValueError(f"{path}: suffix must be .npz or .pkl, got {path.suffix!r}.")
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path}: array {name!r} is missing, got {list(arrays)}.")
    checked = {name: _converted(path, name, arrays[name]) for name in names}
    _check_rows(path, checked)
    return checked


def _read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays that the archive has; the others as absent."""
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path}: not a complete npz archive ({path.stat().st_size} B). Delete it "
            "to have it downloaded or generated anew."
        )
    arrays: dict[str, np.ndarray] = {}
    name = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            present = set(archive.files)
            for name in names:
                if name in present:
                    arrays[name] = archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: array {name!r} cannot be read: {error}") from error
    except (KeyError, NotImplementedError) as error:
        raise ValueError(f"{path}: array {name!r} cannot be read: {error}") from error
    return arrays


def _converted(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """The array in the dtype used for training, after rank and values were checked."""
    rank, shape = _RANKS[name]
    if array.ndim != rank or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: array {name!r} must be numeric of shape {shape}, "
            f"got {array.dtype} {array.shape}."
        )
    if name == "traj_lengths":
        return _checked_lengths(path, array)
    if name == "images":
        return array
    array = array.astype(np.float32)
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{path}: array {name!r} has NaN or infinite values in {(~finite).sum()} "
            f"of {len(array)} rows, first in row {int(np.argmin(finite))}."
        )
    return array


def _checked_lengths(path: Path, array: np.ndarray) -> np.ndarray:
    lengths = array.astype(np.int64)
    if (lengths != array).any():
        raise ValueError(f"{path}: array 'traj_lengths' must hold whole numbers.")
    if (lengths < 1).any():
        first = int(np.argmax(lengths < 1))
        raise ValueError(
            f"{path}: array 'traj_lengths' must be positive, got {lengths[first]} for "
            f"episode {first} ({(lengths < 1).sum()} such episodes)."
        )
    return lengths


def _check_rows(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """All per-step arrays have as many rows as the episodes have steps."""
    total = int(arrays["traj_lengths"].sum())
    for name, array in arrays.items():
        if name != "traj_lengths" and len(array) != total:
            raise ValueError(
                f"{path}: array {name!r} has {len(array)} rows, but traj_lengths sum "
                f"to {total}."
            )
