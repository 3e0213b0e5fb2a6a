"""Distributions: densities, and draws where sizes are known."""

import math

import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, floats, ints
from util.torch_to_tf import Categorical, Independent, MixtureSameFamily, Normal
from util.torch_to_tf.random import default_generator


def density(value, loc, scale):
    """log N(value; loc, scale)."""
    squares = -((value - loc) ** 2) / (2.0 * scale**2)
    return squares - tf.math.log(scale) - 0.5 * math.log(2.0 * math.pi)


def normal(loc, scale, value):
    found = Normal(loc, scale)
    return found.log_prob(value), found.entropy(), found.sample((2,))


def plain_normal(loc, scale, value):
    entropy = 0.5 + 0.5 * math.log(2.0 * math.pi) + tf.math.log(scale)
    draws = default_generator().normal([2, 4, 3], loc, scale)
    return density(value, loc, scale), entropy, tf.stop_gradient(draws)


def categorical(logits, index):
    found = Categorical(logits=logits)
    return found.log_prob(index), found.mode, found.sample()


def plain_categorical(logits, index):
    """Draws count how many partial sums a point reaches."""
    normalised = tf.nn.log_softmax(logits)
    probs = tf.nn.softmax(normalised)
    sums = tf.cumsum(tf.nn.softmax(normalised), -1)
    points = default_generator().uniform([4]) * sums[..., -1]
    draws = tf.reduce_sum(tf.cast(tf.expand_dims(points, -1) >= sums, tf.int64), -1)
    return tf.gather(normalised, index, batch_dims=1), tf.argmax(probs, -1), draws


def mixture(logits, loc, scale, value):
    parts = Independent(Normal(loc, scale), 1)
    return MixtureSameFamily(Categorical(logits=logits), parts).log_prob(value)


def plain_mixture(logits, loc, scale, value):
    parts = tf.reduce_sum(density(tf.expand_dims(value, -2), loc, scale), -1)
    return tf.reduce_logsumexp(parts + tf.nn.log_softmax(logits), -1)


BATCH = floats(None, 3)

CASES = {
    "Categorical": PlainCall(categorical, plain_categorical, (floats(4, 3), ints(4))),
    "Independent": PlainCall(
        lambda m, s, x: Independent(Normal(m, s), 1).log_prob(x),
        lambda m, s, x: tf.reduce_sum(density(x, m, s), -1),
        (BATCH, BATCH, BATCH),
    ),
    "MixtureSameFamily": PlainCall(
        mixture,
        plain_mixture,
        (floats(None, 5), floats(None, 5, 2), floats(None, 5, 2), floats(None, 2)),
    ),
    "Normal": PlainCall(normal, plain_normal, (floats(4, 3), floats(4, 3), floats(3))),
}
EXCEPTIONS: dict[str, str] = {}
