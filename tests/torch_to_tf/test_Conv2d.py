import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_configurable, random
from tests.torch_to_tf.conv_cases import (
    assert_both_refuse_to_convolve,
    assert_initial_values,
    assert_rounded_convolution,
    assert_same_convolution,
)
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_unknown_sizes_work,
)
from util.torch_to_tf import nn_Conv2d

PAIR = (nn_Conv2d, torch.nn.Conv2d)

# Input shape, kernel_size, options of layers of 4 channels to 6.
CASES = [
    ((2, 4, 9, 7), 3, {}),
    ((4, 9, 7), (3, 2), {"padding": 1}),
    ((2, 4, 9, 7), (3, 2), {"padding": "same"}),
    ((2, 4, 9, 7), (3, 5), {"padding": (1, 2)}),
    ((2, 4, 9, 7), 3, {"padding": (0, 1), "stride": (2, 1), "bias": False}),
    ((2, 4, 9, 7), 3, {"padding": (2, 1), "dilation": (2, 1)}),
    ((2, 4, 9, 7), (2, 3), {"padding": "same", "dilation": (2, 3)}),
    ((2, 4, 9, 7), 3, {"padding": 1, "groups": 2, "stride": (1, 2)}),
    ((2, 4, 9, 7), (9, 7), {"padding": "valid", "stride": (3,)}),
    ((0, 4, 9, 7), 3, {"padding": 1}),
]


@pytest.mark.parametrize(("shape", "size", "options"), CASES)
def test_values_gradients_and_state_equal_torch(shape, size, options):
    assert_same_convolution(*PAIR, (4, 6, size), options, shape)


@pytest.mark.parametrize("options", [CASES[4][2], CASES[6][2], CASES[7][2]])
@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(options, mode):
    assert_same_convolution(*PAIR, (4, 6, 3), options, (2, 4, 9, 7), mode)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(("padding", "size"), [((3, 2), (3, 2)), ("same", (2, 4))])
def test_padding_with_values_of_the_input_equals_torch(mode, padding, size):
    options = {"padding": padding, "padding_mode": mode}
    assert_same_convolution(*PAIR, (4, 6, size), options, (2, 4, 5, 6))
    assert_same_convolution(*PAIR, (4, 6, size), options, (4, 5, 6))


@pytest.mark.parametrize("mode", MODES)
def test_products_are_rounded_if_asked_for(mode):
    layer = nn_Conv2d(8, 6, 3, padding="same")
    assert_rounded_convolution(layer, random((4, 8, 5, 6)), mode)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ((None, 4, 9, 7), [None, 6, 5, 6]),
        ((None, 4, None, None), [None, 6, None, None]),
        ((2, 4, None, 7), [2, 6, None, 6]),
    ],
)
def test_unknown_sizes_work_and_others_stay(known, expected):
    layer = nn_Conv2d(4, 6, (3, 4), padding=1, stride=(2, 1))
    assert_unknown_sizes_work(layer.call, [random((2, 4, 9, 7))], [known], expected)


def test_initial_values_are_uniform_within_one_over_root_of_inputs():
    assert_initial_values(nn_Conv2d(8, 400, (5, 5), groups=2), 0.1)


def test_config_round_trip():
    assert_configurable(nn_Conv2d(4, 6, (3, 2), padding="same", dilation=2, groups=2))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(lambda **where: nn_Conv2d(4, 6, 3, **where))


# Arguments, options, input shape, what the message says.
REFUSED = [
    ((4, 6, (2, 3, 1)), {}, (2, 4, 9, 7), "kernel_size must be 2 numbers >= 1, got"),
    ((4, 6, 3), {"stride": (1, 0)}, (2, 4, 9, 7), "stride must be 2 numbers >= 1, got"),
    ((4, 6, 3), {"padding": "same", "stride": (1, 2)}, (2, 4, 9, 7), "stride must be"),
    ((4, 6, 3), {}, (9, 7), r"input must have 4 axes, or 3 without .* \(9, 7\)"),
    ((4, 6, 3), {}, (2, 5, 9, 7), "input must have in_channels=4 channels"),
    ((4, 6, (2, 4)), {"padding": (0, 1)}, (2, 4, 9, 1), "input must have at least 2 e"),
]


@pytest.mark.parametrize(("arguments", "options", "shape", "match"), REFUSED)
def test_what_torch_refuses_is_refused(arguments, options, shape, match):
    assert_both_refuse_to_convolve(*PAIR, arguments, options, shape, match)


@pytest.mark.parametrize(("mode", "padding"), [("reflect", 5), ("circular", (0, 7))])
def test_padding_beyond_the_input_is_refused(mode, padding):
    options = {"padding": padding, "padding_mode": mode}
    assert_both_refuse_to_convolve(
        *PAIR,
        (4, 6, 3),
        options,
        (2, 4, 5, 6),
        "pad must (be less than size|go around)",
    )
