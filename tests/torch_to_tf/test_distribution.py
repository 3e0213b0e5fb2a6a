import numpy as np
import pytest
import tensorflow as tf

from tests.modes import in_mode
from util.torch_to_tf.distribution import (
    Distribution,
    check_entries,
    extended,
    same_sizes,
    summed_rightmost,
)

NAMES = ("rsample", "sample", "entropy", "enumerate_support")
PROPERTIES = ("mean", "mode", "variance", "stddev")


def positive(value):
    return value > 0.0


@pytest.mark.parametrize("name", [*NAMES, *PROPERTIES, "log_prob", "cdf", "icdf"])
def test_what_a_distribution_does_not_define_it_lacks(name):
    def ask():
        found = getattr(Distribution(()), name)
        found() if name in NAMES else found(tf.zeros([]))

    with pytest.raises(NotImplementedError, match="Distribution has no"):
        ask()


def test_first_entry_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"x must be > 0 everywhere, got -2\.0"):
        check_entries("x", tf.constant([1.0, -2.0, -3.0]), positive, "> 0")


def test_constants_of_a_graph_are_checked_without_a_trace_of_it():
    def call(x):
        check_entries("x", x, positive, "> 0")
        check_entries("two", tf.constant(2.0), positive, "> 0")
        return x

    assert in_mode(call, "graph")(tf.constant(-1.0)).numpy() == -1.0
    graph = in_mode(call, "graph").get_concrete_function(tf.constant(-1.0)).graph
    kinds = {op.type for op in graph.get_operations()}
    assert kinds <= {"Placeholder", "Const", "Identity"}
    with pytest.raises(ValueError, match="x must be > 0"):
        in_mode(lambda: call(tf.constant(-1.0)), "graph")()


def test_sizes_agree_as_far_as_they_are_known():
    assert same_sizes((None, 3), (2, 3))
    assert not same_sizes((2, 3), (3, 3))
    assert not same_sizes((3,), (2, 3))


def test_sums_are_over_the_last_axes():
    value = tf.constant(np.arange(6.0).reshape(1, 2, 3))
    assert summed_rightmost(value, 0) is value
    np.testing.assert_array_equal(summed_rightmost(value, 2), [15.0])


def test_sizes_of_draws_come_first():
    assert extended((4,), [2, 3]) == [4, 2, 3]
