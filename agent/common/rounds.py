"""Rounds of gradient steps on batches of stored rows, many in one compiled call.

An extra file next to `learner.py`: most algorithms that learn from a buffer take their
steps in rounds (critic, actor, slow copies), hundreds of them for each rollout.

Rounds of diffusion policies on a processor are plain graphs: with batches of 256 rows
or more nearly all time goes into products of matrices, and XLA's are no faster, those
of the gradients of weights slower (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Batch = Mapping[str, Any]
Losses = dict[str, tf.Tensor]


class Rounds:
    """Takes rounds one by one, or a block of them without the host in between.

    Args:
        step: One round (compiled): from a batch, flags and recorded draws, if any, to
            scalars by name.
        names: Those of the scalars.
        per_block: Rounds in one call.
        jit: Whether XLA compiles them, else they are a plain graph.
    """

    def __init__(
        self,
        step: Callable[[Batch, Batch, list | None], Losses],
        names: Sequence[str],
        per_block: int = 32,
        jit: bool = True,
    ) -> None:
        self.step, self.names, self.per_block = step, names, per_block
        self.single = tf.function(step, jit_compile=jit)
        self.block = tf.function(self._block, jit_compile=jit)

    def _block(self, batches: Batch, flags: Batch) -> Losses:
        """Rounds on batches (N, B, ...); scalars of the last one."""
        count = tf.nest.flatten(batches)[0].shape[0]

        def body(i: tf.Tensor, _: Losses) -> tuple[tf.Tensor, Losses]:
            batch = tf.nest.map_structure(lambda value: value[i], batches)
            return i + 1, self.step(batch, flags, None)

        start = {name: tf.constant(0.0) for name in self.names}
        return tf.while_loop(
            lambda i, _: i < count,
            body,
            (tf.constant(0), start),
            parallel_iterations=1,
            maximum_iterations=count,
        )[1]

    def sizes(self, count: int, one_by_one: bool) -> list[int]:
        """How many rounds of `count` each call takes."""
        blocks, rest = divmod(0 if one_by_one else count, self.per_block)
        return [self.per_block] * blocks + [1] * (count if one_by_one else rest)

    def __call__(self, batches: Batch, flags: Batch, noise: list | None) -> Losses:
        """Takes the rounds on batches (N, B, ...), N of `sizes`.

        Args:
            batches: NumPy arrays or tensors.
            flags: Boolean tensors that hold for all rounds.
            noise: Recorded draws of a single round.
        """
        if len(tf.nest.flatten(batches)[0]) == self.per_block > 1:
            return self.block(as_tensors(batches), flags)
        single = tf.nest.map_structure(lambda value: value[0], batches)
        return self.single(as_tensors(single), flags, noise)


def jit_where(params: Sequence[keras.Variable]) -> bool:
    """Whether XLA is to compile rounds that train a diffusion policy: off processors.

    Args:
        params: Trained variables, which are where the rounds are computed.
    """
    return "CPU" not in params[0].value.device


def as_tensors(batch: Batch) -> Batch:
    """Arrays as tensors, so that compiled code is traced once."""
    return tf.nest.map_structure(tf.convert_to_tensor, batch)


def as_rows(batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A buffer's columns with observations as the models take them."""
    return {
        key: {"state": value} if key in ("obs", "next_obs") else value
        for key, value in batch.items()
    }


def with_discount(batch: Batch, gamma: float) -> dict[str, Any]:
    """A batch with the discount of its targets, unless rows have their own.

    Args:
        batch: Columns by name; "gamma" if rewards of several steps are summed.
        gamma: Discount per chunk step.
    """
    return {"gamma": gamma, **batch}
