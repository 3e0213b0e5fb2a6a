import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.init_cases import (
    assert_fills_variables_of_floats,
    assert_follows_seed_and_generator,
    assert_refuses_what_is_no_variable,
    assert_refuses_whole_numbers,
    filled,
)
from util.torch_to_tf import torch_nn_init_trunc_normal_

theirs = torch.nn.init.trunc_normal_
# mean, std, a, b: wide, one-sided, in a tail, and next to constant.
CASES = [
    (0.0, 1.0, -2.0, 2.0),
    (0.5, 0.2, -2.0, 2.0),
    (0.0, 1.0, 0.5, 3.0),
    (0.0, 1.0, -0.1, 0.1),
    (1.0, 0.5, -3.0, 0.3),
    (0.0, 1.0, 1.9, 2.5),
    (2.0, 3.0, 2.0, 2.0),
]
FAR = [(0.0, 1.0, 3.0, 4.0), (0.0, 1.0, -5.5, -5.0), (1.0, 0.1, 2.0, 2.05)]


def quantiles(values):
    return np.quantile(values, [0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0])


def assert_same_distribution(options):
    names = dict(zip(("mean", "std", "a", "b"), options, strict=True))
    ours = filled(torch_nn_init_trunc_normal_, (50, 200), **names)
    torch.manual_seed(0)
    expected = theirs(torch.empty(50, 200), **names).numpy()
    assert np.all((ours >= np.float32(names["a"])) & (ours <= np.float32(names["b"])))
    spread = expected.std()
    found = quantiles(ours)
    np.testing.assert_allclose(
        found[1:-1], quantiles(expected)[1:-1], atol=0.15 * spread
    )


@pytest.mark.parametrize("options", CASES)
def test_values_have_the_distribution_of_torch(options):
    assert_same_distribution(options)


@pytest.mark.parametrize("options", FAR)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_values_in_a_far_tail_have_the_distribution_of_torch(options):
    with pytest.warns(UserWarning, match=r"is more than 2 std=.* outside of \["):
        assert_same_distribution(options)


def test_beyond_the_precision_of_probabilities_values_are_at_the_near_end():
    with pytest.warns(UserWarning, match="more than 2 std"):
        values = filled(torch_nn_init_trunc_normal_, (3,), a=50.0, b=60.0)
    np.testing.assert_array_equal(values, [50.0, 50.0, 50.0])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 2)])
def test_any_number_of_axes_is_filled(shape):
    values = filled(torch_nn_init_trunc_normal_, shape)
    assert values.shape == shape
    assert np.all(np.abs(values) <= 2.0)


def test_variables_of_all_kinds_are_filled():
    assert_fills_variables_of_floats(torch_nn_init_trunc_normal_)


def test_values_follow_the_seed_and_the_generator():
    assert_follows_seed_and_generator(torch_nn_init_trunc_normal_)


def test_what_cannot_be_filled_is_refused():
    assert_refuses_what_is_no_variable(torch_nn_init_trunc_normal_)
    assert_refuses_whole_numbers(torch_nn_init_trunc_normal_, theirs)


def test_bounds_in_the_wrong_order_are_refused():
    assert_both_refuse(
        lambda: filled(torch_nn_init_trunc_normal_, (2,), a=1.0, b=0.0),
        lambda: theirs(torch.zeros(2), a=1.0, b=0.0),
        r"a must be <= b=0\.0, got 1\.0",
    )


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_no_spread_is_refused(std):
    """PyTorch divides by 0; it takes a negative one for its opposite."""
    with pytest.raises(ZeroDivisionError):
        theirs(torch.zeros(2), std=0.0)
    with pytest.raises(ValueError, match=f"std must be > 0, got {std}"):
        torch_nn_init_trunc_normal_(tf.Variable([0.0]), std=std)
