"""A recorded case: its `meta`, its arrays by role, and files that belong to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One `.npz` file of recorded numbers.

    Attributes:
        path: The file.
        meta: What was called, and how.
        arrays: Everything else in the file.
    """

    path: Path
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """`area/case`."""
        return f"{self.meta.get('area', self.path.parent.name)}/{self.path.stem}"

    @property
    def is_module_dialect(self) -> bool:
        """Whether `meta` has class, kwargs, method and op, not model, call and cfg."""
        return "op" in self.meta

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """Arrays below `prefix`, without it."""
        return {
            key.removeprefix(prefix): value
            for key, value in self.arrays.items()
            if key.startswith(prefix)
        }

    @property
    def noise(self) -> list[np.ndarray]:
        """Recorded draws in order."""
        drawn = self.under("noise/")
        return [drawn[str(i)] for i in range(len(drawn))]

    @property
    def noise_names(self) -> list[str]:
        """The reference's function behind each draw."""
        return [entry["fn"] for entry in self.meta.get("noise") or []]

    def inputs(self) -> dict[str, Any]:
        """Arguments; `cond.state` and `obs/state` are entries of dict arguments."""
        separator = "." if self.is_module_dialect else "/"
        nested: dict[str, Any] = {}
        for key, value in self.under("in/").items():
            *parents, last = key.split(separator)
            place = nested
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = value
        return nested

    def parameters(self) -> dict[str, np.ndarray]:
        """The state dict: stored, regenerated from a seed, with restored aliases."""
        state = self.under("param/")
        source = self.meta.get("param_source")
        if source:
            state = regenerate(source, state)
        for alias, original in (self.meta.get("alias") or {}).items():
            for key in list(state):
                if key.startswith(original):
                    state.setdefault(alias + key.removeprefix(original), state[key])
        return state

    def find(self, name: str) -> Path:
        """A file that belongs to the case: beside it, or in this package's folder.

        Raises:
            FileNotFoundError: It is in neither place.
        """
        for folder in self.folders():
            if (folder / name).is_file():
                return folder / name
        raise FileNotFoundError(
            f"{name}: not in {' nor '.join(map(str, self.folders()))}"
        )

    def folders(self) -> list[Path]:
        """Where files that belong to the case may lie."""
        return [self.path.parent, HERE / self.meta.get("area", "")]


def load_case(path: str | Path) -> Case:
    """Reads a case file.

    Raises:
        ValueError: The file has no `meta`.
    """
    path = Path(path)
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    if "meta" not in arrays:
        raise ValueError(f"{path} has no 'meta', so it is not a parity case.")
    return Case(path, json.loads(str(arrays.pop("meta"))), arrays)


def regenerate(
    source: Mapping[str, Any], stored: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Parameters of a seeded case: offset + scale * uniform(-1, 1), key by key.

    Args:
        source: `meta["param_source"]`.
        stored: Parameters that are in the file because their scale is null.
    """
    if source["type"] != "numpy.random.RandomState":
        raise ValueError(f"param_source.type is {source['type']!r}, unknown.")
    # The recorded values come from NumPy's legacy generator.
    state = np.random.RandomState(source["seed"])  # noqa: NPY002
    values = {}
    for key, scale in source["scales"].items():
        if scale is None:
            values[key] = stored[key]
            continue
        draw = state.uniform(-1, 1, size=source["shapes"][key])
        values[key] = np.asarray(scale[0] + scale[1] * draw).astype(np.float32)
    return values


def summarise_array(value: np.ndarray) -> np.ndarray:
    """The recorded digest: sum, l2 norm, max abs and eight elements, NaN padded."""
    flat = np.asarray(value, np.float64).ravel()
    at = np.unique(np.linspace(0, flat.size - 1, 8).astype(np.int64))
    row = np.full(11, np.nan)
    row[:3] = flat.sum(), np.sqrt((flat**2).sum()), np.abs(flat).max()
    row[3 : 3 + len(at)] = flat[at]
    return row
