import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_configurable, random
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_same_calls,
    assert_unknown_sizes_work,
)
from util.torch_to_tf import nn_GroupNorm

# Input shape, num_groups, options of layers of 6 channels.
CASES = [
    ((2, 6, 5), 3, {}),
    ((2, 6, 5), 1, {"eps": 1e-2}),
    ((2, 6, 5), 6, {"bias": False}),
    ((2, 6, 3, 4), 2, {"affine": False}),
    ((2, 6), 2, {}),
    ((1, 6, 2), 6, {}),
    ((0, 6, 5), 3, {}),
    ((2, 6, 0), 3, {}),
    ((2, 9, 5), 3, {"affine": False}),
]


@pytest.mark.parametrize(("shape", "groups", "options"), CASES)
def test_values_gradients_and_state_equal_torch(shape, groups, options):
    ours, theirs = (c(groups, 6, **options) for c in (nn_GroupNorm, torch.nn.GroupNorm))
    assert_same_calls(ours, theirs, [3.0 + 2.0 * random(shape)])


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 6, 3, 4)])
def test_compiled_equals_torch(shape, mode):
    ours, theirs = nn_GroupNorm(3, 6), torch.nn.GroupNorm(3, 6)
    assert_same_calls(ours, theirs, [random(shape)], mode=mode)


def test_float64_equals_torch():
    ours = nn_GroupNorm(3, 6, dtype=tf.float64)
    theirs = torch.nn.GroupNorm(3, 6, dtype=torch.float64)
    x = random((2, 6, 5)).astype(np.float64)
    assert_same_calls(ours, theirs, [x], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "known", "expected"),
    [
        ((2, 6, 5), (None, 6, 5), [None, 6, 5]),
        ((2, 6, 5), (None, 6, None), [None, 6, None]),
        ((2, 6, 5), (None, None, 5), [None, 6, 5]),
        ((2, 6, 3, 4), (2, 6, None, 4), [2, 6, None, 4]),
    ],
)
def test_unknown_sizes_work_and_others_stay(shape, known, expected):
    layer = nn_GroupNorm(3, 6)
    assert_unknown_sizes_work(layer.call, [random(shape)], [known], expected)


def test_starts_as_plain_normalisation():
    state = nn_GroupNorm(2, 6).state_dict()
    np.testing.assert_array_equal(state["weight"], np.ones(6))
    np.testing.assert_array_equal(state["bias"], np.zeros(6))


def test_groups_do_not_see_each_other():
    x = random((1, 4, 3))
    other = x.copy()
    other[:, 2:] += random((1, 2, 3), 1)
    first, second = (nn_GroupNorm(2, 4)(v).numpy() for v in (x, other))
    np.testing.assert_array_equal(first[:, :2], second[:, :2])
    assert not np.isclose(first[:, 2:], second[:, 2:]).any()


def test_config_round_trip():
    assert_configurable(nn_GroupNorm(2, 6, 1e-3, bias=False))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(lambda **where: nn_GroupNorm(2, 6, **where))


@pytest.mark.parametrize(
    ("arguments", "shape", "match"),
    [
        ((2, 3), (2, 3, 5), "divide num_channels=3, got 2"),
        ((2, 4), (4,), "input must have 2 axes or more"),
        ((2, 4), (2, 3, 5), "input must have num_channels=4 channels"),
        ((2, 4), (2, 6, 5), "input must have num_channels=4 channels"),
        ((4, 4), (1, 4, 1), "input must have more than one value to a group"),
        ((4, 4), (1, 4), "input must have more than one value to a group"),
    ],
)
def test_what_torch_refuses_is_refused(arguments, shape, match):
    assert_both_refuse(
        lambda: nn_GroupNorm(*arguments)(tf.zeros(shape)),
        lambda: torch.nn.GroupNorm(*arguments)(torch.zeros(shape)),
        match,
    )


@pytest.mark.parametrize("groups", [0, -1])
def test_no_groups_are_refused(groups):
    with pytest.raises(ValueError, match=f"num_groups must be >= 1 .*, got {groups}"):
        nn_GroupNorm(groups, 4)


def test_input_of_another_type_is_refused():
    assert_both_refuse(
        lambda: nn_GroupNorm(2, 4)(tf.zeros([2, 4, 3], tf.float64)),
        lambda: torch.nn.GroupNorm(2, 4)(torch.zeros(2, 4, 3, dtype=torch.float64)),
        "input must be float32 as the parameters are, got float64",
    )
