"""Distributions of `torch.distributions` over indices, and mixtures of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.distribution import (
    Distribution,
    check_entries,
    extended,
    same_sizes,
)
from util.torch_to_tf.dtypes import cast, floating
from util.torch_to_tf.random import source_of
from util.torch_to_tf.shapes import torch_tensor_expand
from util.torch_to_tf.sizes import Size, listed, size_of, sizes_of

# The distance from 1 to the next number.
_EPSILON = {
    tf.bfloat16: 2.0**-7,
    tf.float16: 2.0**-10,
    tf.float32: 2.0**-23,
    tf.float64: 2.0**-52,
}


class Categorical(Distribution):
    """Indices of the last axis, by probability (`torch.distributions.Categorical`).

    Args:
        probs: Their probabilities, of which only the ratios count.
        logits: The logarithms of these, in their place.
        validate_args: Whether to check parameters and values; yes by default.

    Raises:
        TypeError: A parameter is no tensor.
        ValueError: None or both are given, or have no axis; a probability is negative,
            all are 0, or one is NaN.

    Example: `Categorical(tf.constant([1.0, 3.0])).probs` gives `[0.25, 0.75]`.
    """

    has_enumerate_support = True

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("one of probs and logits must be given, and not both.")
        self.is_of_probs = probs is not None
        name = "probs" if self.is_of_probs else "logits"
        given = floating(as_tensor(probs if self.is_of_probs else logits, name))
        if not given.shape.rank:
            raise ValueError(f"{name} must have an axis, got a scalar.")
        if self.is_of_probs:
            given = given / tf.reduce_sum(given, -1, keepdims=True)
        else:
            given = tf.nn.log_softmax(given)
        self._param = given
        super().__init__(given.shape[:-1], (), validate_args)
        self.num_events = given.shape[-1]
        if self.validate_args and self.is_of_probs:
            check_entries(name, given, _are_probabilities, "probabilities")
        elif self.validate_args:
            check_entries(name, given, lambda x: x == x, "numbers")

    @property
    def probs(self) -> tf.Tensor:
        """The probabilities, normalised."""
        return self._param if self.is_of_probs else tf.nn.softmax(self._param)

    @property
    def logits(self) -> tf.Tensor:
        """Their logarithms; of given probabilities between eps and 1 - eps."""
        if not self.is_of_probs:
            return self._param
        eps = _EPSILON[self._param.dtype]
        return tf.math.log(tf.clip_by_value(self._param, eps, 1.0 - eps))

    @property
    def mean(self) -> tf.Tensor:
        """NaN: indices have none."""
        return tf.fill(self.sizes(), cast(float("nan"), self._param.dtype))

    @property
    def mode(self) -> tf.Tensor:
        """The first index of the largest probability, int64."""
        return tf.argmax(self.probs, -1)

    @property
    def variance(self) -> tf.Tensor:
        """NaN: indices have none."""
        return self.mean

    def sizes(self) -> list[Size]:
        """The sizes of `batch_shape`; those that are unknown as tensors."""
        return sizes_of(self._param)[:-1]

    def expand(self, batch_shape: Sequence[Size]) -> Categorical:
        """The same distributions repeated along new axes and those of size 1."""
        shape = [*listed(batch_shape, "batch_shape"), size_of(self._param, -1)]
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._param = torch_tensor_expand(self._param, shape)
        new.batch_shape = tuple(new._param.shape[:-1])
        return new

    def sample(
        self, sample_shape: Sequence[Size] = (), generator: Any = None
    ) -> tf.Tensor:
        """Indices, int64, of shape (*sample_shape, *batch_shape).

        Raises:
            ValueError: A size is 0, which PyTorch refuses here.
        """
        shape = extended(sample_shape, self.sizes())
        if any(isinstance(size, int) and size == 0 for size in sample_shape):
            raise ValueError(f"sample_shape must have no 0, got {sample_shape}.")
        probs = self.probs
        fine = probs if probs.dtype.size > 2 else tf.cast(probs, tf.float32)
        sums = tf.cumsum(fine, -1)
        points = source_of(generator).uniform(shape, dtype=sums.dtype)
        # The least index whose sum is beyond the point; one without probability has
        # the sum of the index before it.
        below = tf.expand_dims(points * sums[..., -1], -1) >= sums
        return tf.reduce_sum(tf.cast(below, tf.int64), -1)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """The logarithm of the probability; fractions of the value are cut off."""
        value = as_tensor(value, "value")
        if self.validate_args:
            self.check_value(value)
        index, logits = cast(value, tf.int64), self.logits
        rank = len(self.batch_shape)
        if tuple(index.shape) != self.batch_shape or None in self.batch_shape:
            index, logits = self._together(index, logits)
            rank = index.shape.rank if rank else 0
        return tf.gather(logits, index, batch_dims=rank)

    def _together(
        self, index: tf.Tensor, logits: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Indices, and logits for each of them if there are several distributions."""
        if not self.batch_shape:
            return index, logits
        shape = tf.broadcast_static_shape(index.shape, tf.TensorShape(self.batch_shape))
        sizes: Any = shape
        if not shape.is_fully_defined():
            sizes = tf.broadcast_dynamic_shape(tf.shape(index), tf.shape(logits)[:-1])
        count = [size_of(logits, -1)]
        spread = tf.broadcast_to(logits, tf.concat([sizes, count], 0))
        return tf.broadcast_to(index, sizes), spread

    def entropy(self) -> tf.Tensor:
        """-sum p log p, where 0 log 0 is 0."""
        logits = tf.maximum(self.logits, self._param.dtype.min)
        return -tf.reduce_sum(logits * self.probs, -1)

    def enumerate_support(self, expand: bool = True) -> tf.Tensor:
        """0, 1, and so on along a new first axis, int64.

        Args:
            expand: Whether the other axes have the sizes of the batch, or 1.
        """
        count = size_of(self._param, -1)
        shape = [count] + [1] * len(self.batch_shape)
        values = tf.reshape(tf.range(cast(count, tf.int64)), shape)
        return tf.broadcast_to(values, [count, *self.sizes()]) if expand else values

    def in_support(self, value: tf.Tensor) -> tf.Tensor:
        """Which values are indices."""
        count = self.num_events
        number = cast(value, tf.float64)
        whole = (number >= 0.0) & (tf.floor(number) == number)
        return whole if count is None else whole & (number < count)


