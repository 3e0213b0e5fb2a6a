"""The plain TensorFlow call that each name of the library stands for, by kind."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class PlainCall(NamedTuple):
    """A call of ours, the same in plain TensorFlow, and what both are given."""

    ours: Callable[..., Any]
    plain: Callable[..., Any]
    inputs: tuple[tf.TensorSpec, ...] = ()


def floats(*shape: int | None) -> tf.TensorSpec:
    """A float32 input."""
    return tf.TensorSpec(shape, tf.float32)


def ints(*shape: int | None) -> tf.TensorSpec:
    """An int64 input."""
    return tf.TensorSpec(shape, tf.int64)


def bools(*shape: int | None) -> tf.TensorSpec:
    """A boolean input."""
    return tf.TensorSpec(shape, tf.bool)
