import warnings

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import torch_mse_loss

theirs = torch.nn.functional.mse_loss
REDUCTIONS = ["none", "mean", "sum"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0, 3)])
def test_values_and_gradients_equal_torch(shape, reduction, weighted):
    given = [np.asarray(random(shape, seed)) for seed in range(2 + weighted)]
    assert_same_function(
        lambda x, y, *w: torch_mse_loss(
            x, y, reduction=reduction, weight=[*w, None][0]
        ),
        lambda x, y, *w: theirs(x, y, reduction=reduction, weight=[*w, None][0]),
        given,
    )


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_compiled_equals_torch(reduction, mode):
    assert_same_function(
        lambda x, y: torch_mse_loss(x, y, reduction=reduction),
        lambda x, y: theirs(x, y, reduction=reduction),
        [random((2, 3)), random((2, 3), 1)],
        mode,
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (np.float32, np.float64),
        (np.int64, np.float32),
        (np.bool_, np.float32),
        (np.float16, np.float32),
        (np.float16, np.float16),
    ],
)
def test_types_are_promoted_as_in_torch(first, second):
    x, y = np.array([0, 1, 1]).astype(first), np.array([2, 0, 1]).astype(second)
    found, expected = torch_mse_loss(x, y), theirs(*map(torch.from_numpy, (x, y)))
    assert found.dtype.name == expected.numpy().dtype.name
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_other_shapes_are_broadcast_with_a_warning_as_in_torch():
    with pytest.warns(UserWarning, match=r"has shape \(2, 1\), input \(3,\)"):
        found = torch_mse_loss(tf.zeros(3), tf.ones([2, 1]), reduction="none")
    assert found.shape == (2, 3)
    with pytest.warns(UserWarning, match="target size"):
        assert theirs(torch.zeros(3), torch.ones(2, 1), reduction="none").shape == (
            2,
            3,
        )


def test_weights_of_a_broadcast_target_equal_torch():
    given = [random((3,)), random((2, 3), 1), np.float32([1.0, 2.0, 0.0])]
    with pytest.warns(UserWarning, match="has shape"):
        found = torch_mse_loss(*given[:2], weight=given[2])
    with pytest.warns(UserWarning, match="target size"):
        expected = theirs(
            *map(torch.from_numpy, given[:2]), weight=torch.from_numpy(given[2])
        )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "old",
    [
        {"size_average": False},
        {"reduce": False},
        {"size_average": True},
        {"size_average": False, "reduce": True},
    ],
)
def test_old_arguments_equal_torch(old):
    x, y = random((2, 3)), random((2, 3), 1)
    with pytest.warns(UserWarning, match="use reduction"):
        found = torch_mse_loss(x, y, **old)
    with pytest.warns(UserWarning, match="use reduction"):
        expected = theirs(torch.from_numpy(x), torch.from_numpy(y), **old)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_unknown_sizes_do_not_warn():
    function = in_mode(lambda x, y: torch_mse_loss(x, y, reduction="none"), "graph")
    specs = [tf.TensorSpec([None, 3]), tf.TensorSpec([2, 3])]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        shape = function.get_concrete_function(*specs).outputs[0].shape
    assert shape.as_list() == [2, 3]


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (
            ((3,), (2,)),
            {},
            r"input and target must broadcast, got shapes \[\(3,\), \(2,\)\]",
        ),
        (((3,), (3,)), {"reduction": "max"}, "reduction must be one of .* got 'max'"),
    ],
)
def test_impossible_arguments_are_refused(shapes, options, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_both_refuse(
            lambda: torch_mse_loss(*map(tf.zeros, shapes), **options),
            lambda: theirs(*map(torch.zeros, shapes), **options),
            message,
        )


def test_weights_of_another_shape_are_refused():
    assert_both_refuse(
        lambda: torch_mse_loss(tf.zeros(3), tf.zeros(3), weight=tf.ones(1)),
        lambda: theirs(torch.zeros(3), torch.zeros(3), weight=torch.ones(1)),
        r"weight must have the shape \(3,\) of input, got \(1,\)",
    )


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_types_that_are_not_floating_are_refused(dtype):
    x = np.zeros(2, dtype)
    assert_both_refuse(
        lambda: torch_mse_loss(x, x),
        lambda: theirs(torch.from_numpy(x), torch.from_numpy(x)),
        f"input must have with target a floating type, got {dtype}",
    )


@pytest.mark.parametrize("target", [2.0, [2.0]])
def test_targets_that_are_no_tensors_are_refused(target):
    with pytest.raises(AttributeError):
        theirs(torch.zeros(1), target)
    with pytest.raises(TypeError, match="target must be a tensor"):
        torch_mse_loss(tf.zeros(1), target)
