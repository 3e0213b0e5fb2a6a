"""Scales data to [-1, 1] and writes a data set in the reference's layout."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ASIDE_PREFIX = ".unfinished-"
"""Start of the names of folders that hold files being written."""

_EPSILON = 1e-6


def normalise(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """2 (x - low) / (high - low + 1e-6) - 1, in the dtype of `values`.

    A column that never changes becomes -1.

    Args:
        values: (N, D).
        low: Smallest value per column. (D,).
        high: Largest value per column. (D,).
    """
    return 2 * (values - low) / (high - low + _EPSILON) - 1


def denormalise(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(x + 1) / 2 (high - low) + low, as the environments undo `normalise`.

    Args:
        values: (N, D).
        low: (D,).
        high: (D,).
    """
    return (values + 1) / 2 * (high - low) + low


def bounds_of(states: np.ndarray, actions: np.ndarray) -> dict[str, np.ndarray]:
    """Smallest and largest values, under the names of `normalization.npz`.

    Args:
        states: (N, Do), not empty.
        actions: (N, Da).
    """
    return {
        "obs_min": states.min(axis=0),
        "obs_max": states.max(axis=0),
        "action_min": actions.min(axis=0),
        "action_max": actions.max(axis=0),
    }


def write_together(
    folder: str | Path, files: Mapping[str, Mapping[str, Any]], compress: bool = False
) -> None:
    """Writes several files so that none is ever seen half written.

    They are written aside and then renamed, in the order given.

    Args:
        folder: Created if missing.
        files: Contents per file name: arrays for `.npz`, else what JSON can hold.
        compress: Whether `.npz` files are compressed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=ASIDE_PREFIX, dir=folder) as aside:
        for name, contents in files.items():
            path = Path(aside, name)
            if path.suffix == ".npz":
                (np.savez_compressed if compress else np.savez)(path, **contents)
            else:
                path.write_text(json.dumps(contents, indent=1) + "\n")
        for name in files:
            os.replace(Path(aside, name), folder / name)
