import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, random
from tests.torch_to_tf.distribution_cases import (
    assert_follows_generators,
    assert_same_results,
    assert_same_shapes,
    draws_of,
    operations,
)
from util.torch_to_tf import Categorical

PARAMETERS = ["probs", "logits"]
# PyTorch's indices cannot be drawn 0 times.
DRAWS = ((), (4,), (2, 3))
RESULTS = ["probs", "logits", "mean", "variance", "stddev", "mode", "entropy"]


def theirs(**given):
    return torch.distributions.Categorical(**given)


def given_for(name, shape):
    values = random(shape, 1)
    return np.exp(values) if name == "probs" else values


def both(name):
    """Makers of distributions from one of the parameters."""
    return (lambda x: Categorical(**{name: x})), (lambda x: theirs(**{name: x}))


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("shape", [(5,), (2, 4), (2, 3, 4), (1,)])
def test_properties_and_gradients_equal_torch(shape, name):
    value = given_for(name, shape)
    ours, peer = both(name)
    assert_same_shapes(ours(value), peer(torch.from_numpy(value)), DRAWS)
    assert ours(value).num_events == shape[-1]
    assert_same_results(ours, peer, [value], RESULTS, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize(
    ("batch", "shape"),
    [((), ()), ((), (6,)), ((3,), (3,)), ((3,), (2, 3)), ((2, 3), (3,)), ((3,), (1,))],
)
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32])
def test_log_prob_equals_torch(batch, shape, name, dtype):
    value = given_for(name, (*batch, 4))
    index = np.asarray(np.random.default_rng(0).integers(0, 4, shape), dtype)
    ours, peer = both(name)
    found = ours(value).log_prob(index)
    expected = peer(torch.from_numpy(value)).log_prob(torch.from_numpy(index))
    assert tuple(found.shape) == tuple(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("shape", [(3,), (2, 3)])
def test_gradients_of_log_prob_equal_torch(shape, name):
    index = np.random.default_rng(0).integers(0, 4, shape)
    assert_same_results(
        *both(name), [given_for(name, (3, 4))], ["log_prob"], index, atol=2e-6
    )


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("name", PARAMETERS)
def test_compiled_equals_torch(name, mode):
    value, index = given_for(name, (3, 4)), np.int64([[0, 3, 1], [2, 2, 0]])
    results = ["probs", "mode", "entropy", "log_prob"]
    assert_same_results(
        *both(name), [value], results, index, mode, rtol=1e-5, atol=2e-6
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probs", np.float32([[0.0, 1.0, 3.0], [0.0, 0.0, 2.0]])),
        ("logits", np.float32([[-np.inf, 0.0, 1.0], [-np.inf, -np.inf, 5.0]])),
        ("logits", np.float32([[1e4, 0.0, -1e4], [30.0, 0.0, -80.0]])),
        ("probs", np.float64([[1e-12, 1.0, 3.0], [1e300, 1e300, 1.0]])),
        ("probs", np.float16([[0.0, 1.0, 3.0], [0.5, 0.25, 0.25]])),
    ],
)
def test_impossible_and_unlikely_indices_equal_torch(name, value):
    ours, peer = (
        kind(x)
        for kind, x in zip(both(name), (value, torch.from_numpy(value)), strict=True)
    )
    for result in ("probs", "logits", "entropy"):
        found, expected = (getattr(x, result) for x in (ours, peer))
        if callable(found):
            found, expected = found(), expected()
        assert found.dtype.name == expected.numpy().dtype.name
        np.testing.assert_allclose(
            found,
            expected,
            rtol=2e-3 if value.dtype == np.float16 else 1e-5,
            atol=1e-30,
        )


@pytest.mark.parametrize("name", PARAMETERS)
def test_whole_numbers_as_parameters_equal_torch(name):
    value = np.int64([1, 2, 3])
    ours, peer = (
        kind(x)
        for kind, x in zip(both(name), (value, torch.from_numpy(value)), strict=True)
    )
    assert ours.probs.dtype == tf.float32
    np.testing.assert_allclose(ours.probs, peer.probs, rtol=1e-6)


@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3)])
def test_support_is_enumerated_as_in_torch(shape, expand):
    ours = Categorical(np.ones(shape, np.float32)).enumerate_support(expand)
    expected = theirs(probs=torch.ones(shape)).enumerate_support(expand)
    assert ours.dtype == tf.int64
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", PARAMETERS)
def test_expand_equals_torch(name):
    value = given_for(name, (3, 4))
    ours, peer = both(name)
    expected = peer(torch.from_numpy(value)).expand((2, 3))
    assert_same_shapes(ours(value).expand((2, 3)), expected, DRAWS)
    assert_same_results(
        lambda x: ours(x).expand((2, 3)),
        lambda x: peer(x).expand((2, 3)),
        [value],
        ["probs", "logits", "mean", "entropy"],
        rtol=1e-5,
        atol=2e-6,
    )


