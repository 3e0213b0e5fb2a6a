import numpy as np
import pytest
import tensorflow as tf
import torch
from torch import distributions as peers

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, random
from tests.torch_to_tf.distribution_cases import (
    assert_follows_generators,
    assert_same_results,
    assert_same_shapes,
    draws_of,
    operations,
)
from util.torch_to_tf import Categorical, Independent, MixtureSameFamily, Normal

# PyTorch's indices cannot be drawn 0 times.
DRAWS = ((), (4,), (2, 3))
# Shapes of logits and of the components' parameters, axes of an event, a value.
SHAPES = [
    ((5,), (5,), 0, (7,)),
    ((5,), (5, 2), 1, (2,)),
    ((3, 5), (3, 5, 2), 1, (4, 3, 2)),
    ((5,), (3, 5, 2), 1, (3, 2)),
    ((3, 5), (4, 3, 5), 0, (4, 3)),
    ((2, 5), (2, 5, 3, 2), 2, (2, 3, 2)),
]


def ours(logits, loc, scale, events=0):
    parts = Independent(Normal(loc, scale), events)
    return MixtureSameFamily(Categorical(logits=logits), parts)


def theirs(logits, loc, scale, events=0):
    parts = peers.Independent(peers.Normal(loc, scale), events)
    return peers.MixtureSameFamily(peers.Categorical(logits=logits), parts)


def parameters(logits, parts):
    return [random(logits, 1), random(parts, 2), np.exp(random(parts, 3))]


@pytest.mark.parametrize(("logits", "parts", "events", "value"), SHAPES)
def test_values_shapes_and_gradients_equal_torch(logits, parts, events, value):
    given = parameters(logits, parts)
    expected = theirs(*map(torch.from_numpy, given), events)
    # PyTorch draws only where there is a mixture for each batch of components.
    draws = DRAWS if logits == parts[: len(logits)] else ()
    assert_same_shapes(ours(*given, events), expected, draws)
    assert_same_results(
        lambda *x: ours(*x, events),
        lambda *x: theirs(*x, events),
        given,
        ["mean", "variance", "stddev", "log_prob"],
        random(value, 4),
        rtol=1e-4,
        atol=2e-5,
    )


@pytest.mark.parametrize("mode", MODES[:2])
def test_probabilities_of_single_numbers_equal_torch(mode):
    def make(kinds, probs, loc, scale):
        parts = kinds.Normal(loc, scale)
        return kinds.MixtureSameFamily(kinds.Categorical(probs), parts)

    class Ours:
        Normal, Categorical = Normal, Categorical
        MixtureSameFamily = MixtureSameFamily

    given = [np.float32([[0.2, 0.0, 0.8]]), random((4, 3), 2), np.exp(random((3,), 3))]
    assert_same_results(
        lambda *x: make(Ours, *x),
        lambda *x: make(peers, *x),
        given,
        ["cdf", "log_prob", "mean"],
        random((4,), 4),
        mode,
        rtol=1e-4,
        atol=2e-5,
    )


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_policy_equals_torch(mode):
    given, value = parameters((3, 5), (3, 5, 2)), random((3, 2), 4)
    assert_same_results(
        lambda *x: ours(*x, 1),
        lambda *x: theirs(*x, 1),
        given,
        ["mean", "variance", "log_prob"] if mode == "graph" else ["log_prob"],
        value,
        mode,
        rtol=1e-4,
        atol=2e-5,
    )


def test_mixture_of_indices_equals_torch():
    probs, logits = np.float32([0.3, 0.7]), random((2, 4))
    found = MixtureSameFamily(Categorical(probs), Categorical(logits=logits))
    expected = peers.MixtureSameFamily(
        peers.Categorical(torch.from_numpy(probs)),
        peers.Categorical(logits=torch.from_numpy(logits)),
    )
    assert_same_shapes(found, expected, DRAWS)
    np.testing.assert_allclose(
        found.log_prob(tf.constant([0, 3])),
        expected.log_prob(torch.tensor([0, 3])),
        rtol=1e-5,
    )
    assert_both_refuse(
        lambda: found.log_prob(tf.constant([4])),
        lambda: expected.log_prob(torch.tensor([4])),
        "value must be in the support everywhere, got 4",
    )


def test_expand_equals_torch():
    given = parameters((5,), (5, 2))
    expected = theirs(*map(torch.from_numpy, given), 1).expand((4, 3))
    assert_same_shapes(ours(*given, 1).expand((4, 3)), expected, DRAWS)
    assert_same_results(
        lambda *x: ours(*x, 1).expand((4, 3)),
        lambda *x: theirs(*x, 1).expand((4, 3)),
        given,
        ["mean", "log_prob"],
        random((4, 3, 2), 4),
        rtol=1e-4,
        atol=2e-5,
    )


