"""What a recorded agent run is replayed with: its draws and variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf


class TapeDraws:
    """Recorded draws of a run in order, in place of `util.seeding.HostDraws`.

    Args:
        names: The reference's function behind each draw.
        values: The draws.
    """

    def __init__(self, names: Sequence[str], values: Sequence[np.ndarray]) -> None:
        self._tape = list(zip(names, values, strict=True))
        self._next = 0
        self.chosen: list[np.ndarray] = []

    @property
    def left(self) -> int:
        """Draws that nobody asked for."""
        return len(self._tape) - self._next

    def _pop(self, kinds: Sequence[str], shape: Sequence[int] | None) -> np.ndarray:
        if not self.left:
            raise ValueError(
                f"a draw of {kinds[0]} beyond the end of the recorded run."
            )
        name, value = self._tape[self._next]
        if not any(kind in name for kind in kinds):
            raise ValueError(
                f"draw {self._next} is {name} in the recorded run, {kinds[0]} here."
            )
        if shape is not None and tuple(shape) != value.shape:
            raise ValueError(
                f"draw {self._next} has shape {value.shape} in the recorded run, "
                f"{tuple(shape)} here."
            )
        self._next += 1
        return value

    def permutation(self, n: int) -> np.ndarray:
        """The recorded order of n rows."""
        return self._pop(["randperm", "shuffle"], (n,))

    def choice(self, n: int, size: int, replace: bool = True) -> np.ndarray:
        """The recorded indices; the last ones stay in `chosen`."""
        self.chosen.append(self._pop(["choice"], (size,)))
        return self.chosen[-1]

    def integers(self, high: int, shape: Sequence[int]) -> np.ndarray:
        """The recorded integers."""
        return self._pop(["randint"], None).reshape(shape)

    def action_sample(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The recorded random actions."""
        return self._pop(["action_space.sample"], low.shape)

    def policy_noise(self, count: int, shape: Sequence[int]) -> list[tf.Tensor]:
        """`count` recorded normal draws of `shape`."""
        kinds = ["randn", "standard_normal"]
        return [tf.constant(self._pop(kinds, shape)) for _ in range(count)]

    replays = True

    def recorded(self, count: int) -> list[tf.Tensor]:
        """The next `count` draws of a model."""
        kinds = ["torch.rand", "uniform", "multinomial", "standard_normal", "randn"]
        return [tf.constant(self._pop(kinds, None)) for _ in range(count)]

    def loss_noise(self) -> list[tf.Tensor] | None:
        """All draws up to the next permutation or the next loss; None if there is none.

        A diffusion loss draws steps, then noise; a Gaussian loss draws nothing.
        """
        drawn: list[tf.Tensor] = []
        while self.left:
            name, value = self._tape[self._next]
            if "randperm" in name or (drawn and "randint" in name):
                break
            drawn.append(tf.constant(value))
            self._next += 1
        return drawn or None


class Recorder:
    """Collects variables under `out/<label>/<n>/<name>`, n counted for each label."""

    def __init__(self) -> None:
        self.produced: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def count(self, label: str) -> int:
        """How often `label` was passed."""
        return self._counts.get(label, 0)

    def add(self, label: str, values: Mapping[str, Any]) -> None:
        """Stores copies of the variables of one passage."""
        number = self.count(label)
        self._counts[label] = number + 1
        for name, value in values.items():
            self.produced[f"out/{label}/{number}/{name}"] = np.array(value)
