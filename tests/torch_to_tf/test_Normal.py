import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.distribution_cases import (
    assert_follows_generators,
    assert_same_results,
    assert_same_shapes,
    draws_of,
    operations,
)
from util.torch_to_tf import Normal, nn_Parameter
from util.torch_to_tf.distributions import normal_entropy, normal_log_prob

PROPERTIES = ["mean", "mode", "stddev", "variance", "loc", "scale", "entropy"]
# Shapes of loc and scale, and of a value.
SHAPES = [
    ((4, 3), (4, 3), (4, 3)),
    ((3,), (4, 1), (2, 4, 3)),
    ((), (), (5,)),
    ((2, 1, 3), (), (3,)),
    ((0, 3), (3,), (0, 3)),
]


def parameters(loc, scale, dtype=np.float32):
    return [
        np.asarray(random(loc, 1), dtype),
        np.asarray(np.exp(random(scale, 2)), dtype),
    ]


def theirs(loc, scale, **options):
    return torch.distributions.Normal(loc, scale, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loc", "scale", "value"), SHAPES)
def test_values_shapes_and_gradients_equal_torch(loc, scale, value, dtype):
    given = parameters(loc, scale, dtype)
    assert_same_shapes(Normal(*given), theirs(*map(torch.from_numpy, given)))
    names = [*PROPERTIES, "log_prob", "cdf"]
    x = random(value, 3).astype(dtype)
    assert_same_results(Normal, theirs, given, names, x, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    names = ["mean", "entropy", "log_prob", "cdf", "icdf"]
    given, value = parameters((3,), (4, 1)), np.float32(random((4, 3)) % 1.0)
    assert_same_results(Normal, theirs, given, names, value, mode, rtol=1e-4, atol=2e-5)


def test_icdf_equals_torch_with_nan_beyond_0_and_1():
    points = np.float32([0.0, 1e-6, 0.1, 0.5, 0.9, 1.0 - 1e-6, 1.0, -0.1, 1.1, np.nan])
    assert_same_results(
        Normal, theirs, parameters((), ()), ["icdf"], points, rtol=1e-5, atol=1e-5
    )


def test_log_prob_far_away_and_at_infinity_equals_torch():
    values = np.float32([0.0, 1e10, -1e18, np.inf, -np.inf])
    ours, expected = (
        kind(0.5, 2.0).log_prob(x)
        for kind, x in ((Normal, values), (theirs, torch.from_numpy(values)))
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "given",
    [(0, 1), (0.5, 2.0), (1, np.float64([2.0])), (np.float32([1.0, 2.0]), 3)],
)
def test_numbers_take_the_type_and_size_of_tensors(given):
    peers = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in given]
    ours, expected = Normal(*given), theirs(*peers)
    assert_same_shapes(ours, expected)
    for name in ("loc", "scale", "variance"):
        own, other = getattr(ours, name), getattr(expected, name)
        assert own.dtype.name == other.numpy().dtype.name
        np.testing.assert_array_equal(own, other)


def test_value_of_another_type_is_promoted_as_in_torch():
    value = np.float64([0.3, -2.0])
    assert_same_function(
        lambda x, m, s: Normal(m, s).log_prob(x),
        lambda x, m, s: theirs(m, s).log_prob(x),
        [value, *parameters((2,), (2,))],
    )
    whole = Normal(0.0, 1.0).log_prob(tf.constant([1, 2]))
    expected = theirs(0.0, 1.0).log_prob(torch.tensor([1, 2]))
    np.testing.assert_allclose(whole, expected, rtol=1e-6)


def test_expand_equals_torch():
    given = parameters((3,), (4, 1))
    assert_same_shapes(
        Normal(*given).expand((2, 4, 3)),
        theirs(*map(torch.from_numpy, given)).expand((2, 4, 3)),
    )
    assert_same_results(
        lambda m, s: Normal(m, s).expand((2, 4, 3)),
        lambda m, s: theirs(m, s).expand((2, 4, 3)),
        given,
        PROPERTIES,
    )
    assert_both_refuse(
        lambda: Normal(*given).expand((5, 3)),
        lambda: theirs(*map(torch.from_numpy, given)).expand((5, 3)),
        "size must leave what is not 1",
    )


def test_expanded_distribution_keeps_whether_it_checks():
    value = tf.constant([np.nan])
    assert np.isnan(Normal(0.0, 1.0, False).expand((1,)).log_prob(value))
    with pytest.raises(ValueError, match="value must be in the support"):
        Normal(0.0, 1.0).expand((1,)).log_prob(value)


# -- draws -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_draws_have_the_mean_and_spread(mode):
    loc, scale = tf.constant([0.0, 3.0]), tf.constant([[1.0], [0.2]])
    draws = draws_of(lambda: Normal(loc, scale), 20_000, mode)
    assert draws.shape == (20_000, 2, 2)
    np.testing.assert_allclose(draws.mean(0), [[0, 3], [0, 3]], atol=0.04)
    np.testing.assert_allclose(draws.std(0), [[1, 1], [0.2, 0.2]], rtol=0.03)
    below = np.mean(draws < Normal(loc, scale).icdf(tf.constant(0.8)), 0)
    np.testing.assert_allclose(below, 0.8, atol=0.015)


def test_draws_follow_the_seed_and_the_generator():
    assert_follows_generators(lambda: Normal(0.0, 1.0))


@pytest.mark.parametrize("mode", MODES)
def test_rsample_has_gradients_and_sample_has_none(mode):
    def gradients(loc, scale):
        with tf.GradientTape() as tape:
            tape.watch([loc, scale])
            draws = Normal(loc, scale).rsample((4,))
            detached = Normal(loc, scale).sample((4,))
            total = tf.reduce_sum(draws**2 / 2.0) + tf.reduce_sum(detached**2)
        return draws, tape.gradient(total, [loc, scale])

    loc, scale = tf.constant([1.0, -2.0]), tf.constant([0.5, 3.0])
    draws, (to_loc, to_scale) = in_mode(gradients, mode)(loc, scale)
    noise = (draws - loc) / scale
    np.testing.assert_allclose(to_loc, tf.reduce_sum(draws, 0), rtol=1e-5)
    expected = tf.reduce_sum(draws * noise, 0)
    np.testing.assert_allclose(to_scale, expected, rtol=1e-4, atol=1e-5)


def test_parameters_of_modules_get_gradients():
    loc = nn_Parameter(np.float32([1.0, 2.0]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(Normal(loc, 2.0).log_prob(tf.zeros(2)))
    np.testing.assert_allclose(tape.gradient(total, loc.value), [-0.25, -0.5])


# -- graphs ----------------------------------------------------------------------------


def test_graph_checks_nothing_and_broadcasts_nothing():
    spec = tf.TensorSpec([None, 3])
    plain = operations(normal_log_prob, spec, spec, spec)
    ours = operations(lambda x, m, s: Normal(m, s).log_prob(x), spec, spec, spec)
    assert sorted(ours) == sorted(plain)


def test_unknown_sizes_stay_open_and_the_others_known():
    spec = tf.TensorSpec([None, 3])
    one = tf.TensorSpec([3])
    for scale in (spec, one):
        function = in_mode(lambda m, s: Normal(m, s).sample((2,)), "graph")
        shape = function.get_concrete_function(spec, scale).outputs[0].shape
        assert shape.as_list() == [2, None, 3]


def test_sizes_that_only_the_run_tells_broadcast():
    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None])] * 2)
    def call(loc, scale):
        found = Normal(loc, scale)
        return found.mean, found.entropy(), found.sample(), found.rsample((2,))

    mean, entropy, draw, draws = call(tf.zeros([1, 3]), tf.ones([4, 1]))
    assert mean.shape == entropy.shape == draw.shape == (4, 3)
    assert len(np.unique(draws)) == 24


