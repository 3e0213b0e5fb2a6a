import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, random
from tests.torch_to_tf.distribution_cases import (
    assert_follows_generators,
    assert_same_results,
    assert_same_shapes,
    draws_of,
    operations,
)
from util.torch_to_tf import Categorical, Independent, Normal

RESULTS = ["mean", "mode", "stddev", "variance", "entropy", "log_prob"]


def ours(loc, scale, count=1):
    return Independent(Normal(loc, scale), count)


def theirs(loc, scale, count=1):
    base = torch.distributions.Normal(loc, scale)
    return torch.distributions.Independent(base, count)


def parameters(shape=(4, 2, 3)):
    return [random(shape, 1), np.exp(random(shape, 2))]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_values_shapes_and_gradients_equal_torch(count):
    given, value = parameters(), random((2, 4, 2, 3), 3)
    peers = map(torch.from_numpy, given)
    assert_same_shapes(ours(*given, count), theirs(*peers, count))
    assert_same_results(
        lambda m, s: ours(m, s, count),
        lambda m, s: theirs(m, s, count),
        given,
        RESULTS,
        value,
        rtol=1e-4,
        atol=2e-5,
    )


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    results = ["entropy", "log_prob"]
    value = random((4, 2, 3), 3)
    assert_same_results(
        ours, theirs, parameters(), results, value, mode, rtol=1e-4, atol=2e-5
    )


def test_nested_counts_add_up_as_in_torch():
    given = parameters()
    first = Independent(ours(*given), 2)
    second = torch.distributions.Independent(theirs(*map(torch.from_numpy, given)), 2)
    assert_same_shapes(first, second)
    value = random((4, 2, 3), 3)
    np.testing.assert_allclose(
        first.log_prob(value), second.log_prob(torch.from_numpy(value)), rtol=1e-5
    )


def test_expand_equals_torch():
    given = parameters((2, 3))
    peers = map(torch.from_numpy, given)
    assert_same_shapes(ours(*given).expand((4, 2)), theirs(*peers).expand((4, 2)))
    assert_same_results(
        lambda m, s: ours(m, s).expand((4, 2)),
        lambda m, s: theirs(m, s).expand((4, 2)),
        given,
        ["mean", "entropy", "log_prob"],
        random((4, 2, 3), 3),
        rtol=1e-4,
        atol=2e-5,
    )


def test_draws_are_those_of_the_base():
    draws = draws_of(lambda: ours(tf.constant([1.0, 2.0]), 0.5), 10_000, "eager")
    np.testing.assert_allclose(draws.mean(0), [1.0, 2.0], atol=0.03)
    np.testing.assert_allclose(draws.std(0), 0.5, rtol=0.05)
    assert_follows_generators(lambda: ours(tf.zeros(2), 1.0))


def test_rsample_has_gradients_and_sample_has_none():
    loc = tf.zeros(3)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(loc)
        found = ours(loc, 1.0)
        draws, detached = found.rsample((2,)), found.sample((2,))
    np.testing.assert_array_equal(tape.gradient(draws, loc), [2.0, 2.0, 2.0])
    assert tape.gradient(detached, loc) is None


def test_support_of_single_indices_is_enumerated_as_in_torch():
    probs = np.float32([[0.2, 0.8], [0.5, 0.5]])
    base = torch.distributions.Categorical(torch.from_numpy(probs))
    peer = torch.distributions.Independent(base, 0)
    found = Independent(Categorical(probs), 0)
    assert found.has_enumerate_support
    np.testing.assert_array_equal(found.enumerate_support(), peer.enumerate_support())
    for several in (
        Independent(Categorical(probs), 1),
        torch.distributions.Independent(base, 1),
    ):
        assert not several.has_enumerate_support
        with pytest.raises(NotImplementedError):
            several.enumerate_support()


@pytest.mark.parametrize("name", ["rsample", "enumerate_support"])
def test_what_indices_lack_is_refused_as_in_torch(name):
    base = torch.distributions.Categorical(torch.ones(2, 3))
    for found in (
        Independent(Categorical(tf.ones([2, 3])), 1),
        torch.distributions.Independent(base, 1),
    ):
        with pytest.raises(NotImplementedError):
            getattr(found, name)()


def test_cdf_is_refused_as_in_torch():
    for found, x in (
        (ours(*parameters()), tf.zeros(3)),
        (theirs(*map(torch.from_numpy, parameters())), torch.zeros(3)),
    ):
        with pytest.raises(NotImplementedError):
            found.cdf(x)


def test_graph_has_one_sum_more_than_the_base():
    spec = tf.TensorSpec([None, 3])
    base = operations(lambda x, m, s: Normal(m, s).log_prob(x), spec, spec, spec)
    found = operations(lambda x, m, s: ours(m, s).log_prob(x), spec, spec, spec)
    assert sorted(found) == sorted([*base, "Sum"])


def test_unknown_batch_size_stays_open():
    spec = tf.TensorSpec([None, 3])
    function = in_mode(lambda m: ours(m, 1.0).log_prob(m), "graph")
    assert function.get_concrete_function(spec).outputs[0].shape.as_list() == [None]


def test_more_axes_than_there_are_is_refused():
    assert_both_refuse(
        lambda: ours(tf.zeros(3), 1.0, 2),
        lambda: theirs(torch.zeros(3), 1.0, 2),
        r"reinterpreted_batch_ndims must be in \[0, 1\] for batch_shape=\(3,\), got 2",
    )
    with pytest.raises(ValueError, match=r"must be in \[0, 1\] .* got -1"):
        ours(tf.zeros(3), 1.0, -1)


def test_impossible_values_are_refused():
    assert_both_refuse(
        lambda: ours(tf.zeros([2, 3]), 1.0).log_prob(tf.fill([3], np.nan)),
        lambda: theirs(torch.zeros(2, 3), 1.0).log_prob(torch.full([3], np.nan)),
        "value must be in the support everywhere, got nan",
    )
