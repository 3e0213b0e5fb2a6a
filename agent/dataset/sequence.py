"""Chunks of actions with observation histories from episodes stitched along axis 0.

A dataset is an index: pairs (start row, steps of the episode before it). Items never
cross the end of an episode and are never padded; a history that reaches before the
first step repeats that step. Loading never normalises: the file holds values in
[-1, 1]. Departures from the reference: a whole batch is gathered at once, in NumPy or
inside a compiled function; the next state of a transition is the one the environment
showed; a validation split exists; bad files are refused.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from agent.dataset.arrays import read_arrays
from agent.dataset.gather import (
    Batch,
    Data,
    Transition,
    TransitionWithReturn,
    discounted_returns,
    gather_sequences,
    gather_transitions,
)
from util.compat import compat
from util.device import select_device

log = logging.getLogger(__name__)

__all__ = [
    "Batch",
    "NoItemsError",
    "StitchedSequenceDataset",
    "StitchedSequenceQLearningDataset",
    "Transition",
    "TransitionWithReturn",
]


def _check_sizes(sizes: tuple[int, int, int], max_n_episodes: int) -> None:
    horizon, cond, img_cond = sizes
    named = {
        "horizon_steps": horizon,
        "cond_steps": cond,
        "img_cond_steps": img_cond,
        "max_n_episodes": max_n_episodes,
    }
    for name, value in named.items():
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}.")
    if img_cond > cond:
        raise ValueError(
            f"img_cond_steps must be <= cond_steps={cond}, got {img_cond}."
        )


class NoItemsError(ValueError):
    """No episode is long enough for a single item."""


class StitchedSequenceDataset:
    """Chunks of `horizon_steps` actions with the observations before each.

    Args:
        dataset_path: `.npz` (or `.pkl`) with states, actions, traj_lengths and,
            if `use_img`, images.
        horizon_steps: Ta, actions per item.
        cond_steps: To, observations per item.
        img_cond_steps: Images per item, at most `cond_steps`.
        max_n_episodes: Only the first this many episodes are used.
        use_img: Whether items have images.
        device: Where `tensors()` puts the data; see `util.device`.

    Raises:
        ValueError: If a size is below 1 or the file cannot be trained on.
        NoItemsError: If no episode is as long as `horizon_steps`.
    """

    def __init__(
        self,
        dataset_path: str | Path,
        horizon_steps: int = 64,
        cond_steps: int = 1,
        img_cond_steps: int = 1,
        max_n_episodes: int = 10000,
        use_img: bool = False,
        device: str = "auto",
    ) -> None:
        self.sizes = (horizon_steps, cond_steps, img_cond_steps)
        _check_sizes(self.sizes, max_n_episodes)
        self.dataset_path, self.device = str(dataset_path), device
        names = ["states", "actions", "traj_lengths", *self._extra_arrays()]
        read = read_arrays(dataset_path, names + ["images"] * use_img)
        lengths = read.pop("traj_lengths")[:max_n_episodes]
        self.traj_lengths = lengths
        rows = int(lengths.sum())
        self.data: Data = {name: array[:rows] for name, array in read.items()}
        self._build_index(self._starts_per_episode(lengths))
        shapes = {name: array.shape for name, array in self.data.items()}
        log.info("Loaded %s: %d episodes, %s", dataset_path, len(lengths), shapes)

    def _extra_arrays(self) -> list[str]:
        """Arrays a subclass needs besides states, actions and traj_lengths."""
        return []

    def _starts_per_episode(self, lengths: np.ndarray) -> np.ndarray:
        """How many chunks start in each episode. (n_episodes,)."""
        return np.maximum(lengths - self.sizes[0] + 1, 0)

    def _build_index(self, counts: np.ndarray) -> None:
        """Sets starts, num_before and num_after, episode by episode."""
        if not counts.any():
            raise NoItemsError(
                f"{self.dataset_path}: no episode is long enough for horizon_steps="
                f"{self.sizes[0]}; the longest of {len(counts)} has "
                f"{self.traj_lengths.max(initial=0)} steps."
            )
        first_row = np.cumsum(self.traj_lengths) - self.traj_lengths
        first_item = np.cumsum(counts) - counts
        before = np.arange(counts.sum()) - np.repeat(first_item, counts)
        after = np.repeat(self.traj_lengths - 1, counts) - before
        self._index = {
            "starts": (np.repeat(first_row, counts) + before).astype(np.int32),
            "num_before": before.astype(np.int32),
            "num_after": after.astype(np.int32),
        }
        self._use(np.arange(counts.sum()))

    def _use(self, positions: np.ndarray) -> None:
        """Makes these positions of the full index the items of this dataset."""
        for name, column in self._index.items():
            self.data[name] = column[positions]

    @property
    def states(self) -> np.ndarray:
        """(N, Do), float32."""
        return self.data["states"]

    @property
    def actions(self) -> np.ndarray:
        """(N, Da), float32."""
        return self.data["actions"]

    @property
    def images(self) -> np.ndarray | None:
        """(N, C, H, W) as stored, or None."""
        return self.data.get("images")

    @property
    def starts(self) -> np.ndarray:
        """First row of each item. (M,), int32."""
        return self.data["starts"]

    @property
    def num_before(self) -> np.ndarray:
        """Steps of the episode before each item. (M,), int32."""
        return self.data["num_before"]

    @property
    def indices(self) -> np.ndarray:
        """Pairs (start, steps before it). (M, 2), int64."""
        return np.stack([self.starts, self.num_before], axis=1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, position: int) -> Any:
        """One item, with the fields of `gather` but no batch axis."""
        batch = self.gather(np.array([range(len(self))[position]]))
        return tf.nest.map_structure(lambda array: array[0], batch)

    @staticmethod
    def _checked(positions: np.ndarray, count: int) -> np.ndarray:
        """The positions, if they are a vector of integers in [0, count)."""
        positions = np.asarray(positions)
        if positions.ndim != 1 or positions.dtype.kind not in "iu":
            raise TypeError(
                f"positions must be integers of shape (B,), got {positions.dtype} "
                f"{positions.shape}."
            )
        if len(positions) and not 0 <= positions.min() <= positions.max() < count:
            raise IndexError(
                f"positions must lie in [0, {count}), got {positions.min()} to "
                f"{positions.max()}."
            )
        return positions

    def gather(self, positions: np.ndarray) -> Any:
        """Several items at once.

        Args:
            positions: (B,), integers in [0, len(self)).

        Returns:
            A `Batch` (in the subclass a `Transition`) of NumPy arrays.

        Raises:
            TypeError: If positions are not a vector of integers.
            IndexError: If a position is out of range.
        """
        return gather_sequences(
            np, self.data, self._checked(positions, len(self)), self.sizes
        )

    def as_arrays(self) -> Any:
        """All items in order, as `gather` returns them."""
        return self.gather(np.arange(len(self)))

    def tensors(self) -> dict[str, tf.Tensor]:
        """The data and the index as tensors on `device`, for `gather_tensors`."""
        with tf.device(select_device(self.device)):
            return {name: tf.constant(array) for name, array in self.data.items()}

    @staticmethod
    def gather_tensors(
        tensors: dict[str, tf.Tensor],
        positions: tf.Tensor,
        horizon_steps: int,
        cond_steps: int,
        img_cond_steps: int = 1,
    ) -> Any:
        """As `gather`, made of TensorFlow operations with static shapes.

        Args:
            tensors: What `tensors()` returned.
            positions: (B,), int32 or int64, in range.
            horizon_steps: Ta, a Python integer.
            cond_steps: To, a Python integer.
            img_cond_steps: Images per item, a Python integer.
        """
        sizes = (horizon_steps, cond_steps, img_cond_steps)
        return gather_sequences(tf, tensors, positions, sizes)

    def set_train_val_split(
        self,
        train_split: float,
        rng: np.random.Generator | None = None,
        noise: np.ndarray | None = None,
    ) -> np.ndarray:
        """Keeps a random share of the items, in the order they were drawn.

        Args:
            train_split: Share of the items that stay, in (0, 1].
            rng: Draws them.
            noise: The drawn positions, instead of `rng`.

        Returns:
            Positions (for `subset`) of the items that went, in order.

        Raises:
            ValueError: If the share is not in (0, 1] or leaves no item, or if not
                exactly one of `rng` and `noise` is given.
        """
        total = len(self._index["starts"])
        count = int(total * train_split)
        if not 0.0 < train_split <= 1.0 or count < 1:
            raise ValueError(
                f"train_split must be in (0, 1] and keep one of {total} items, "
                f"got {train_split}."
            )
        if rng is not None and noise is None:
            noise = rng.permutation(total)[:count]
        elif rng is not None or noise is None:
            raise ValueError("Give exactly one of rng and noise.")
        self._use(self._checked(noise, total))
        return np.setdiff1d(np.arange(total), noise)

    def subset(self, positions: np.ndarray) -> Self:
        """The same data with only these items.

        Args:
            positions: Into the index as it was built, before any split.

        Raises:
            TypeError: If positions are not a vector of integers.
            IndexError: If a position is out of range.
        """
        other = copy.copy(self)
        other.data = dict(self.data)
        other._use(self._checked(positions, len(self._index["starts"])))
        return other


class StitchedSequenceQLearningDataset(StitchedSequenceDataset):
    """Transitions for Q-learning.

    The last start of an episode that was truncated is left out, since its next state
    is not in the file.

    Args:
        dataset_path: As in `StitchedSequenceDataset`, with rewards and terminals.
        discount_factor: Per chunk, for the returns.
        get_mc_return: Whether items have returns.
        **kwargs: The other arguments of `StitchedSequenceDataset`.

    Raises:
        ValueError: As `StitchedSequenceDataset`; or if the discount is not in [0, 1].
    """

    def __init__(
        self,
        dataset_path: str | Path,
        discount_factor: float = 1.0,
        get_mc_return: bool = False,
        **kwargs: Any,
    ) -> None:
        if not 0.0 <= discount_factor <= 1.0:
            raise ValueError(
                f"discount_factor must be in [0, 1], got {discount_factor}."
            )
        super().__init__(dataset_path, **kwargs)
        if get_mc_return:
            self.data["reward_to_gos"] = discounted_returns(
                self.data["rewards"],
                self.traj_lengths,
                discount_factor,
                1 if compat("qlearning_zero_next_state") else self.sizes[0],
            )

    def _extra_arrays(self) -> list[str]:
        return ["rewards", "terminals"]

    def _starts_per_episode(self, lengths: np.ndarray) -> np.ndarray:
        terminated = self.data["terminals"][np.cumsum(lengths) - 1] > 0
        log.info("%d of %d episodes end truncated", (~terminated).sum(), len(lengths))
        return np.maximum(lengths - self.sizes[0] + terminated, 0)

    def _use(self, positions: np.ndarray) -> None:
        super()._use(positions)
        if compat("qlearning_zero_next_state"):
            items = np.arange(len(positions))
            self.data["next_exists"] = items < len(items) - self.sizes[0]

    @property
    def rewards(self) -> np.ndarray:
        """(N,), float32."""
        return self.data["rewards"]

    @property
    def terminals(self) -> np.ndarray:
        """(N,), float32, 1 where the episode ended other than by a time limit."""
        return self.data["terminals"]

    @property
    def reward_to_gos(self) -> np.ndarray | None:
        """(N,), float32, or None."""
        return self.data.get("reward_to_gos")

    def gather(self, positions: np.ndarray) -> Any:
        """Several transitions at once; see `StitchedSequenceDataset.gather`."""
        return gather_transitions(
            np, self.data, self._checked(positions, len(self)), self.sizes
        )

    @staticmethod
    def gather_tensors(
        tensors: dict[str, tf.Tensor],
        positions: tf.Tensor,
        horizon_steps: int,
        cond_steps: int,
        img_cond_steps: int = 1,
    ) -> Any:
        """As in `StitchedSequenceDataset`, for transitions."""
        sizes = (horizon_steps, cond_steps, img_cond_steps)
        return gather_transitions(tf, tensors, positions, sizes)