def test_numbers_are_checked_in_a_graph_and_tensors_are_not():
    with pytest.raises(ValueError, match=r"scale must be > 0 everywhere, got -1\.0"):
        in_mode(lambda: Normal(0.0, -1.0).mean, "graph")()
    scale = in_mode(lambda s: Normal(0.0, s).scale, "graph")(tf.constant(-1.0))
    assert scale.numpy() == -1.0


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0.0, 0.0), r"scale must be > 0 everywhere, got 0\.0"),
        ((0.0, -1), r"scale must be > 0 everywhere, got -1"),
        ((float("nan"), 1.0), "loc must be a number everywhere, got nan"),
        (("a", 1.0), "loc must be a number or a tensor, got 'a'"),
        (([0.0], 1.0), r"loc must be a number or a tensor, got \[0\.0\]"),
        ((0.0, None), "scale must be a number or a tensor, got None"),
    ],
)
def test_impossible_parameters_are_refused(given, message):
    assert_both_refuse(lambda: Normal(*given), lambda: theirs(*given), message)


def test_parameters_that_do_not_broadcast_are_refused():
    assert_both_refuse(
        lambda: Normal(tf.zeros(2), tf.ones(3)),
        lambda: theirs(torch.zeros(2), torch.ones(3)),
        r"loc and scale must broadcast, got shapes \(2,\) and \(3,\)",
    )


