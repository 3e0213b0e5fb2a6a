import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_same_function, random
from util.torch_to_tf.functional import (
    normal_entropy,
    normal_log_prob,
    torch_clamp,
    torch_quantile,
    torch_std,
    torch_tanh,
)

BOUNDS = [(-0.5, 0.5), (None, 0.5), (-0.5, None), (0.5, -0.5)]
ON_BOUNDS = np.float32([-1.0, -0.5, 0.0, 0.5, 1.0, np.inf, -np.inf])


@pytest.mark.parametrize("mode", MODES)
def test_clamp_equals_torch_on_and_beyond_the_bounds(mode):
    assert_same_function(
        lambda x: torch_clamp(x, -0.5, 0.5),
        lambda x: torch.clamp(x, -0.5, 0.5),
        [ON_BOUNDS],
        mode,
    )


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clamp_with_one_bound_or_swapped_bounds_equals_torch(low, high):
    assert_same_function(
        lambda x: torch_clamp(x, min=low, max=high),
        lambda x: torch.clamp(x, min=low, max=high),
        [ON_BOUNDS],
    )


def test_clamp_keeps_nan():
    assert np.isnan(torch_clamp(tf.constant(np.nan), -1.0, 1.0))


@pytest.mark.parametrize("mode", MODES)
def test_clamp_to_tensors_gives_them_their_gradients(mode):
    low, high = random((3, 50), 1) - 0.5, random((3, 50), 2) + 0.5
    assert_same_function(torch_clamp, torch.clamp, [random((3, 50)), low, high], mode)


def test_clamp_without_bounds_is_refused():
    with pytest.raises(ValueError, match="at least one of min and max"):
        torch_clamp(tf.zeros([1]))


@pytest.mark.parametrize("mode", MODES)
def test_tanh_is_correctly_rounded(mode):
    x = np.linspace(-9, 9, 201, dtype=np.float32)
    expected = np.tanh(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(in_mode(torch_tanh, mode)(tf.constant(x)), expected)


def test_tanh_and_its_gradient_equal_torch_near_saturation():
    x = np.linspace(-9, 9, 201, dtype=np.float32)
    assert_same_function(torch_tanh, torch.tanh, [x], atol=2.4e-7)


@pytest.mark.parametrize("mode", MODES[:2])
def test_normal_log_prob_and_its_gradients_equal_torch(mode):
    value, mean, std = random((4, 3), 1), random((4, 3), 2), np.exp(random((4, 3), 3))
    assert_same_function(
        normal_log_prob,
        lambda v, m, s: torch.distributions.Normal(m, s).log_prob(v),
        [value, mean, std],
        mode,
        rtol=1e-4,
        atol=1e-4,
    )


def test_normal_entropy_equals_torch():
    std = np.exp(random((4, 3)))
    assert_same_function(
        normal_entropy, lambda s: torch.distributions.Normal(0.0, s).entropy(), [std]
    )


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("shape", [(2,), (7, 3)])
def test_std_is_unbiased_and_over_all_entries(shape, mode):
    assert_same_function(torch_std, torch.std, [random(shape)], mode)


def test_std_of_one_entry_is_nan_as_in_torch():
    assert np.isnan(torch_std(tf.constant([2.0])))


@pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("shape", [(1,), (10,), (3, 7)])
def test_quantile_equals_torch(shape, q):
    assert_same_function(
        lambda x: torch_quantile(x, q), lambda x: torch.quantile(x, q), [random(shape)]
    )


def test_quantile_interpolates_between_neighbours():
    for mode in MODES:
        function = in_mode(lambda x: torch_quantile(x, 0.25), mode)
        assert function(tf.constant([3.0, 1.0, 2.0])).numpy() == 1.5
