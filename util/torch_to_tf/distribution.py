"""What the distributions share: shapes, checks, and what they may lack.

Parameters and values are checked where code runs eagerly; in a graph only numbers and
constants are, and the checks add nothing to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.sizes import Size, as_sizes, listed


class Distribution:
    """What all distributions have.

    Args:
        batch_shape: Sizes of the distributions; None for one known at run time only.
        event_shape: Sizes of one draw of one distribution.
        validate_args: Whether to check parameters and values; yes by default.
    """

    has_rsample = False
    has_enumerate_support = False

    def __init__(
        self,
        batch_shape: Sequence[int | None],
        event_shape: Sequence[int | None] = (),
        validate_args: bool | None = None,
    ) -> None:
        self.batch_shape, self.event_shape = tuple(batch_shape), tuple(event_shape)
        self.validate_args = validate_args is None or bool(validate_args)

    @property
    def mean(self) -> tf.Tensor:
        """The mean."""
        raise self.lack("mean")

    @property
    def mode(self) -> tf.Tensor:
        """Where the density is largest."""
        raise self.lack("mode")

    @property
    def variance(self) -> tf.Tensor:
        """The variance."""
        raise self.lack("variance")

    @property
    def stddev(self) -> tf.Tensor:
        """The standard deviation."""
        return tf.sqrt(self.variance)

    def expand(self, batch_shape: Sequence[Size]) -> Distribution:
        """The same distributions repeated along new axes and those of size 1."""
        raise self.lack("expand")

    def sample(
        self, sample_shape: Sequence[Size] = (), generator: Any = None
    ) -> tf.Tensor:
        """Draws of shape (*sample_shape, *batch_shape, *event_shape), no gradient."""
        return tf.stop_gradient(self.rsample(sample_shape, generator))

    def rsample(
        self, sample_shape: Sequence[Size] = (), generator: Any = None
    ) -> tf.Tensor:
        """Draws with a gradient to the parameters."""
        raise self.lack("rsample")

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """The logarithm of the density or the probability."""
        raise self.lack("log_prob")

    def cdf(self, value: tf.Tensor) -> tf.Tensor:
        """The probability of draws <= value."""
        raise self.lack("cdf")

    def icdf(self, value: tf.Tensor) -> tf.Tensor:
        """Where `cdf` has this value."""
        raise self.lack("icdf")

    def entropy(self) -> tf.Tensor:
        """The entropy of each distribution, in nats."""
        raise self.lack("entropy")

    def enumerate_support(self, expand: bool = True) -> tf.Tensor:
        """All values, along a new first axis."""
        raise self.lack("enumerate_support")

    def in_support(self, value: tf.Tensor) -> tf.Tensor:
        """Which values, or which of their entries, are possible."""
        return value == value  # All but NaN.

    def sizes(self) -> list[Size]:
        """The sizes of `batch_shape`; those that are unknown as tensors."""
        raise NotImplementedError

    def lack(self, name: str) -> NotImplementedError:
        """The error for something that PyTorch has not either."""
        return NotImplementedError(f"{type(self).__name__} has no {name}.")

    def check_value(self, value: tf.Tensor) -> None:
        """Refuses a value that no distribution here could have drawn.

        Raises:
            ValueError: Its shape does not fit, or an entry is not possible.
        """
        expected, shape = self.batch_shape + self.event_shape, tuple(value.shape)
        ends = shape[len(shape) - len(self.event_shape) :]
        pairs = zip(reversed(shape), reversed(expected), strict=False)
        if not same_sizes(ends, self.event_shape) or any(
            None not in pair and 1 not in pair and pair[0] != pair[1] for pair in pairs
        ):
            raise ValueError(
                f"value must have a shape that broadcasts to batch_shape="
                f"{self.batch_shape} and ends in event_shape={self.event_shape}, "
                f"got {shape}."
            )
        check_entries("value", value, self.in_support, "in the support")


def check_entries(
    name: str,
    value: tf.Tensor,
    fits: Callable[[tf.Tensor], tf.Tensor],
    expectation: str,
) -> None:
    """Refuses a tensor with entries that do not fit, if they are known now.

    Raises:
        ValueError: Names the argument and its first such entry.
    """
    known = value if tf.executing_eagerly() else tf.get_static_value(value)
    if known is None:
        return
    with tf.init_scope():  # Nothing of this is part of a graph.
        good = fits(tf.convert_to_tensor(known))
        all_good = bool(tf.reduce_all(good).numpy())
    if not all_good:
        bad = np.asarray(known)[~np.asarray(good)][0]
        raise ValueError(f"{name} must be {expectation} everywhere, got {bad}.")


def extended(sample_shape: Sequence[Size], sizes: Sequence[Size]) -> list[Size]:
    """The sizes of draws."""
    return as_sizes(listed(sample_shape, "sample_shape"), "sample_shape") + list(sizes)


def summed_rightmost(value: tf.Tensor, count: int) -> tf.Tensor:
    """The sum over the last `count` axes."""
    return tf.reduce_sum(value, list(range(-count, 0))) if count else value


def same_sizes(sizes: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    """Whether shapes agree as far as they are known."""
    pairs = zip(sizes, expected, strict=False)
    return len(sizes) == len(expected) and all(
        None in pair or pair[0] == pair[1] for pair in pairs
    )
