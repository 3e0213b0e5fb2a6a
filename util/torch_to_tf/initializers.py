"""Functions of `torch.nn.init`: they give a variable new values and return it.

Without a `generator` the values come from the one of `torch_manual_seed`. All work in
compiled code too, where they draw anew at each call.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from util.torch_to_tf import init
from util.torch_to_tf.arguments import is_int
from util.torch_to_tf.random import source_of

_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "sigmoid") + (
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)


def torch_nn_init_zeros_(tensor: Any) -> Any:
    """Makes all entries 0 (`torch.nn.init.zeros_`).

    Example: `torch_nn_init_zeros_(tf.Variable([3.0, 5.0])).numpy()` gives `[0.0, 0.0]`.
    """
    return _filled(tensor, tf.zeros(_variable(tensor).shape, tensor.dtype))


def torch_nn_init_ones_(tensor: Any) -> Any:
    """Makes all entries 1 (`torch.nn.init.ones_`).

    Example: `torch_nn_init_ones_(tf.Variable([3.0, 5.0])).numpy()` gives `[1.0, 1.0]`.
    """
    return _filled(tensor, tf.ones(_variable(tensor).shape, tensor.dtype))


def torch_nn_init_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    generator: tf.random.Generator | None = None,
) -> Any:
    """Draws from N(mean, std^2) (`torch.nn.init.normal_`).

    Args:
        tensor: A floating variable.
        mean: The mean.
        std: The standard deviation.
        generator: What to draw from.

    Raises:
        TypeError: It is no floating variable.
        ValueError: std is negative.

    Example: `torch_nn_init_normal_(tf.Variable(tf.zeros([5, 2]))).shape` gives
        `(5, 2)`.
    """
    shape, kind = _variable(tensor, floating=True).shape, _wide(tensor)
    if not std >= 0.0:
        raise ValueError(f"std must be >= 0, got {std}.")
    if generator is None and tf.executing_eagerly():
        return _filled(tensor, init.generator().normal(mean, std, tuple(shape)))
    return _filled(tensor, source_of(generator).normal(shape, mean, std, kind))


def torch_nn_init_trunc_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: tf.random.Generator | None = None,
) -> Any:
    """Draws from N(mean, std^2) between a and b (`torch.nn.init.trunc_normal_`).

    Warns, as PyTorch, if the mean is far outside.

    Args:
        tensor: A floating variable.
        mean: The mean of the whole distribution.
        std: Its standard deviation.
        a: The least value, not a multiple of std.
        b: The largest value.
        generator: What to draw from.

    Raises:
        TypeError: It is no floating variable.
        ValueError: std is not positive, or a > b.

    Example: `torch_nn_init_trunc_normal_(tf.Variable(tf.zeros([5, 2]))).shape` gives
        `(5, 2)`.
    """
    _variable(tensor, floating=True)
    if not std > 0.0:
        raise ValueError(f"std must be > 0, got {std}.")
    if not a <= b:
        raise ValueError(f"a must be <= b={b}, got {a}.")
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            f"mean {mean} is more than 2 std={std} outside of [{a}, {b}].", stacklevel=2
        )
    low, high = (a - mean) / std, (b - mean) / std
    # In the tail below the mean, where numbers next to 0 tell probabilities apart.
    sign = -1.0 if low > 0.0 else 1.0
    low, high = sorted((sign * low, sign * high))
    below, upto = (math.erfc(-end / math.sqrt(2.0)) / 2.0 for end in (low, high))
    points = _uniform(tensor, 0.0, 1.0, generator, tf.float64)
    found = tf.math.ndtri(below + (upto - below) * points)
    places = tf.clip_by_value(found, low, high) if upto > 0.0 else high + 0.0 * points
    return _filled(tensor, tf.clip_by_value(mean + std * sign * places, a, b))


def torch_nn_init_xavier_uniform_(
    tensor: Any, gain: float = 1.0, generator: tf.random.Generator | None = None
) -> Any:
    """Draws from U(+-gain sqrt(6 / (in + out))) (`torch.nn.init.xavier_uniform_`).

    Source: Glorot and Bengio, 2010. (out, in, ...) is the layout of weights; further
    axes, those of a kernel, count for both.

    Args:
        tensor: A floating variable of 2 or more axes.
        gain: A factor.
        generator: What to draw from.

    Raises:
        TypeError: It is no floating variable.
        ValueError: It has fewer axes, no inputs and outputs, or the gain is negative.

    Example: `torch_nn_init_xavier_uniform_(tf.Variable(tf.zeros([5, 2]))).shape`
        gives `(5, 2)`.
    """
    fans = _fans(_variable(tensor, floating=True))
    if not gain >= 0.0:
        raise ValueError(f"gain must be >= 0, got {gain}.")
    if sum(fans) == 0:
        raise ValueError(f"tensor must have entries, got shape {tuple(tensor.shape)}.")
    bound = gain * math.sqrt(6.0 / sum(fans))
    return _filled(tensor, _uniform(tensor, -bound, bound, generator))


def torch_nn_init_kaiming_uniform_(
    tensor: Any,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: tf.random.Generator | None = None,
) -> Any:
    """Draws from U(+-gain sqrt(3 / fan)) (`torch.nn.init.kaiming_uniform_`).

    Source: He et al., 2015. The layout of weights is as in
    `torch_nn_init_xavier_uniform_`.

    Args:
        tensor: A floating variable of 2 or more axes. One without entries stays as it
            is, with a warning.
        a: The slope of a leaky ReLU below 0, which its gain depends on; None for 0.01.
        mode: "fan_in" or "fan_out", the number of inputs or outputs.
        nonlinearity: What follows, by its name in `torch.nn.functional`: it gives the
            gain.
        generator: What to draw from.

    Raises:
        TypeError: It is no floating variable.
        ValueError: It has fewer axes, or mode, nonlinearity or a is impossible.

    Example: `torch_nn_init_kaiming_uniform_(tf.Variable(tf.zeros([5, 2]))).shape`
        gives `(5, 2)`.
    """
    shape = tuple(_variable(tensor, floating=True).shape)
    if 0 in shape:
        warnings.warn(f"tensor has no entries: shape {shape}.", stacklevel=2)
        return tensor
    modes = ("fan_in", "fan_out")
    if str(mode).lower() not in modes:
        raise ValueError(f"mode must be one of {modes}, got {mode!r}.")
    fan = _fans(tensor)[modes.index(mode.lower())]
    bound = _gain(nonlinearity, a) * math.sqrt(3.0 / fan)
    return _filled(tensor, _uniform(tensor, -bound, bound, generator))


def _gain(nonlinearity: str, slope: Any) -> float:
    """By how much a nonlinearity lets weights be larger than of a linear layer."""
    if nonlinearity in _LINEAR:
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if slope is None else slope
        if not (is_int(slope) or isinstance(slope, float)):
            raise ValueError(f"a must be a number, got {slope!r}.")
        return math.sqrt(2.0 / (1.0 + slope**2))
    gains = {"tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity not in gains:
        known = (*_LINEAR, "leaky_relu", *gains)
        raise ValueError(f"nonlinearity must be one of {known}, got {nonlinearity!r}.")
    return gains[nonlinearity]


def _fans(tensor: Any) -> tuple[int, int]:
    """Numbers of inputs and of outputs of each unit."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise ValueError(f"tensor must have 2 or more axes, got shape {shape}.")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def _uniform(
    tensor: Any,
    low: float,
    high: float,
    generator: tf.random.Generator | None,
    kind: tf.DType | None = None,
) -> Any:
    """U(low, high) in the size of a variable."""
    shape = tensor.shape
    if generator is None and tf.executing_eagerly():
        return init.generator().uniform(low, high, tuple(shape))
    return source_of(generator).uniform(shape, low, high, kind or _wide(tensor))


def _wide(tensor: Any) -> tf.DType:
    """The type in which to draw."""
    return tf.float64 if tf.as_dtype(tensor.dtype) == tf.float64 else tf.float32


def _variable(tensor: Any, floating: bool = False) -> Any:
    """The variable, if it is one."""
    if not isinstance(tensor, keras.Variable | tf.Variable):
        raise TypeError(
            f"tensor must be a variable, got {tensor!r}: TensorFlow's tensors do not "
            "change."
        )
    if floating and not tf.as_dtype(tensor.dtype).is_floating:
        name = tf.as_dtype(tensor.dtype).name
        raise TypeError(f"tensor must have a floating type, got {name}.")
    return tensor


def _filled(tensor: Any, values: np.ndarray | tf.Tensor) -> Any:
    """The variable with new values."""
    tensor.assign(tf.cast(values, tensor.dtype))
    return tensor