class MixtureSameFamily(Distribution):
    """Distributions mixed by probability (`torch.distributions.MixtureSameFamily`).

    Args:
        mixture_distribution: How often which component is drawn.
        component_distribution: The components, along the last axis of its batch.
        validate_args: Whether to check values; yes by default.

    Raises:
        TypeError: One is no distribution, or the first not categorical.
        ValueError: Their numbers of components or their batches do not fit.

    Example: `MixtureSameFamily(Categorical(tf.constant([1.0, 3.0])),
        Normal(tf.constant([0.0, 4.0]), 1.0)).mean` gives `3.0`.
    """

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        _check_components(mixture_distribution, component_distribution)
        self.mixture_distribution = mixture_distribution
        self.component_distribution = component_distribution
        batch = component_distribution.batch_shape[:-1]
        super().__init__(batch, component_distribution.event_shape, validate_args)

    @property
    def _axis(self) -> int:
        """That of the components in draws and parameters of them."""
        return -1 - len(self.event_shape)

    def _pad(self, value: tf.Tensor) -> tf.Tensor:
        return tf.expand_dims(value, self._axis)

    @property
    def _weights(self) -> tf.Tensor:
        """The probabilities of the components, with an axis for each of an event."""
        probs = self.mixture_distribution.probs
        return tf.reshape(probs, sizes_of(probs) + [1] * len(self.event_shape))

    @property
    def mean(self) -> tf.Tensor:
        """The weighted mean of the components' means."""
        return tf.reduce_sum(
            self._weights * self.component_distribution.mean, self._axis
        )

    @property
    def variance(self) -> tf.Tensor:
        """The mean of the components' variances, and the variance of their means."""
        parts, weights = self.component_distribution, self._weights
        within = tf.reduce_sum(weights * parts.variance, self._axis)
        apart = tf.square(parts.mean - self._pad(self.mean))
        return within + tf.reduce_sum(weights * apart, self._axis)

    def sizes(self) -> list[Size]:
        """The sizes of `batch_shape`; those that are unknown as tensors."""
        return self.component_distribution.sizes()[:-1]

    def expand(self, batch_shape: Sequence[Size]) -> MixtureSameFamily:
        """The same distributions repeated along new axes and those of size 1."""
        shape = listed(batch_shape, "batch_shape")
        count = self.component_distribution.sizes()[-1]
        return MixtureSameFamily(
            self.mixture_distribution.expand(shape),
            self.component_distribution.expand([*shape, count]),
            self.validate_args,
        )

    def sample(
        self, sample_shape: Sequence[Size] = (), generator: Any = None
    ) -> tf.Tensor:
        """Draws of one component each, without a gradient.

        Raises:
            ValueError: There is not one mixture for each batch of components.
        """
        batch = self.mixture_distribution.batch_shape
        if not same_sizes(batch, self.batch_shape):
            raise ValueError(
                f"mixture_distribution must have batch_shape={self.batch_shape} to "
                f"draw, got {batch}: expand it."
            )
        chosen = self.mixture_distribution.sample(sample_shape, generator)
        parts = self.component_distribution.sample(sample_shape, generator)
        axis = chosen.shape.rank
        return tf.gather(parts, chosen, axis=axis, batch_dims=axis)

    def log_prob(self, value: tf.Tensor) -> tf.Tensor:
        """log sum_k p_k exp(log density of component k)."""
        value = as_tensor(value, "value")
        if self.validate_args:
            self.check_value(value)
        found = self.component_distribution.log_prob(self._pad(value))
        return tf.reduce_logsumexp(found + self._log_weights(), -1)

    def _log_weights(self) -> tf.Tensor:
        logits = self.mixture_distribution.logits
        # Clipped probabilities do not sum to 1.
        is_normal = not self.mixture_distribution.is_of_probs
        return logits if is_normal else tf.nn.log_softmax(logits)

    def cdf(self, value: tf.Tensor) -> tf.Tensor:
        """The probability of draws <= value."""
        value = as_tensor(value, "value")
        found = self.component_distribution.cdf(self._pad(value))
        return tf.reduce_sum(found * self.mixture_distribution.probs, -1)

    def in_support(self, value: tf.Tensor) -> tf.Tensor:
        """Which entries a component can draw."""
        return self.component_distribution.in_support(value)


def _check_components(mixture: Any, components: Any) -> None:
    for name, given, kind in (
        ("mixture_distribution", mixture, Categorical),
        ("component_distribution", components, Distribution),
    ):
        if not isinstance(given, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {given!r}.")
    batch, count = mixture.batch_shape, mixture.num_events
    expected = components.batch_shape
    if not expected or None not in (count, expected[-1]) and count != expected[-1]:
        raise ValueError(
            f"component_distribution must have {count} components in the last axis, "
            f"got batch_shape={expected}."
        )
    for own, other in zip(reversed(batch), reversed(expected[:-1]), strict=False):
        if None not in (own, other) and 1 not in (own, other) and own != other:
            raise ValueError(
                f"mixture_distribution has batch_shape={batch}, which does not fit "
                f"{expected[:-1]} of component_distribution."
            )


def _are_probabilities(values: tf.Tensor) -> tf.Tensor:
    total = tf.reduce_sum(values, -1)
    return tf.reduce_all(values >= 0.0, -1) & (tf.abs(total - 1.0) < 1e-6)
