"""Functions that draw random numbers."""

import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, floats
from util.torch_to_tf import (
    torch_multinomial,
    torch_rand,
    torch_randint,
    torch_randn,
    torch_randn_like,
    torch_randperm,
)
from util.torch_to_tf.random import default_generator


def permutation():
    keys = default_generator().uniform_full_int([5], tf.int64)
    return tf.cast(tf.argsort(keys, direction="DESCENDING"), tf.int64)


def draws(weights):
    """Points between 0 and the sum, and between which partial sums they lie."""
    sums = tf.cumsum(weights, -1)
    points = default_generator().uniform([4, 2]) * sums[..., -1:]
    return tf.searchsorted(sums, points, "right", tf.int64)


CASES = {
    "torch_multinomial": PlainCall(
        lambda weights: torch_multinomial(weights, 2, True), draws, (floats(4, 3),)
    ),
    "torch_rand": PlainCall(
        lambda: torch_rand(2, 3), lambda: default_generator().uniform([2, 3])
    ),
    "torch_randint": PlainCall(
        lambda: torch_randint(2, 7, (3,)),
        lambda: default_generator().uniform([3], 2, 7, tf.int64),
    ),
    "torch_randn": PlainCall(
        lambda: torch_randn(2, 3), lambda: default_generator().normal([2, 3])
    ),
    "torch_randn_like": PlainCall(
        torch_randn_like,
        lambda x: default_generator().normal(tf.shape(x)),
        (floats(None, 3),),
    ),
    "torch_randperm": PlainCall(lambda: torch_randperm(5), permutation),
}
EXCEPTIONS = {"torch_manual_seed": "sets a generator, which no graph may do"}
