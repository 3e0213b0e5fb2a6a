"""A first-in-first-out buffer of transitions in preallocated arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agent.common.rollout import Rollout


def transitions(rollout: Rollout, reward_scale: float) -> dict[str, np.ndarray]:
    """Rows (S * E) of a rollout; rewards scaled, episodes not crossed.

    Steps in which the simulator broke are left out.
    """
    next_obs, sound = rollout.next_obs(), ~rollout.broken
    rows = {
        "obs": rollout.obs["state"],
        "next_obs": next_obs["state"],
        "actions": rollout.actions,
        "rewards": rollout.rewards * reward_scale,
        "terminated": rollout.terminated,
    }
    return {key: value[sound].astype(np.float32) for key, value in rows.items()}


class ReplayBuffer:
    """Keeps the newest `capacity` rows of named arrays.

    Memory is taken in blocks as the buffer fills, so a large capacity costs nothing
    before it is used.

    Args:
        capacity: Rows kept.
    """

    block = 65536

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"buffer_size must be >= 1, got {capacity}.")
        self.capacity = capacity
        self.arrays: dict[str, np.ndarray] = {}
        self._size = 0
        self._next = 0

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
        self._check(rows, count)
        count = min(count, self.capacity)
        self._grow(count)
        at = (self._next + np.arange(count)) % self.capacity
        for key, value in rows.items():
            self.arrays[key][at] = value[-count:]
        self._next = int((self._next + count) % self.capacity)
        self._size = min(self._size + count, self.capacity)

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
        held = len(next(iter(self.arrays.values())))
        needed = min(self._size + count, self.capacity)
        if needed <= held:
            return
        target = min(max(needed, held + self.block), self.capacity)
        for key, value in self.arrays.items():
            grown = np.empty((target, *value.shape[1:]), value.dtype)
            grown[:held] = value
            self.arrays[key] = grown

    def take(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Rows by age, 0 the oldest."""
        at = self._places(indices)
        return {key: value[at] for key, value in self.arrays.items()}

    def _places(self, indices: np.ndarray) -> np.ndarray:
        """Where rows are, by age."""
        oldest = self._next if self._size == self.capacity else 0
        return (oldest + indices) % max(self._size, 1)

    def put(self, indices: np.ndarray, **columns: np.ndarray) -> None:
        """Overwrites columns of rows by age; the last one of equal indices counts."""
        at = self._places(indices)
        for key, value in columns.items():
            self.arrays[key][at] = value

    def get_state(self) -> dict[str, Any]:
        """Filled rows and positions."""
        return {
            "arrays": {key: value[: self._size] for key, value in self.arrays.items()},
            "size": self._size,
            "next": self._next,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`."""
        self.arrays = {key: np.array(v) for key, v in state["arrays"].items()}
        self._size, self._next = int(state["size"]), int(state["next"])
