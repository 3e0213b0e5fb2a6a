"""`torch.distributions`, and the densities they share with the policies.

The classes are ours: the last release of tensorflow-probability, 0.25, dates from 2024
and needs tf-keras, a second Keras. `util.torch_to_tf.mixtures` has the rest of them.

`util.torch_to_tf.distribution` says what is checked. Draws come from the generator of
`torch_manual_seed`, or from `generator`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor, is_tensor
from util.torch_to_tf.distribution import (
    Distribution,
    check_entries,
    extended,
    summed_rightmost,
)
from util.torch_to_tf.dtypes import cast_together, floating
from util.torch_to_tf.random import source_of
from util.torch_to_tf.shapes import torch_tensor_expand
from util.torch_to_tf.sizes import Size, listed, sizes_of


def normal_log_prob(value: tf.Tensor, mean: Any, std: Any) -> tf.Tensor:
    """log N(value; mean, std), elementwise."""
    return (
        -((value - mean) ** 2) / (2.0 * std**2)
        - tf.math.log(std)
        - 0.5 * math.log(2.0 * math.pi)
    )


def normal_entropy(std: tf.Tensor) -> tf.Tensor:
    """1/2 + 1/2 log(2 pi) + log std, elementwise."""
    return 0.5 + 0.5 * math.log(2.0 * math.pi) + tf.math.log(std)


class Normal(Distribution):
    """Normal distributions, one for each entry (`torch.distributions.Normal`).

    Args:
        loc: Means, a number or a tensor.
        scale: Standard deviations; they broadcast to each other.
        validate_args: Whether to check parameters and values; yes by default.

    Raises:
        TypeError: A parameter is no number and no tensor.
        ValueError: A mean is NaN or a standard deviation not positive.

    Example: `Normal(tf.zeros([2, 1]), tf.ones([3])).sample((5,)).shape` gives
        `(5, 2, 3)`.
    """

    has_rsample = True

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        for name, value in (("loc", loc), ("scale", scale)):
            if not (is_tensor(value) or isinstance(value, int | float)):
                raise TypeError(f"{name} must be a number or a tensor, got {value!r}.")
        # As they were given: all but the properties and draws broadcasts by itself.
        self._loc, self._scale = map(floating, cast_together(loc, scale))
        shape = _broadcast_shape(self._loc.shape, self._scale.shape)
        super().__init__(shape, (), validate_args)
        if self.validate_args:
            check_entries("loc", self._loc, lambda x: x == x, "a number")
            check_entries("scale", self._scale, lambda x: x > 0.0, "> 0")

    @property
    def loc(self) -> tf.Tensor:
        """Means, of `batch_shape`."""
        return self._filled(self._loc, self._scale)

    @property
    def scale(self) -> tf.Tensor:
        """Standard deviations, of `batch_shape`."""
        return self._filled(self._scale, self._loc)

    @property
    def mean(self) -> tf.Tensor:
        """`loc`."""
        return self.loc

    @property
    def mode(self) -> tf.Tensor:
        """`loc`."""
        return self.loc

    @property
    def stddev(self) -> tf.Tensor:
        """`scale`."""
        return self.scale

    @property
    def variance(self) -> tf.Tensor:
        """The square of `scale`."""
        return tf.square(self.scale)

    def sizes(self) -> list[Size]:
        """The sizes of `batch_shape`; those that are unknown as tensors."""
        if None not in self.batch_shape:
            return list(self.batch_shape)
        for one, other in ((self._loc, self._scale), (self._scale, self._loc)):
            if _covers(one.shape, other.shape):
                return sizes_of(one)
        shape = tf.broadcast_dynamic_shape(tf.shape(self._loc), tf.shape(self._scale))
        return [shape[i] if n is None else n for i, n in enumerate(self.batch_shape)]

    def expand(self, batch_shape: Sequence[Size]) -> Normal:
        """The same distributions repeated along new axes and those of size 1."""
        loc, scale = (
            torch_tensor_expand(x, batch_shape) for x in (self.loc, self.scale)
        )
        new = Normal(loc, scale, validate_args=False)
        new.validate_args = self.validate_args
        return new

    def rsample(
        self, sample_shape: Sequence[Size] = (), generator: Any = None
    ) -> tf.Tensor:
        """loc + scale * noise, of shape (*sample_shape, *batch_shape)."""
        shape = extended(sample_shape, self.sizes())
        source = source_of(generator)
        return source.normal(shape, self._loc, self._scale, self._loc.dtype)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """The logarithm of the density."""
        return normal_log_prob(*self._with(value))

    def cdf(self, value: tf.Tensor) -> tf.Tensor:
        """The probability of draws <= value."""
        value, loc, scale = self._with(value)
        return 0.5 * (1.0 + tf.math.erf((value - loc) / scale / math.sqrt(2.0)))

    def icdf(self, value: tf.Tensor) -> tf.Tensor:
        """Where `cdf` has this value; NaN outside of [0, 1]."""
        value, loc, scale = cast_together(
            as_tensor(value, "value"), self._loc, self._scale
        )
        return loc + scale * tf.math.erfinv(2.0 * value - 1.0) * math.sqrt(2.0)

    def entropy(self) -> tf.Tensor:
        """1/2 + 1/2 log(2 pi) + log scale."""
        return normal_entropy(self.scale)

    def _with(self, value: tf.Tensor) -> list[tf.Tensor]:
        """A checked value, loc and scale, in one type."""
        value = as_tensor(value, "value")
        if self.validate_args:
            self.check_value(value)
        return cast_together(value, self._loc, self._scale)

    def _filled(self, own: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
        """A parameter in the size of the batch, which both decide."""
        if own is other or _covers(own.shape, other.shape):
            return own
        return tf.broadcast_to(own, self.sizes())


class Independent(Distribution):
    """Takes the last axes of a batch as one event (`torch.distributions.Independent`).

    Args:
        base_distribution: Distributions.
        reinterpreted_batch_ndims: How many axes of their batch.
        validate_args: As PyTorch has it; the base distribution checks values.

    Raises:
        ValueError: There are not that many axes.

    Example: `Independent(Normal(tf.zeros([5, 2]), 1.0), 1).entropy().shape` gives
        `(5,)`.
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        batch, count = base_distribution.batch_shape, reinterpreted_batch_ndims
        if not 0 <= count <= len(batch):
            raise ValueError(
                f"reinterpreted_batch_ndims must be in [0, {len(batch)}] for "
                f"batch_shape={batch}, got {count}."
            )
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, count
        self.has_rsample = base_distribution.has_rsample
        self.has_enumerate_support = (
            base_distribution.has_enumerate_support and not count
        )
        shape, rest = batch + base_distribution.event_shape, len(batch) - count
        super().__init__(shape[:rest], shape[rest:], validate_args)

    @property
    def mean(self) -> tf.Tensor:
        """That of the base."""
        return self.base_dist.mean

    @property
    def mode(self) -> tf.Tensor:
        """That of the base."""
        return self.base_dist.mode

    @property
    def variance(self) -> tf.Tensor:
        """That of the base."""
        return self.base_dist.variance

    def sizes(self) -> list[Size]:
        """The sizes of `batch_shape`; those that are unknown as tensors."""
        return self.base_dist.sizes()[: len(self.batch_shape)]

    def expand(self, batch_shape: Sequence[Size]) -> Independent:
        """The same distributions repeated along new axes and those of size 1."""
        count = self.reinterpreted_batch_ndims
        own = self.base_dist.sizes()[len(self.batch_shape) :]
        base = self.base_dist.expand([*listed(batch_shape, "batch_shape"), *own])
        return Independent(base, count, self.validate_args)

    def sample(
        self, sample_shape: Sequence[Size] = (), generator: Any = None
    ) -> tf.Tensor:
        """Those of the base."""
        return self.base_dist.sample(sample_shape, generator)

    def rsample(
        self, sample_shape: Sequence[Size] = (), generator: Any = None
    ) -> tf.Tensor:
        """Those of the base."""
        return self.base_dist.rsample(sample_shape, generator)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """The sum over the entries of an event."""
        found = self.base_dist.log_prob(value)
        return summed_rightmost(found, self.reinterpreted_batch_ndims)

    def entropy(self) -> tf.Tensor:
        """The sum over the entries of an event."""
        found = self.base_dist.entropy()
        return summed_rightmost(found, self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> tf.Tensor:
        """Those of the base, if no axis was taken."""
        if self.reinterpreted_batch_ndims:
            raise self.lack("enumerate_support for several entries")
        return self.base_dist.enumerate_support(expand)

    def in_support(self, value: tf.Tensor) -> tf.Tensor:
        """Which entries are possible."""
        return self.base_dist.in_support(value)


def _broadcast_shape(loc: tf.TensorShape, scale: tf.TensorShape) -> tuple:
    try:
        return tuple(tf.broadcast_static_shape(loc, scale))
    except ValueError:
        raise ValueError(
            f"loc and scale must broadcast, got shapes {tuple(loc)} and {tuple(scale)}."
        ) from None


def _covers(own: tf.TensorShape, other: tf.TensorShape) -> bool:
    """Whether a tensor has, for sure, the size that both broadcast to."""
    if own.rank < other.rank:
        return False
    pairs = zip(reversed(tuple(own)), reversed(tuple(other)), strict=False)
    return all(
        theirs == 1 or (mine == theirs and mine is not None) for mine, theirs in pairs
    )
