"""Gathers batches by position: the same equations in NumPy and in TensorFlow.

`data` is a mapping with states, actions, starts, num_before (and images); transitions
also need num_after, rewards, terminals (and reward_to_gos). With next_exists, (M,)
bool, transitions are those of the reference: zeros where there is no next state, and
reward and terminal of the first step of a chunk only.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

Data = dict[str, Any]


class Batch(NamedTuple):
    """Action chunks and what was observed before them.

    Attributes:
        actions: (B, Ta, Da), float32.
        conditions: "state" (B, To, Do), oldest first; with images "rgb"
            (B, To_img, C, H, W) as stored.
    """

    actions: Any
    conditions: dict[str, Any]


class Transition(NamedTuple):
    """A batch for Q-learning.

    Attributes:
        actions: (B, Ta, Da), float32.
        conditions: As in `Batch`, and "next_state" (B, To, Do), Ta rows later.
        rewards: (B, 1), sum over the chunk.
        dones: (B, 1), 1 if the episode terminates within the chunk.
    """

    actions: Any
    conditions: dict[str, Any]
    rewards: Any
    dones: Any


class TransitionWithReturn(NamedTuple):
    """`Transition` and the discounted return from its first step on.

    Attributes:
        actions: (B, Ta, Da), float32.
        conditions: As in `Transition`.
        rewards: (B, 1).
        dones: (B, 1).
        reward_to_gos: (B, 1), without bootstrap where the episode was truncated.
    """

    actions: Any
    conditions: dict[str, Any]
    rewards: Any
    dones: Any
    reward_to_gos: Any


def _take(library: ModuleType, array: Any, rows: Any) -> Any:
    """Rows of `array` along axis 0, in NumPy or in TensorFlow."""
    return array[rows] if library is np else tf.gather(array, rows)


def _steps_back(steps: int) -> np.ndarray:
    """How far back each entry of a history lies: steps - 1 ... 0. (1, steps)."""
    return np.arange(steps - 1, -1, -1, dtype=np.int32)[None]


def gather_sequences(
    library: ModuleType, data: Data, positions: Any, sizes: tuple[int, int, int]
) -> Batch:
    """Items of a `StitchedSequenceDataset`.

    Args:
        library: numpy or tensorflow.
        data: Arrays or tensors, see the module.
        positions: (B,), positions in the index.
        sizes: horizon_steps, cond_steps, img_cond_steps.
    """
    horizon, cond, img_cond = sizes
    starts = _take(library, data["starts"], positions)[:, None]
    before = _take(library, data["num_before"], positions)[:, None]
    chunk = starts + np.arange(horizon, dtype=np.int32)[None]
    conditions = {
        "state": _take(
            library,
            data["states"],
            starts - library.minimum(_steps_back(cond), before),
        )
    }
    if "images" in data:
        rows = starts - library.minimum(_steps_back(img_cond), before)
        conditions["rgb"] = _take(library, data["images"], rows)
    return Batch(_take(library, data["actions"], chunk), conditions)


def _next_rows(
    library: ModuleType, data: Data, positions: Any, sizes: tuple[int, int, int]
) -> Any:
    """Rows of the history seen after the chunk, all within the episode. (B, To)."""
    horizon, cond, _ = sizes
    starts = _take(library, data["starts"], positions)[:, None]
    before = _take(library, data["num_before"], positions)[:, None]
    after = _take(library, data["num_after"], positions)[:, None]
    ahead = np.int32(horizon) - _steps_back(cond)
    return starts + library.minimum(library.maximum(ahead, -before), after)


def _next_state(
    library: ModuleType, data: Data, positions: Any, sizes: tuple[int, int, int]
) -> Any:
    """The next observation history; as in the reference if data asks for that."""
    if "next_exists" not in data:
        rows = _next_rows(library, data, positions, sizes)
        return _take(library, data["states"], rows)
    horizon, cond, _ = sizes
    starts = _take(library, data["starts"], positions)[:, None]
    before = _take(library, data["num_before"], positions)[:, None]
    last_row = np.int32(data["states"].shape[0] - 1)
    rows = starts + np.int32(horizon) - library.minimum(_steps_back(cond), before)
    states = _take(library, data["states"], library.minimum(rows, last_row))
    exists = _take(library, data["next_exists"], positions)[:, None, None]
    return library.where(exists, states, library.zeros_like(states))


def gather_transitions(
    library: ModuleType, data: Data, positions: Any, sizes: tuple[int, int, int]
) -> Transition | TransitionWithReturn:
    """Items of a `StitchedSequenceQLearningDataset`; arguments as above."""
    actions, seen = gather_sequences(library, data, positions, sizes)
    next_state = _next_state(library, data, positions, sizes)
    conditions = {"state": seen.pop("state"), "next_state": next_state, **seen}
    starts = _take(library, data["starts"], positions)[:, None]
    flagged = 1 if "next_exists" in data else sizes[0]
    dones, rewards = (_take(library, data[k], starts) for k in ("terminals", "rewards"))
    for step in range(1, flagged):
        rows = starts + np.int32(step)
        dones = library.maximum(dones, _take(library, data["terminals"], rows))
        rewards = rewards + _take(library, data["rewards"], rows)
    if "reward_to_gos" not in data:
        return Transition(actions, conditions, rewards, dones)
    reward_to_gos = _take(library, data["reward_to_gos"], starts)
    return TransitionWithReturn(actions, conditions, rewards, dones, reward_to_gos)


def discounted_returns(
    rewards: np.ndarray,
    lengths: np.ndarray,
    discount_factor: float,
    chunk: int = 1,
) -> np.ndarray:
    """G_t = r_t + ... + r_{t+H-1} + discount_factor * G_{t+H} within each episode.

    Doubles the number of summed steps per pass instead of looping over steps.

    Args:
        rewards: (N,), of all episodes stitched.
        lengths: (n_episodes,), summing to N.
        discount_factor: Per chunk.
        chunk: H.

    Returns:
        (N,), float32.
    """
    returns = rewards.astype(np.float64)
    rows = np.arange(len(rewards))
    steps_left = np.repeat(np.cumsum(lengths), lengths) - rows
    for step in range(1, chunk):
        longer = rows[steps_left > step]
        returns[longer] += rewards[longer + step]
    summed = 1
    while summed * chunk < lengths.max(initial=0):
        longer = rows[steps_left > summed * chunk]
        returns[longer] += discount_factor**summed * returns[longer + summed * chunk]
        summed *= 2
    return returns.astype(np.float32)
