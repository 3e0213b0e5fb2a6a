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
from util.torch_to_tf import nn_Conv1d

PAIR = (nn_Conv1d, torch.nn.Conv1d)

# Input shape, kernel_size, options of layers of 4 channels to 6.
CASES = [
    ((2, 4, 9), 3, {}),
    ((4, 9), 3, {"padding": 1}),
    ((2, 4, 9), 1, {"bias": False}),
    ((2, 4, 9), 5, {"padding": 2}),
    ((2, 4, 9), 4, {"padding": "same"}),
    ((2, 4, 9), 4, {"padding": "valid", "stride": 2}),
    ((2, 4, 8), 3, {"padding": 1, "stride": 2}),
    ((2, 4, 9), (3,), {"padding": (2,), "stride": (3,), "dilation": (2,)}),
    ((2, 4, 9), 3, {"padding": "same", "dilation": 3}),
    ((2, 4, 9), 3, {"padding": 1, "groups": 2}),
    ((2, 4, 9), 3, {"padding": 3, "groups": 2, "dilation": 2, "stride": 2}),
    ((2, 4, 9), 9, {}),
    ((0, 4, 9), 3, {"padding": 1}),
    ((0, 4, 9), 3, {"padding": 2, "groups": 2, "dilation": 2}),
    ((2, 4, 1), 3, {"padding": 1}),
]


@pytest.mark.parametrize(("shape", "size", "options"), CASES)
def test_values_gradients_and_state_equal_torch(shape, size, options):
    assert_same_convolution(*PAIR, (4, 6, size), options, shape)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    itertools.product((1, 2), (0, 1), (1, 2), (1, 2)),
)
def test_options_together_equal_torch(stride, padding, dilation, groups):
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    assert_same_convolution(
        *PAIR, (4, 6, 3), {**options, "groups": groups}, (2, 4, 8), "graph"
    )


@pytest.mark.parametrize("options", [CASES[3][2], CASES[6][2], CASES[10][2]])
def test_compiled_equals_torch(options):
    assert_same_convolution(*PAIR, (4, 6, 3), options, (2, 4, 8), "jit")


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    ("padding", "size"), [(3, 3), ("same", 4), ("same", 1), (4, 2)]
)
def test_padding_with_values_of_the_input_equals_torch(mode, padding, size):
    options = {"padding": padding, "padding_mode": mode}
    assert_same_convolution(*PAIR, (4, 6, size), options, (2, 4, 5))
    assert_same_convolution(*PAIR, (4, 6, size), options, (4, 5))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_compiled_padding_equals_torch(mode):
    options = {"padding": 2, "padding_mode": mode, "stride": 2}
    assert_same_convolution(*PAIR, (4, 6, 3), options, (2, 4, 5), "jit")


def test_replicated_padding_may_be_longer_than_the_input():
    options = {"padding": 9, "padding_mode": "replicate"}
    assert_same_convolution(*PAIR, (4, 6, 3), options, (2, 4, 5))


