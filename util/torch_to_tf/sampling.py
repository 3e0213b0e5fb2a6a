"""Random whole numbers: draws with and without replacement."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor, is_int
from util.torch_to_tf.creation import created
from util.torch_to_tf.dtypes import as_dtype, cast, expect_type
from util.torch_to_tf.random import source_of
from util.torch_to_tf.sizes import as_size, as_sizes, listed, sizes_of

# How many binary digits the whole numbers of a floating type have.
_DIGITS = {tf.float16: 11, tf.bfloat16: 8, tf.float32: 24, tf.float64: 53}


def torch_randint(
    low: Any = None,
    high: Any = None,
    size: Any = None,
    *,
    generator: tf.random.Generator | None = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Any:
    """Whole numbers in [low, high), each with the same chance (`torch.randint`).

    `torch_randint(high, size)` starts at 0, and `size` is a sequence. The type is int64
    by default and may be a floating one. Other arguments are those of `torch_randn`.

    Raises:
        ValueError: low >= high, or the type cannot hold them.

    Example: `torch_randint(3, (5, 2)).shape` gives `(5, 2)`.
    """
    if size is None and not is_int(high):
        high, size = None, high
    if high is None:
        low, high = 0, low
    low = 0 if low is None else low
    kind = tf.int64 if dtype is None else as_dtype(dtype)
    shape = as_sizes(listed(size, "size"))
    _check_range(low, high, kind)
    source = source_of(generator)
    return created(
        lambda: cast(source.uniform(shape, low, high, tf.int64), kind),
        device,
        requires_grad,
    )


def torch_randperm(
    n: Any,
    *,
    generator: tf.random.Generator | None = None,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Any:
    """The numbers from 0 to n - 1 in random order (`torch.randperm`).

    `n` is an int, or an integer tensor where it is known at run time only. The type is
    int64 by default and may be a floating one. Other arguments are those of
    `torch_randn`.

    Raises:
        ValueError: n is negative, or the type cannot hold all numbers.

    Example: `torch_randperm(5).shape` gives `(5,)`.
    """
    count = as_size(n, "n")
    kind = tf.int64 if dtype is None else as_dtype(dtype)
    _check_numeric(kind)
    most = 2 ** _DIGITS[kind] if kind.is_floating else kind.max
    if is_int(count) and count - 1 > most:
        raise ValueError(f"n must be <= {most + 1} for {kind.name}, got {n}.")
    source = source_of(generator)

    def permutation() -> tf.Tensor:
        keys = source.uniform_full_int([count], tf.int64)
        return cast(tf.argsort(keys, direction="DESCENDING"), kind)

    return created(permutation, device, requires_grad)


def torch_multinomial(
    input: Any,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: tf.random.Generator | None = None,
) -> tf.Tensor:
    """Indices drawn with the probabilities of each row (`torch.multinomial`).

    Rows need not sum to 1. Without replacement an index comes once, those of
    probability 0 after all others. In a graph the probabilities are not checked.

    Args:
        input: Probabilities, a vector or rows of them.
        num_samples: How many to draw from each row.
        replacement: Whether an index may come again.
        generator: As of `torch_randn`.

    Returns:
        int64, of shape (num_samples,) or (rows, num_samples).

    Raises:
        TypeError: The type is not floating, or `num_samples` no int.
        ValueError: There are too few indices; a probability is negative, infinite or
            NaN; or a row has none.

    Example: `torch_multinomial(tf.constant([0.0, 2.0]), 1)` gives `[1]`.
    """
    weights = as_tensor(input)
    expect_type(weights.dtype.is_floating, weights, "a floating type")
    if len(weights.shape) not in (1, 2):
        raise ValueError(f"input must have 1 or 2 axes, got shape {weights.shape}.")
    _check_samples(num_samples, weights.shape[-1], replacement)
    if tf.executing_eagerly():
        _check_weights(weights.numpy())
    if weights.dtype.size == 2:
        weights = tf.cast(weights, tf.float32)
    source = source_of(generator)
    if not replacement:
        # Arrivals at rates given by the weights: the first ones win.
        shape = sizes_of(weights)
        tiny = np.finfo(weights.dtype.as_numpy_dtype).tiny
        waits = -tf.math.log(source.uniform(shape, tiny, dtype=weights.dtype))
        first = tf.math.top_k(weights / waits, num_samples)
        return tf.cast(first.indices, tf.int64)
    sums = tf.cumsum(weights, -1)
    shape = [*sizes_of(weights)[:-1], num_samples]
    points = source.uniform(shape, dtype=weights.dtype) * sums[..., -1:]
    return tf.searchsorted(sums, points, "right", tf.int64)


def _check_numeric(kind: tf.DType) -> None:
    if not (kind.is_integer or kind.is_floating):
        raise TypeError(f"dtype must be one of real numbers, got {kind.name}.")


def _check_range(low: Any, high: Any, kind: tf.DType) -> None:
    for name, bound in (("low", low), ("high", high)):
        if not is_int(bound):
            raise TypeError(f"{name} must be an int, got {bound!r}.")
    if low >= high:
        raise ValueError(f"low must be less than high={high}, got {low}.")
    if not kind.is_bool:
        _check_numeric(kind)
    least, most = (0, 1) if kind.is_bool else (int(kind.min), int(kind.max))
    if low < least or high - 1 > most:
        raise ValueError(f"low and high must fit {kind.name}, got {low} and {high}.")


def _check_samples(num_samples: Any, categories: int | None, replacement: bool) -> None:
    if not is_int(num_samples):
        raise TypeError(f"num_samples must be an int, got {num_samples!r}.")
    if num_samples <= 0:
        raise ValueError(f"num_samples must be > 0, got {num_samples}.")
    if categories is None:
        return
    if categories == 0 or (num_samples > categories and not replacement):
        raise ValueError(
            f"num_samples must be <= {categories}, how many there are to draw from, "
            f"got {num_samples}; or replacement must be True."
        )


def _check_weights(weights: np.ndarray) -> None:
    if not np.all((weights >= 0) & np.isfinite(weights)):
        raise ValueError("input must be finite and not negative.")
    if not np.all(weights.sum(-1) > 0):
        raise ValueError("input must have a positive sum in each row.")
