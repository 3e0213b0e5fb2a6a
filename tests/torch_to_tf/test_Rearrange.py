import einops
import numpy as np
import pytest
import tensorflow as tf
import torch
from einops.layers.torch import Rearrange

from tests.modes import MODES
from tests.torch_to_tf.compare import (
    assert_configurable,
    assert_same_function,
    random,
)
from tests.torch_to_tf.module_cases import assert_unknown_sizes_work
from util.torch_to_tf import einops_layers_torch_Rearrange, nn_Linear, nn_Sequential

# Pattern, sizes of axes, shape of the input.
CASES = [
    ("a b -> b a", {}, (2, 3)),
    ("b h w c -> b c h w", {}, (2, 3, 4, 5)),
    ("b (h p) (w q) -> (b h w) p q", {"p": 2, "q": 3}, (2, 4, 9)),
    ("b (h w) c -> b h w c", {"w": 2}, (3, 6, 2)),
    ("b t -> b t 1", {}, (2, 3)),
    ("b t 1 -> b t", {}, (2, 3, 1)),
    ("b ... t -> b t ...", {}, (2, 3, 4, 5)),
    ("b t h -> b (t h)", {}, (0, 3, 4)),
    ("-> 1", {}, ()),
]


@pytest.mark.parametrize(("pattern", "axes", "shape"), CASES)
def test_values_and_gradients_equal_torch(pattern, axes, shape):
    ours = einops_layers_torch_Rearrange(pattern, **axes)
    assert_same_function(ours, Rearrange(pattern, **axes), [np.asarray(random(shape))])


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    pattern, axes, shape = CASES[2]
    ours = einops_layers_torch_Rearrange(pattern, **axes)
    assert_same_function(ours, Rearrange(pattern, **axes), [random(shape)], mode)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, bool])
def test_types_stay(dtype):
    x = (random((2, 3)) > 0).astype(dtype)
    assert_same_function(
        einops_layers_torch_Rearrange("a b -> b a"), lambda x: x.T, [x]
    )


def test_unknown_sizes_work_and_others_stay():
    layer = einops_layers_torch_Rearrange("b (h p) c -> b h (p c)", p=2)
    x = random((3, 4, 5))
    assert_unknown_sizes_work(layer, [x], [(None, 4, 5)], [None, 2, 10])
    assert_unknown_sizes_work(layer, [x], [(3, None, 5)], [3, None, 10])


def test_stands_in_a_sequence_without_keys_of_its_own():
    layers = nn_Sequential(einops_layers_torch_Rearrange("a b -> b a"), nn_Linear(2, 1))
    assert list(layers.state_dict()) == ["1.weight", "1.bias"]
    assert layers(tf.zeros([2, 3])).shape == (3, 1)


def test_config_round_trip():
    assert_configurable(einops_layers_torch_Rearrange("b (h w) -> b h w", w=2))


@pytest.mark.parametrize(
    ("pattern", "axes"),
    [
        ("a b -> a c", {}),
        ("a b b -> a b", {}),
        ("a (b -> a b", {}),
        ("a b", {}),
        ("a b -> b a", {"c": 2}),
    ],
)
def test_wrong_patterns_are_refused_when_the_layer_is_made(pattern, axes):
    for make in (einops_layers_torch_Rearrange, Rearrange):
        with pytest.raises((einops.EinopsError, ValueError)):
            make(pattern, **axes)


def test_inputs_that_do_not_fit_are_refused_with_the_error_of_einops():
    layers = einops_layers_torch_Rearrange, Rearrange
    for make, zeros in zip(layers, (tf.zeros, torch.zeros), strict=True):
        with pytest.raises(einops.EinopsError, match="can't divide axis of length 5"):
            make("a (b c) -> a b c", b=2)(zeros((2, 5)))
    with pytest.raises(einops.EinopsError, match="Wrong shape: expected 2 dims"):
        einops_layers_torch_Rearrange("a b -> b a")(tf.zeros([2, 3, 4]))


def test_a_list_is_refused():
    with pytest.raises(TypeError, match="input must be a tensor"):
        einops_layers_torch_Rearrange("a b -> b a")([[1.0]])
