import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.activation_cases import assert_same_second_gradient
from tests.torch_to_tf.compare import (
    assert_both_refuse,
    assert_configurable,
    assert_same_module,
    random,
)
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_unknown_sizes_work,
)
from util.torch_to_tf import nn_LayerNorm

CASES = [
    ((6, 5), 5, {}),
    ((6, 2, 5), 5, {"eps": 1e-2}),
    ((6, 2, 5), (2, 5), {}),
    ((6, 5), [5], {"elementwise_affine": False}),
    ((6, 5), 5, {"bias": False}),
    ((5,), 5, {}),
    ((3, 2), 2, {}),
    ((0, 5), 5, {}),
    ((2, 3, 0), (3, 0), {}),
]


@pytest.mark.parametrize(("shape", "normalized", "options"), CASES)
def test_values_gradients_and_state_equal_torch(shape, normalized, options):
    ours, theirs = (
        c(normalized, **options) for c in (nn_LayerNorm, torch.nn.LayerNorm)
    )
    assert_same_module(ours, theirs, random(shape))


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    ours, theirs = nn_LayerNorm(5), torch.nn.LayerNorm(5)
    assert_same_module(ours, theirs, random((6, 5)), mode)


@pytest.mark.parametrize("mode", MODES)
def test_second_gradient_equals_torch(mode):
    ours = nn_LayerNorm(5, dtype="float64")
    theirs = torch.nn.LayerNorm(5, dtype=torch.float64)
    weight = np.linspace(0.5, 2.0, 5)
    ours.weight.assign(weight)
    theirs.weight.data = torch.tensor(weight)
    x = np.random.default_rng(0).standard_normal((6, 5))
    assert_same_second_gradient(ours, theirs, x, mode)


def test_variance_is_biased():
    out = nn_LayerNorm(2, eps=0.0)(tf.constant([[1.0, 3.0]]))
    np.testing.assert_allclose(out, [[-1.0, 1.0]], rtol=1e-6)


def test_starts_as_plain_normalisation():
    state = nn_LayerNorm((2, 3)).state_dict()
    np.testing.assert_array_equal(state["weight"], np.ones((2, 3)))
    np.testing.assert_array_equal(state["bias"], np.zeros((2, 3)))


def test_config_round_trip():
    assert_configurable(nn_LayerNorm((2, 3), eps=1e-6, bias=False))


@pytest.mark.parametrize("normalized", [4, (2, 5)])
def test_input_of_another_shape_is_refused(normalized):
    with pytest.raises(ValueError, match=r"shape \(6, 5\), expected .* normalized"):
        nn_LayerNorm(normalized)(tf.zeros([6, 5]))


@pytest.mark.parametrize(
    ("normalized", "match"),
    [
        ((), r"normalized_shape must have sizes >= 0, got \(\)"),
        (-1, "normalized_shape must have sizes >= 0, got -1"),
        (2.5, "not iterable"),
    ],
)
def test_impossible_shapes_are_refused(normalized, match):
    assert_both_refuse(
        lambda: nn_LayerNorm(normalized)(tf.zeros([2, 5])),
        lambda: torch.nn.LayerNorm(normalized)(torch.zeros(2, 5)),
        match,
    )


def test_input_of_another_type_is_refused():
    assert_both_refuse(
        lambda: nn_LayerNorm(5)(tf.zeros([2, 5], tf.float64)),
        lambda: torch.nn.LayerNorm(5)(torch.zeros(2, 5, dtype=torch.float64)),
        "input must be float32 as the parameters are, got float64",
    )


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(lambda **where: nn_LayerNorm(5, **where))


def test_unknown_sizes_work_and_others_stay():
    layer, x = nn_LayerNorm((2, 5)), random((6, 2, 5))
    assert_unknown_sizes_work(layer, [x], [(None, 2, 5)], [None, 2, 5])
    assert_unknown_sizes_work(layer, [x], [(None, None, 5)], [None, 2, 5])
