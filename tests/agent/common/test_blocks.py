from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from agent.common.blocks import gradients_in_blocks
from tests.modes import in_mode

ROWS, STATES = 10, 6
X = np.linspace(-1.0, 2.0, STATES).astype(np.float32)


class Terms(NamedTuple):
    error: tf.Tensor
    size: tf.Tensor


class Problem:
    """mean_i (w x_i + v x_j c_i - 1)^2, where c_i is 1 above the mean of all x."""

    def __init__(self):
        self.w, self.v = tf.Variable(0.5), tf.Variable(-2.0)
        self.unused = tf.Variable(1.0)
        self.seen: list[int | None] = []

    def prepare(self, rows):
        x = tf.gather(X, rows)
        above = tf.cast(x > tf.reduce_mean(x), tf.float32)
        return {"term": tf.gather(self.v * X, rows) * above, "above": above}

    def evaluate(self, rows, prepared):
        self.seen.append(len(rows) if tf.executing_eagerly() else None)
        x = tf.gather(X, rows)
        error = tf.reduce_mean((self.w * x + prepared["term"] - 1.0) ** 2)
        return 3.0 * error, Terms(error, tf.reduce_mean(prepared["above"]))

    def gradients(self, rows, size):
        params = [self.w, self.v, self.unused]
        return gradients_in_blocks(self.prepare, self.evaluate, rows, params, size)


def rows():
    return np.random.default_rng(0).integers(0, STATES, ROWS)


def by_hand():
    """Terms and gradients in closed form, float64."""
    x = X[rows()].astype(np.float64)
    above = x > x.mean()
    rest = 0.5 * x - 2.0 * x * above - 1.0
    grads = [6.0 * np.mean(rest * x), 6.0 * np.mean(rest * x * above)]
    return np.mean(rest**2), np.mean(above), grads


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("size", [None, 10, 5, 4, 3, 1])
def test_sum_over_blocks_is_the_gradient_of_all_rows(mode, size):
    problem = Problem()
    function = in_mode(lambda: problem.gradients(tf.constant(rows()), size), mode)
    terms, grads = function()
    error, above, expected = by_hand()
    np.testing.assert_allclose(terms.error, error, rtol=1e-5)
    np.testing.assert_allclose(terms.size, above, rtol=1e-5)
    np.testing.assert_allclose(grads[:2], expected, rtol=1e-5)
    assert grads[2] is None


@pytest.mark.parametrize(
    ("size", "heights"), [(None, [10]), (4, [4, 4, 2]), (3, [3, 3, 3, 1]), (6, [5, 5])]
)
def test_blocks_have_at_most_the_given_rows(size, heights):
    problem = Problem()
    problem.gradients(tf.constant(rows()), size)
    assert problem.seen == heights


def test_memory_does_not_grow_with_the_number_of_blocks():
    """All blocks are one loop in the graph, whatever their number."""
    sizes = []
    for size in (5, 1):
        problem = Problem()
        call = tf.function(
            lambda p=problem, n=size: p.gradients(tf.constant(rows()), n)
        )
        graph = call.get_concrete_function().graph.as_graph_def()
        inner = [len(function.node_def) for function in graph.library.function]
        sizes.append(len(graph.node) + sum(inner))
    assert sizes[0] == sizes[1]
