import itertools

import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_configurable, random
from tests.torch_to_tf.conv_cases import (
    assert_both_refuse_to_convolve,
    assert_initial_values,
    assert_rounded_convolution,
    assert_same_convolution,
)
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_same_calls,
    assert_unknown_sizes_work,
)
from util.torch_to_tf import nn_ConvTranspose1d

PAIR = (nn_ConvTranspose1d, torch.nn.ConvTranspose1d)

# Input shape, kernel_size, options of layers of 4 channels to 6.
CASES = [
    ((2, 4, 5), 3, {}),
    ((4, 5), 3, {"padding": 1}),
    ((2, 4, 5), 4, {"padding": 1, "stride": 2}),
    ((2, 4, 5), 4, {"padding": 1, "stride": 2, "bias": False}),
    ((2, 4, 5), (3,), {"padding": (1,), "stride": (2,), "output_padding": (1,)}),
    ((2, 4, 5), 3, {"stride": 3, "output_padding": 2}),
    ((2, 4, 5), 3, {"padding": 2, "stride": 3, "output_padding": 1}),
    ((2, 4, 5), 2, {"stride": 4}),
    ((2, 4, 5), 3, {"dilation": 3, "output_padding": 2}),
    ((2, 4, 5), 3, {"dilation": 3, "padding": 1, "stride": 2, "output_padding": 2}),
    ((2, 4, 5), 3, {"groups": 2, "padding": 2, "stride": 2}),
    ((2, 4, 5), 3, {"groups": 2, "padding": 1, "stride": 2, "output_padding": 1}),
    ((2, 4, 5), 3, {"groups": 2, "dilation": 2, "stride": 3, "output_padding": 2}),
    ((0, 4, 5), 3, {"padding": 1, "stride": 2}),
    ((0, 4, 5), 3, {"groups": 2, "dilation": 2}),
    ((2, 4, 1), 1, {}),
    ((2, 4, 5), 3, {"padding": 3}),
]


@pytest.mark.parametrize(("shape", "size", "options"), CASES)
def test_values_gradients_and_state_equal_torch(shape, size, options):
    assert_same_convolution(*PAIR, (4, 6, size), options, shape)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    itertools.product((1, 3), (0, 2), (1, 2), (1, 2)),
)
def test_options_together_equal_torch(stride, padding, dilation, groups):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    assert_same_convolution(
        *PAIR, (4, 6, 4), {**options, "groups": groups}, (2, 4, 5), "graph"
    )


@pytest.mark.parametrize("options", [CASES[2][2], CASES[4][2], CASES[12][2]])
def test_compiled_equals_torch(options):
    assert_same_convolution(*PAIR, (4, 6, 4), options, (2, 4, 5), "jit")


# Input shape, options, output_size.
OUTPUT_SIZES = [
    ((2, 4, 5), {"stride": 3}, [14]),
    ((2, 4, 5), {"stride": 3}, (16,)),
    ((2, 4, 5), {"stride": 3, "padding": 1, "output_padding": 2}, [2, 6, 12]),
    ((4, 5), {"stride": 3, "groups": 2}, (6, 15)),
    ((2, 4, 5), {"stride": 3, "padding": 2, "dilation": 4}, [7, 7, 15]),
    ((2, 4, 5), {"stride": 2, "output_padding": 7}, [11]),
]


@pytest.mark.parametrize(("shape", "options", "size"), OUTPUT_SIZES)
@pytest.mark.parametrize("mode", MODES[:2])
def test_output_size_decides_what_is_added(shape, options, size, mode):
    layers = [make(4, 6, 2, **options) for make in PAIR]
    assert_same_calls(
        *layers, [random(shape)], lambda layer, x: layer(x, size), mode=mode
    )


@pytest.mark.parametrize(("options", "size"), [o[1:] for o in OUTPUT_SIZES[:3]])
def test_output_size_of_an_input_of_unknown_length(options, size):
    layer = nn_ConvTranspose1d(4, 6, 2, **options)
    assert_unknown_sizes_work(
        lambda x: layer(x, size),
        [random((2, 4, 5))],
        [(None, 4, None)],
        [None, 6, size[-1]],
    )


@pytest.mark.parametrize(
    ("shape", "size", "match"),
    [
        ((2, 4, 5), [17], r"output_size must be in \[14, 16\] for .* of 5, got 17"),
        ((2, 4, 5), [13], r"output_size must be in \[14, 16\]"),
        ((2, 4, 5), [6, 15], "output_size must have 1 or 3 sizes"),
        ((4, 5), [1, 6, 15], "output_size must have 1 or 2 sizes"),
        ((2, 4, 5), 15, "output_size must be a tuple of ints, got 15"),
    ],
)
def test_other_output_sizes_are_refused(shape, size, match):
    ours, theirs = (make(4, 6, 2, stride=3) for make in PAIR)
    assert_both_refuse(
        lambda: ours(np.zeros(shape, np.float32), size),
        lambda: theirs(torch.zeros(shape), size),
        match,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": 2}])
def test_products_are_rounded_if_asked_for(mode, options):
    layer = nn_ConvTranspose1d(8, 6, 4, stride=2, **options)
    assert_rounded_convolution(layer, random((16, 8, 9)), mode)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((None, 4, 5), [None, 6, 8]),
        ((None, 4, None), [None, 6, None]),
        ((2, 4, None), [2, 6, None]),
    ],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_unknown_sizes_work_and_others_stay(known, expected, groups):
    layer = nn_ConvTranspose1d(4, 6, 3, padding=2, stride=2, groups=groups)
    layer.output_padding = (1,)
    assert_unknown_sizes_work(layer.call, [random((2, 4, 5))], [known], expected)


def test_initial_values_are_uniform_within_one_over_root_of_outputs():
    assert_initial_values(nn_ConvTranspose1d(400, 20, 10, groups=2), 0.1)


def test_config_round_trip():
    assert_configurable(nn_ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, False, 2))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(
        lambda **where: nn_ConvTranspose1d(4, 6, 3, **where)
    )


# Options, input shape, what the message says.
REFUSED = [
    ({"output_padding": 1}, (2, 4, 5), "output_padding must be less than stride or"),
    ({"output_padding": -1}, (2, 4, 5), "output_padding must be 1 numbers >= 0"),
    ({"padding": 4}, (2, 4, 5), "padding must leave a result, got 4 for .* of 5"),
    ({"padding": "same"}, (2, 4, 5), "padding must be an int or a tuple of ints"),
    ({"padding_mode": "circular"}, (2, 4, 5), "padding_mode must be 'zeros', got 'c"),
    ({"groups": 3}, (2, 4, 5), "in_channels must be .* got 4 for groups=3"),
    ({}, (2, 4, 0), "input must not be empty"),
    ({}, (2, 3, 5), "input must have in_channels=4 channels"),
    ({}, (5,), "input must have 3 axes, or 2 without"),
]


@pytest.mark.parametrize(("options", "shape", "match"), REFUSED)
def test_what_torch_refuses_is_refused(options, shape, match):
    assert_both_refuse_to_convolve(*PAIR, (4, 6, 3), options, shape, match)
