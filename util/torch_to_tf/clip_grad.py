"""Gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from util.torch_to_tf import dtypes
from util.torch_to_tf.arguments import is_tensor


def torch_nn_utils_clip_grad_norm_(
    grads: Iterable[tf.Tensor | None],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> tuple[list[tf.Tensor | None], tf.Tensor]:
    """Limits the norm of all gradients together (`torch.nn.utils.clip_grad_norm_`).

    They are scaled by min(1, max_norm / (norm + 1e-6)). TensorFlow's gradients are
    values, not fields of the parameters, so they are passed and returned instead of
    being changed in place. `foreach`, which chooses an implementation, is left out.

    Args:
        grads: Gradients, or a single one; None entries stay None.
        max_norm: Largest norm allowed.
        norm_type: Order of the norm; `inf` for the largest entry.
        error_if_nonfinite: Refuse a norm that is NaN or infinite. A graph fails when it
            runs (`tf.errors.InvalidArgumentError`), except under XLA, which drops the
            check.

    Returns:
        The scaled gradients, and the norm before scaling.

    Raises:
        ValueError: The norm is not finite and `error_if_nonfinite`.

    Example: `torch_nn_utils_clip_grad_norm_([tf.constant([3.0, 4.0])], 10.0)` gives
        `([[3.0, 4.0]], 5.0)`.
    """
    listed = [grads] if is_tensor(grads) else list(grads)
    given = [None if g is None else tf.convert_to_tensor(g) for g in listed]
    order = float(norm_type)
    norms = [_norm(tf.reshape(g, [-1]), order) for g in given if g is not None]
    if not norms:
        return given, tf.constant(0.0)
    total = _norm(tf.stack(dtypes.cast_together(*norms)), order)
    if error_if_nonfinite:
        total = _finite(total, order)
    scale = tf.minimum(float(max_norm) / (total + 1e-6), 1.0)
    return [
        None if g is None else g * dtypes.cast(scale, g.dtype) for g in given
    ], total


def _norm(values: tf.Tensor, order: float) -> tf.Tensor:
    """The norm of a vector; of order 0 the number of entries that are not 0."""
    if order > 0.0:
        return tf.norm(values, ord=order)
    if order == 0.0:
        return tf.math.count_nonzero(values, dtype=values.dtype)
    size = tf.abs(values)
    if order == float("-inf"):
        return tf.reduce_min(size)
    return tf.reduce_sum(size**order) ** (1.0 / order)


def _finite(total: tf.Tensor, order: float) -> tf.Tensor:
    message = f"grads must have a finite norm of order {order}"
    if not tf.executing_eagerly():
        return tf.debugging.check_numerics(total, message)
    if not tf.math.is_finite(total):
        raise ValueError(f"{message}, got {total.numpy()}.")
    return total