# -- draws -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_draws_are_of_one_component_each(mode):
    logits = tf.math.log(tf.constant([[0.25, 0.75], [1.0, 1e-30]]))
    loc = tf.constant([[[0.0, 100.0], [10.0, 200.0]], [[-5.0, 5.0], [0.0, 0.0]]])
    draws = draws_of(lambda: ours(logits, loc, 0.1, 1), 10_000, mode)
    assert draws.shape == (10_000, 2, 2)
    first = draws[:, 0, 0] < 5.0
    assert first.mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(draws[:, 0, 1] < 150.0, first)
    np.testing.assert_allclose(draws[:, 1].mean(0), [-5.0, 5.0], atol=0.01)
    np.testing.assert_allclose(draws[:, 1].std(0), [0.1, 0.1], rtol=0.05)


def test_draws_without_a_mixture_for_each_batch_are_refused():
    given = parameters((5,), (3, 5, 2))
    assert_both_refuse(
        lambda: ours(*given, 1).sample((2,)),
        lambda: theirs(*map(torch.from_numpy, given), 1).sample((2,)),
        r"must have batch_shape=\(3,\) to draw, got \(\)",
    )


def test_draws_follow_the_seed_and_the_generator():
    assert_follows_generators(lambda: ours(tf.zeros(2), tf.zeros(2), 1.0))


def test_draws_have_no_gradient():
    loc = tf.zeros(3)
    with tf.GradientTape() as tape:
        tape.watch(loc)
        draws = ours(tf.zeros(3), loc, 1.0).sample((2,))
    assert tape.gradient(draws, loc) is None


@pytest.mark.parametrize("name", ["rsample", "entropy", "mode", "enumerate_support"])
def test_what_mixtures_lack_is_refused_as_in_torch(name):
    given = parameters((5,), (5,))
    for found in (ours(*given), theirs(*map(torch.from_numpy, given))):
        with pytest.raises(NotImplementedError):
            getattr(found, name)()


# -- graphs ----------------------------------------------------------------------------


def test_graph_checks_nothing_and_normalises_once():
    logits, part = tf.TensorSpec([None, 5]), tf.TensorSpec([None, 5, 2])
    value = tf.TensorSpec([None, 2])
    found = operations(
        lambda x, a, b, c: ours(a, b, c, 1).log_prob(x), value, logits, part, part
    )
    base = operations(
        lambda x, b, c: Normal(b, c).log_prob(x),
        tf.TensorSpec([None, 1, 2]),
        part,
        part,
    )
    own = operations(
        lambda a: tf.reduce_logsumexp(tf.nn.log_softmax(a) + a, -1), logits
    )
    assert sorted(found) == sorted([*base, *own, "ExpandDims", "Sum"])


def test_unknown_batch_size_stays_open():
    logits, part = tf.TensorSpec([None, 5]), tf.TensorSpec([None, 5, 2])

    def call(logits, loc):
        found = ours(logits, loc, 0.5, 1)
        draws = found.sample((3,))
        return draws, found.log_prob(draws), found.mean

    concrete = tf.function(call, autograph=False).get_concrete_function(logits, part)
    shapes = [o.shape.as_list() for o in concrete.outputs]
    assert shapes == [[3, None, 2], [3, None], [None, 2]]
    draws, *_ = concrete(tf.zeros([4, 5]), tf.zeros([4, 5, 2]))
    assert len(np.unique(draws)) == 24


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logits", "parts", "message"),
    [
        (
            (4,),
            (5,),
            r"must have 4 components in the last axis, got batch_shape=\(5,\)",
        ),
        ((3, 5), (2, 5), r"batch_shape=\(3,\), which does not fit \(2,\)"),
        ((5,), (), r"must have 5 components in the last axis, got batch_shape=\(\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(logits, parts, message):
    assert_both_refuse(
        lambda: ours(tf.zeros(logits), tf.zeros(parts), 1.0),
        lambda: theirs(torch.zeros(logits), torch.zeros(parts), 1.0),
        message,
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda k, c, n: k(n, n), "mixture_distribution must be a Categorical"),
        (
            lambda k, c, n: k(c, 3),
            "component_distribution must be a Distribution, got 3",
        ),
    ],
)
def test_what_is_no_distribution_is_refused(make, message):
    normal = Normal(tf.zeros(2), 1.0), peers.Normal(torch.zeros(2), 1.0)
    chosen = Categorical(tf.ones(2)), peers.Categorical(torch.ones(2))
    assert_both_refuse(
        lambda: make(MixtureSameFamily, chosen[0], normal[0]),
        lambda: make(peers.MixtureSameFamily, chosen[1], normal[1]),
        message,
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float32([np.nan, 0.0]), "value must be in the support everywhere, got nan"),
        (np.zeros(3, np.float32), r"ends in event_shape=\(2,\), got \(3,\)"),
        (np.zeros((), np.float32), r"ends in event_shape=\(2,\), got \(\)"),
    ],
)
def test_impossible_values_are_refused(value, message):
    given = parameters((5,), (5, 2))
    assert_both_refuse(
        lambda: ours(*given, 1).log_prob(value),
        lambda: theirs(*map(torch.from_numpy, given), 1).log_prob(
            torch.from_numpy(value)
        ),
        message,
    )


def test_values_are_not_checked_if_checks_are_off():
    found = MixtureSameFamily(
        Categorical(tf.ones(2)), Normal(tf.zeros(2), 1.0, False), validate_args=False
    )
    assert np.isnan(found.log_prob(tf.constant(np.nan)))