def test_one_bad_entry_is_refused_unless_checks_are_off():
    scale = np.float32([1.0, np.nan])
    assert_both_refuse(
        lambda: Normal(0.0, scale),
        lambda: theirs(0.0, torch.from_numpy(scale)),
        "scale must be > 0 everywhere, got nan",
    )
    for kind, x in ((Normal, scale), (theirs, torch.from_numpy(scale))):
        assert np.isnan(kind(0.0, x, validate_args=False).variance[1])


@pytest.mark.parametrize("name", ["log_prob", "cdf"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            np.float32([[0.0, np.nan]]),
            "value must be in the support everywhere, got nan",
        ),
        (np.zeros(3, np.float32), r"broadcasts to batch_shape=\(2,\) .* got \(3,\)"),
    ],
)
def test_impossible_values_are_refused(name, value, message):
    ours = getattr(Normal(tf.zeros(2), 1.0), name)
    peer = getattr(theirs(torch.zeros(2), 1.0), name)
    assert_both_refuse(
        lambda: ours(value), lambda: peer(torch.from_numpy(value)), message
    )


def test_values_that_are_no_tensors_are_refused():
    assert_both_refuse(
        lambda: Normal(0.0, 1.0).log_prob(0.5),
        lambda: theirs(0.0, 1.0).log_prob(0.5),
        "value must be a tensor, got 0.5",
    )


@pytest.mark.parametrize(
    ("shape", "message"), [(3, "a tuple of ints"), ((-1,), ">= 0")]
)
def test_impossible_sizes_of_draws_are_refused(shape, message):
    assert_both_refuse(
        lambda: Normal(0.0, 1.0).sample(shape),
        lambda: theirs(0.0, 1.0).sample(shape),
        f"sample_shape.* must be {message}",
    )


def test_what_normal_distributions_lack_is_refused_as_in_torch():
    for found in (Normal(0.0, 1.0), theirs(0.0, 1.0)):
        with pytest.raises(NotImplementedError):
            found.enumerate_support()


# -- the densities that the policies use -----------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_normal_log_prob_and_its_gradients_equal_torch(mode):
    value, mean, std = random((4, 3), 1), random((4, 3), 2), np.exp(random((4, 3), 3))
    assert_same_function(
        normal_log_prob,
        lambda v, m, s: theirs(m, s).log_prob(v),
        [value, mean, std],
        mode,
        rtol=1e-4,
        atol=1e-4,
    )


def test_normal_entropy_equals_torch():
    std = np.exp(random((4, 3)))
    assert_same_function(normal_entropy, lambda s: theirs(0.0, s).entropy(), [std])