def test_float64_equals_torch():
    ours = nn_Conv1d(4, 6, 3, padding=1, stride=2, dtype="float64")
    theirs = torch.nn.Conv1d(4, 6, 3, padding=1, stride=2, dtype=torch.float64)
    x = random((2, 4, 9)).astype(np.float64)
    assert_same_calls(ours, theirs, [x], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": 1, "stride": 2}])
def test_products_are_rounded_if_asked_for(mode, options):
    layer = nn_Conv1d(8, 6, 3, **options)
    assert_rounded_convolution(layer, random((16, 8, 9)), mode)


@pytest.mark.parametrize(
    ("shape", "known", "expected"),
    [
        ((2, 4, 9), (None, 4, 9), [None, 6, 5]),
        ((2, 4, 9), (None, 4, None), [None, 6, None]),
        ((2, 4, 9), (None, None, 9), [None, 6, 5]),
        ((4, 9), (4, None), [6, None]),
    ],
)
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_unknown_sizes_work_and_others_stay(shape, known, expected, mode):
    layer = nn_Conv1d(4, 6, 3, padding=1, stride=2, padding_mode=mode)
    assert_unknown_sizes_work(layer.call, [random(shape)], [known], expected)


def test_initial_values_are_uniform_within_one_over_root_of_inputs():
    assert_initial_values(nn_Conv1d(20, 400, 10, groups=2), 0.1)


def test_config_round_trip():
    assert_configurable(nn_Conv1d(4, 6, (3,), padding="same", dilation=2, bias=False))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(lambda **where: nn_Conv1d(4, 6, 3, **where))


# Arguments, options, input shape, what the message says.
REFUSED = [
    ((4, 6, 3), {"groups": 0}, (2, 4, 9), "divisible by groups, got 4 for groups=0"),
    ((3, 6, 3), {"groups": 2}, (2, 3, 9), "in_channels must be .* got 3 for groups=2"),
    ((4, 5, 3), {"groups": 2}, (2, 4, 9), "out_channels must be .* got 5 for groups=2"),
    ((-1, 6, 3), {}, (2, 4, 9), "in_channels must be >= 1"),
    ((4, 0, 3), {}, (2, 4, 9), "out_channels must be >= 1"),
    ((4, 6, 0), {}, (2, 4, 9), "kernel_size must be 1 numbers >= 1, got 0"),
    ((4, 6, (2, 3)), {}, (2, 4, 9), r"kernel_size must be 1 numbers >= 1, got \(2, 3"),
    ((4, 6, 2.5), {}, (2, 4, 9), "kernel_size must be an int or .* got 2.5"),
    ((4, 6, 3), {"stride": 0}, (2, 4, 9), "stride must be 1 numbers >= 1, got 0"),
    ((4, 6, 3), {"stride": (1, 2)}, (2, 4, 9), "stride must be 1 numbers"),
    ((4, 6, 3), {"dilation": 0}, (2, 4, 9), "dilation must be 1 numbers >= 1, got 0"),
    ((4, 6, 3), {"padding": -1}, (2, 4, 9), "padding must be 1 numbers >= 0, got -1"),
    ((4, 6, 3), {"padding": "full"}, (2, 4, 9), "padding must be 'same', .* 'full'"),
    ((4, 6, 3), {"padding": "same", "stride": 2}, (2, 4, 9), "stride must be 1 for"),
    ((4, 6, 3), {"padding_mode": "edge"}, (2, 4, 9), "padding_mode must be .* 'edge'"),
    ((4, 6, 3), {}, (9,), r"input must have 3 axes, or 2 without .* \(9,\)"),
    ((4, 6, 3), {}, (2, 4, 9, 1), "input must have 3 axes"),
    ((4, 6, 3), {}, (2, 5, 9), "input must have in_channels=4 channels"),
    ((4, 6, 9), {"padding": 1}, (2, 4, 6), "input must have at least 7 entries"),
    ((4, 6, 3), {}, (2, 4, 0), "input must have at least 3 entries"),
    ((4, 6, 1), {}, (2, 4, 0), "input must have at least 1 entries"),
]


@pytest.mark.parametrize(("arguments", "options", "shape", "match"), REFUSED)
def test_what_torch_refuses_is_refused(arguments, options, shape, match):
    assert_both_refuse_to_convolve(*PAIR, arguments, options, shape, match)


@pytest.mark.parametrize(("mode", "padding"), [("reflect", 5), ("circular", 6)])
def test_padding_beyond_the_input_is_refused(mode, padding):
    options = {"padding": padding, "padding_mode": mode}
    assert_both_refuse_to_convolve(
        *PAIR, (4, 6, 3), options, (2, 4, 5), "pad must (be less than size|go around)"
    )


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_input_of_another_type_is_refused(dtype):
    x = np.zeros((2, 4, 9), dtype)
    assert_both_refuse(
        lambda: nn_Conv1d(4, 6, 3)(x),
        lambda: torch.nn.Conv1d(4, 6, 3)(torch.from_numpy(x)),
        f"input must be float32 as the parameters are, got {dtype}",
    )


def test_a_list_is_refused():
    assert_both_refuse(
        lambda: nn_Conv1d(1, 1, 1)([[1.0]]),
        lambda: torch.nn.Conv1d(1, 1, 1)([[1.0]]),
        "input must be a tensor",
    )
