"""What gradients that are written out here have in common."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf


def summed_to(gradient: tf.Tensor, operand: tf.Tensor) -> tf.Tensor:
    """The gradient of an operand that was broadcast to the shape of `gradient`."""
    if operand.shape.is_fully_defined() and operand.shape == gradient.shape:
        return gradient
    shape = tf.shape(operand)
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=tf.shape(gradient))
    return tf.reshape(tf.reduce_sum(gradient, axes), shape)


def spread_over(gradient: tf.Tensor, axes: Iterable[int]) -> tf.Tensor:
    """The gradient of a reduction with size 1 on the axes that were reduced."""
    for axis in sorted(axes):
        gradient = tf.expand_dims(gradient, axis)
    return gradient
