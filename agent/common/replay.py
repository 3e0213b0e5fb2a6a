"""A first-in-first-out buffer of transitions in preallocated arrays."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.common.row_file import RowFile, Rows

logger = logging.getLogger(__name__)


class ReplayBuffer:
    """Keeps the newest `capacity` rows of named arrays.

    Memory is taken in blocks as the buffer fills, so a large capacity costs nothing
    before it is used. Its limit is logged when the first rows come.

    Args:
        capacity: Rows kept.
        folder: Where its rows are saved, new ones only, see `row_file.py`; None puts
            all of them into the state.
    """

    block = 65536

    def __init__(self, capacity: int, folder: Path | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"buffer_size must be >= 1, got {capacity}.")
        self.capacity = capacity
        self.arrays: dict[str, np.ndarray] = {}
        self._size = 0
        # Rows are numbered as they come. This is the number of the next one, and that
        # of the row which was first at the place 0.
        self._added, self._base = 0, 0
        self._file = RowFile(folder) if folder is not None else None
        self._changed = False

    def __len__(self) -> int:
        return self._size

    def add(self, rows: Mapping[str, np.ndarray]) -> None:
        """Appends rows; all arrays have the same length.

        Raises:
            ValueError: Names or shapes differ from earlier rows.
        """
        count = len(next(iter(rows.values())))
        if not self.arrays:
            self.arrays = {
                key: np.empty((0, *value.shape[1:]), value.dtype)
                for key, value in rows.items()
            }
            self._state_memory()
        self._check(rows, count)
        count = min(count, self.capacity)
        self._grow(count)
        at = self._places(self._size + np.arange(count))
        for key, value in rows.items():
            self.arrays[key][at] = value[len(value) - count :]
        self._added += count
        self._size = min(self._size + count, self.capacity)

    def _state_memory(self) -> None:
        row = sum(v.dtype.itemsize * int(np.prod(v.shape[1:])) for v in self._columns())
        logger.info(
            "replay buffer: at most %d rows of %d bytes, %.1f MiB of memory.",
            self.capacity,
            row,
            self.capacity * row / 2**20,
        )

    def _columns(self) -> list[np.ndarray]:
        return list(self.arrays.values())

    def _check(self, rows: Mapping[str, np.ndarray], count: int) -> None:
        if set(rows) != set(self.arrays):
            raise ValueError(
                f"rows have {sorted(rows)}, the buffer has {sorted(self.arrays)}."
            )
        for key, value in rows.items():
            expected = (count, *self.arrays[key].shape[1:])
            if value.shape != expected:
                raise ValueError(f"{key} has shape {value.shape}, expected {expected}.")

    def _grow(self, count: int) -> None:
        held = len(self._columns()[0])
        needed = min(self._size + count, self.capacity)
        if needed <= held:
            return
        target = min(max(needed, held + self.block), self.capacity)
        for key, value in self.arrays.items():
            grown = np.empty((target, *value.shape[1:]), value.dtype)
            grown[:held] = value
            self.arrays[key] = grown

    def take(self, indices: np.ndarray) -> Rows:
        """Rows by age, 0 the oldest."""
        at = self._places(indices)
        return {key: value[at] for key, value in self.arrays.items()}

    def _places(self, indices: np.ndarray) -> np.ndarray:
        """Where rows are, by age."""
        return (self._oldest - self._base + indices) % self.capacity

    @property
    def _oldest(self) -> int:
        """Number of the oldest row."""
        return self._added - self._size

    def put(self, indices: np.ndarray, **columns: np.ndarray) -> None:
        """Overwrites columns of rows by age; the last one of equal indices counts."""
        at = self._places(indices)
        for key, value in columns.items():
            self.arrays[key][at] = value
        if self._file is not None and len(indices):
            first = self._oldest + int(np.min(indices))
            self._changed |= first < self._file.end

    # -- saving -----------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """All rows by age, or where they are after new ones were written."""
        own = {"size": self._size, "added": self._added}
        if self._file is None or not self.arrays:
            return {"arrays": self.take(np.arange(self._size)), **own}
        self._write(self._file)
        return {"saved": self._file.get_state(), **own}

    def _write(self, file: RowFile) -> None:
        """Appends the rows that are not in the file, or begins another one."""
        left = self._oldest - file.first
        lost = file.end < self._oldest
        if file.name is None or self._changed or lost or left > self._size:
            file.begin(self._oldest, self.arrays)
            self._changed = False
        file.append(self._pieces(file.end))

    def _pieces(self, start: int) -> Iterator[Rows]:
        """Rows from number `start` on, a block at a time."""
        for first in range(start, self._added, self.block):
            end = min(first + self.block, self._added)
            yield self.take(np.arange(first, end) - self._oldest)

    def settle(self) -> None:
        """Removes files that only earlier states refer to; the last one is on disk."""
        if self._file is not None:
            self._file.settle()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`; of more rows than fit, the newest stay."""
        size = int(state["size"])
        added = int(state.get("added", size))
        self.arrays, self._size = {}, 0
        self._base = self._added = added - size
        if "arrays" in state:
            if state["arrays"]:
                self.add(_by_age(state, size))
            return
        if self._file is None:
            raise ValueError("the state has its rows in a folder, the buffer has none.")
        self._file.set_state(state["saved"])
        for rows in self._file.read(self._oldest, self.block):
            self.add(rows)


def _by_age(state: Mapping[str, Any], size: int) -> Rows:
    """Rows of a state in the order of age.

    Earlier versions saved them in the order of places, with that of the next row.
    """
    shift = int(state.get("next", 0))
    return {
        k: np.roll(v[:size], -shift % max(size, 1), 0)
        for k, v in state["arrays"].items()
    }
