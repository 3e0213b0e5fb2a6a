"""Functions that act entry by entry."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, floats
from util.torch_to_tf import (
    torch_abs,
    torch_atanh,
    torch_clamp,
    torch_clip,
    torch_exp,
    torch_log,
    torch_round,
    torch_sqrt,
    torch_square,
    torch_tanh,
    torch_tensor_clamp_,
)

VARIABLE = tf.Variable([0.5, 2.0, -3.0])


def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """A call whose gradient is written out, as TensorFlow's differs from PyTorch's."""
    return tf.custom_gradient(lambda *xs: (function(*xs), lambda *upstream: xs))


def larger(x, y):
    """NaN if one is NaN, under XLA too."""
    return tf.where(tf.logical_or(x >= y, tf.math.is_nan(x)), x, y)


def smaller(x, y):
    return tf.where(tf.logical_or(x <= y, tf.math.is_nan(x)), x, y)


def exact_tanh(x):
    return tf.cast(tf.tanh(tf.cast(x, tf.float64)), tf.float32)


def limited(x):
    return tf.minimum(tf.maximum(x, 0.0), 1.0)


BATCH = (floats(None, 3),)
BOUNDS = (floats(None, 3), floats(3), floats(None, 1))

CASES = {
    "torch_abs": PlainCall(torch_abs, with_gradient(tf.abs), BATCH),
    "torch_atanh": PlainCall(torch_atanh, tf.atanh, BATCH),
    "torch_clamp": PlainCall(
        torch_clamp,
        with_gradient(lambda x, low, high: smaller(larger(x, low), high)),
        BOUNDS,
    ),
    "torch_clip": PlainCall(
        lambda x: torch_clip(x, 0.0, 1.0), with_gradient(limited), BATCH
    ),
    "torch_exp": PlainCall(torch_exp, tf.exp, BATCH),
    "torch_log": PlainCall(torch_log, tf.math.log, BATCH),
    "torch_round": PlainCall(torch_round, tf.round, BATCH),
    "torch_sqrt": PlainCall(torch_sqrt, tf.sqrt, BATCH),
    "torch_square": PlainCall(torch_square, tf.square, BATCH),
    "torch_tanh": PlainCall(torch_tanh, with_gradient(exact_tanh), BATCH),
    "torch_tensor_clamp_": PlainCall(
        lambda: torch_tensor_clamp_(VARIABLE, 0.0, 1.0).value(),
        lambda: VARIABLE.assign(with_gradient(limited)(VARIABLE.value())).value(),
    ),
}
EXCEPTIONS: dict[str, str] = {}
