import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_cumprod


class TestCumprod(Reduction):
    ours, theirs = staticmethod(torch_cumprod), staticmethod(torch.cumprod)
    several, keeps = False, False


ZEROS = [[], [0], [2], [4], [1, 3], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("mode", MODES)
def test_gradient_holds_where_entries_are_zero(mode):
    x = random((len(ZEROS), 5)) + 2.0
    for row, zeros in zip(x, ZEROS, strict=True):
        row[zeros] = 0.0
    for dim in (0, 1):
        assert_same_function(
            lambda x, dim=dim: torch_cumprod(x, dim),
            lambda x, dim=dim: torch.cumprod(x, dim),
            [x],
            mode,
        )


@pytest.mark.parametrize("axis", [0, 1])
def test_gradient_beside_nan_and_infinity_equals_torch(axis):
    nan, inf = np.nan, np.inf
    x = np.float32([[nan, 0, 2], [0, nan, 2], [0, inf, 2], [2, nan, 3], [0, 0, inf]])
    assert_same_function(
        lambda x: torch_cumprod(x, axis), lambda x: torch.cumprod(x, axis), [x]
    )


def test_axis_of_size_one_hands_the_gradient_on():
    x = np.float32([[np.inf, 0.0, np.nan]])
    assert_same_function(
        lambda x: torch_cumprod(x, 0), lambda x: torch.cumprod(x, 0), [x]
    )


def test_second_derivatives_equal_torch():
    x = np.float32([2.0, 0.5, 3.0])
    ours, theirs = tf.constant(x), torch.from_numpy(x).requires_grad_()
    with tf.GradientTape() as outer:
        outer.watch(ours)
        with tf.GradientTape() as inner:
            inner.watch(ours)
            total = tf.reduce_sum(torch_cumprod(ours, 0))
        first = inner.gradient(total, ours)
    total = torch.cumprod(theirs, 0).sum()
    (expected,) = torch.autograd.grad(total, theirs, create_graph=True)
    (expected,) = torch.autograd.grad(expected.square().sum(), theirs)
    with_squares = outer.gradient(first, ours, output_gradients=2 * first)
    np.testing.assert_allclose(with_squares, expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64"])
def test_entries_are_converted_beforehand(dtype):
    x = np.float32([2.7, 1.7])
    expected = torch.cumprod(torch.from_numpy(x), 0, dtype=getattr(torch, dtype))
    actual = torch_cumprod(x, 0, dtype=dtype)
    assert actual.dtype.name == dtype
    np.testing.assert_allclose(actual, expected.numpy())


def test_booleans_as_results_are_refused():
    x = np.float32([2.7, 1.7])
    assert_both_refuse(
        lambda: torch_cumprod(x, 0, dtype="bool"),
        lambda: torch.cumprod(torch.from_numpy(x), 0, dtype=torch.bool),
        "dtype must have a type of numbers, got bool",
    )
