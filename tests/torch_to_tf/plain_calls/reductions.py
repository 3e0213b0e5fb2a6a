"""Functions over one, several or all axes."""

import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, floats
from tests.torch_to_tf.plain_calls.elementwise import with_gradient
from util.torch_to_tf import (
    torch_argmax,
    torch_cumprod,
    torch_logsumexp,
    torch_max,
    torch_mean,
    torch_min,
    torch_nanmean,
    torch_prod,
    torch_quantile,
    torch_softmax,
    torch_std,
    torch_sum,
)


def first(x, find):
    """With NaN as the largest and the smallest, over which argmax passes."""
    nan = tf.math.is_nan(x)
    return tf.where(tf.reduce_any(nan, 1), tf.argmax(nan, 1), find(x, 1))


def best(x, reduce):
    """NaN if there is one, under XLA too."""
    nan = tf.reduce_any(tf.math.is_nan(x), 1)
    return tf.where(nan, float("nan"), reduce(x, 1))


def extreme(reduce, find):
    return lambda x: (with_gradient(lambda x: best(x, reduce))(x), first(x, find))


def mean_of_known(x):
    nan = tf.math.is_nan(x)
    known = tf.cast(tf.logical_not(nan), tf.float32)
    total = tf.reduce_sum(tf.where(nan, 0.0, x), 1)
    return total / tf.reduce_sum(known, 1)


def deviation(x):
    centred = x - tf.reduce_mean(x, 1, keepdims=True)
    return tf.sqrt(tf.reduce_sum(tf.square(centred), 1) / 2.0)


def median(x):
    """Of four: between the second and the third."""
    ordered = tf.sort(x)
    low, high = tf.gather(ordered, 1, axis=-1), tf.gather(ordered, 2, axis=-1)
    middle = high - (high - low) * 0.5
    nan = tf.reduce_any(tf.math.is_nan(x), -1)
    return tf.where(nan, float("nan"), middle)


BATCH = (floats(None, 3),)

CASES = {
    "torch_argmax": PlainCall(
        lambda x: torch_argmax(x, 1), lambda x: first(x, tf.argmax), BATCH
    ),
    "torch_cumprod": PlainCall(
        lambda x: torch_cumprod(x, 1),
        with_gradient(lambda x: tf.math.cumprod(x, 1)),
        BATCH,
    ),
    "torch_logsumexp": PlainCall(
        lambda x: torch_logsumexp(x, 1),
        with_gradient(lambda x: tf.reduce_logsumexp(x, 1)),
        BATCH,
    ),
    "torch_max": PlainCall(
        lambda x: torch_max(x, 1), extreme(tf.reduce_max, tf.argmax), BATCH
    ),
    "torch_mean": PlainCall(
        lambda x: torch_mean(x, 1), lambda x: tf.reduce_mean(x, 1), BATCH
    ),
    "torch_min": PlainCall(
        lambda x: torch_min(x, 1), extreme(tf.reduce_min, tf.argmin), BATCH
    ),
    "torch_nanmean": PlainCall(
        lambda x: torch_nanmean(x, 1), with_gradient(mean_of_known), BATCH
    ),
    "torch_prod": PlainCall(
        lambda x: torch_prod(x, 1), lambda x: tf.reduce_prod(x, 1), BATCH
    ),
    "torch_quantile": PlainCall(
        lambda x: torch_quantile(x, 0.5, 1), median, (floats(None, 4),)
    ),
    "torch_softmax": PlainCall(
        lambda x: torch_softmax(x, 1), lambda x: tf.nn.softmax(x, 1), BATCH
    ),
    "torch_std": PlainCall(lambda x: torch_std(x, 1), with_gradient(deviation), BATCH),
    "torch_sum": PlainCall(
        lambda x: torch_sum(x, 1), lambda x: tf.reduce_sum(x, 1), BATCH
    ),
}
EXCEPTIONS: dict[str, str] = {}