# -- draws -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PARAMETERS)
def test_draws_have_the_probabilities(name, mode):
    probs = np.float32([[0.1, 0.2, 0.7], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        value = probs if name == "probs" else np.log(probs)
    draws = draws_of(lambda: both(name)[0](value), 20_000, mode)
    assert draws.dtype == np.int64
    found = np.stack([(draws == index).mean(0) for index in range(3)], -1)
    np.testing.assert_allclose(found, probs, atol=0.015)
    np.testing.assert_array_equal(found[probs == 0.0], 0.0)


def test_draws_of_half_precision_have_the_probabilities():
    draws = draws_of(lambda: Categorical(np.float16([1.0, 3.0])), 20_000, "eager")
    assert draws.mean() == pytest.approx(0.75, abs=0.015)


def test_draws_follow_the_seed_and_the_generator():
    assert_follows_generators(lambda: Categorical(tf.ones(10)))


def test_draws_with_a_gradient_are_refused_as_in_torch():
    for found in (Categorical(tf.ones(2)), theirs(probs=torch.ones(2))):
        with pytest.raises(NotImplementedError):
            found.rsample()


# -- graphs ----------------------------------------------------------------------------


def test_graph_checks_nothing():
    logits, index = tf.TensorSpec([5, 3]), tf.TensorSpec([5], tf.int64)
    ours = operations(lambda x, i: Categorical(logits=x).log_prob(i), logits, index)
    assert sorted(ours) == ["GatherV2", "LogSoftmax"]


def test_unknown_sizes_stay_open_and_broadcast():
    spec = tf.TensorSpec([None, 3])

    def call(logits, index):
        found = Categorical(logits=logits)
        return found.sample((2,)), found.log_prob(index), found.mean

    index = tf.TensorSpec([None], tf.int64)
    concrete = tf.function(call, autograph=False).get_concrete_function(spec, index)
    assert [o.shape.as_list() for o in concrete.outputs] == [[2, None], [None], [None]]
    logits, indices = random((4, 3)), np.int64([2])
    _, log_prob, mean = concrete(tf.constant(logits), tf.constant(indices))
    expected = theirs(logits=torch.from_numpy(logits))
    np.testing.assert_allclose(
        log_prob, expected.log_prob(torch.from_numpy(indices)), rtol=1e-5
    )
    assert mean.shape == (4,)


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "one of probs and logits must be given, and not both"),
        ({"probs": [1.0], "logits": [0.0]}, "one of probs and logits must be given"),
        ({"probs": 1.0}, "probs must have an axis, got a scalar"),
        ({"logits": 1.0}, "logits must have an axis, got a scalar"),
        ({"probs": [-1.0, 2.0]}, r"probs must be probabilities everywhere, got \[-1"),
        ({"probs": [0.0, 0.0]}, "probs must be probabilities everywhere"),
        ({"probs": [[1.0], [np.nan]]}, r"probs must be prob.* everywhere, got \[nan\]"),
        ({"logits": [0.0, np.nan]}, "logits must be numbers everywhere, got nan"),
        ({"logits": [0.0, np.inf]}, "logits must be numbers everywhere, got nan"),
    ],
)
def test_impossible_parameters_are_refused(given, message):
    assert_both_refuse(
        lambda: Categorical(**{k: np.float32(v) for k, v in given.items()}),
        lambda: theirs(**{k: torch.tensor(v) for k, v in given.items()}),
        message,
    )


def test_parameters_that_are_no_tensors_are_refused():
    with pytest.raises(AttributeError):
        theirs(probs=[0.5, 0.5])
    with pytest.raises(TypeError, match="probs must be a tensor"):
        Categorical([0.5, 0.5])


def test_no_draws_at_all_are_refused():
    assert_both_refuse(
        lambda: Categorical(tf.ones(2)).sample((3, 0)),
        lambda: theirs(probs=torch.ones(2)).sample((3, 0)),
        r"sample_shape must have no 0, got \(3, 0\)",
    )


def test_a_batch_may_be_empty():
    for name in PARAMETERS:
        found = both(name)[0](given_for(name, (0, 3)))
        assert found.sample((2,)).shape == (2, 0)
        assert found.log_prob(tf.zeros(0, tf.int64)).shape == (0,)
        assert found.entropy().shape == (0,)


@pytest.mark.parametrize("bad", [-1, 3, 0.5, np.nan])
def test_impossible_values_are_refused(bad):
    assert_both_refuse(
        lambda: Categorical(tf.ones(3)).log_prob(tf.constant([0.0, bad])),
        lambda: theirs(probs=torch.ones(3)).log_prob(torch.tensor([0.0, bad])),
        f"value must be in the support everywhere, got {float(bad)}",
    )


def test_values_of_other_sizes_are_refused():
    assert_both_refuse(
        lambda: Categorical(tf.ones([3, 2])).log_prob(tf.constant([0, 1])),
        lambda: theirs(probs=torch.ones(3, 2)).log_prob(torch.tensor([0, 1])),
        r"broadcasts to batch_shape=\(3,\) .* got \(2,\)",
    )


def test_nothing_is_checked_if_checks_are_off():
    found = Categorical(np.float32([-1.0, 2.0]), validate_args=False)
    np.testing.assert_array_equal(found.probs, [-1.0, 2.0])
    assert found.log_prob(tf.constant(0.9)) == np.log(np.float32(2.0**-23))
