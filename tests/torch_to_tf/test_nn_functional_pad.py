import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import nn_functional_pad

theirs = torch.nn.functional.pad

CONSTANT = [
    ((4,), (1, 2)),
    ((3, 4), (0, 0)),
    ((3, 4), (-1, 2)),
    ((3, 4), (-4, 0)),
    ((3, 4), (-1, -2, 1, 0)),
    ((2, 3, 4), [1, 0, 0, 2, 3, 1]),
    ((0, 4), (1, 1, 1, 1)),
    ((3, 0), (2, 1)),
    ((), ()),
    ((2, 1, 2, 1, 2, 1), (1, 0, 0, 1)),
]
# Of all modes but "constant".
MIRRORED = [
    ((3, 4), (1, 2)),
    ((2, 3, 4), (3, 0)),
    ((2, 3, 4), (0, 0)),
    ((2, 3, 4), (-1, 1)),
    ((2, 3, 4), (-2, 2)),
    ((2, 3, 4), (-1, -1)),
    ((2, 3, 4), (1, 2, 1, 0)),
    ((2, 2, 3, 4), (1, 1, 0, 2)),
    ((2, 3, 2, 4), (2, -1, 1, 1, 2, 0)),
    ((2, 2, 3, 2, 4), (0, 2, 1, 0, 1, 1)),
    ((0, 3, 4), (1, 1)),
    ((0, 2, 3, 4), (1, 1, 1, 1)),
]
MODES_OF_PADDING = ("reflect", "replicate", "circular")


@pytest.mark.parametrize(("shape", "pad"), CONSTANT)
@pytest.mark.parametrize("value", [None, 1.5, float("-inf")])
def test_constant_equals_torch(shape, pad, value):
    assert_same_function(
        lambda x: nn_functional_pad(x, pad, "constant", value),
        lambda x: theirs(x, pad, "constant", value),
        [np.asarray(random(shape))],
    )


@pytest.mark.parametrize("mode", MODES_OF_PADDING)
@pytest.mark.parametrize(("shape", "pad"), MIRRORED)
def test_other_modes_equal_torch(shape, pad, mode):
    assert_same_function(
        lambda x: nn_functional_pad(x, pad, mode),
        lambda x: theirs(x, pad, mode),
        [random(shape)],
    )


@pytest.mark.parametrize(
    ("shape", "pad", "mode"),
    [
        ((2, 3, 4), (7, 5), "replicate"),
        ((2, 3, 4), (-4, 3), "replicate"),
        ((2, 3, 4), (-3, 2), "reflect"),
        ((2, 3, 4), (-4, 3), "reflect"),
        ((2, 3, 4), (4, 4), "circular"),
        ((2, 3, 4), (-2, -2), "circular"),
        ((2, 0, 4), (1, 1), "circular"),
        ((3, 0), (0, 0), "circular"),
    ],
)
def test_limits_of_a_mode_equal_torch(shape, pad, mode):
    assert_same_function(
        lambda x: nn_functional_pad(x, pad, mode),
        lambda x: theirs(x, pad, mode),
        [random(shape)],
    )


@pytest.mark.parametrize("way", MODES[1:])
@pytest.mark.parametrize("mode", ["constant", *MODES_OF_PADDING])
def test_compiled_equals_torch(mode, way):
    assert_same_function(
        lambda x: nn_functional_pad(x, (2, -1, 1, 0), mode),
        lambda x: theirs(x, (2, -1, 1, 0), mode),
        [random((2, 3, 4))],
        way,
    )


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.complex64])
@pytest.mark.parametrize("mode", ["constant", *MODES_OF_PADDING])
def test_other_types_equal_torch(mode, dtype):
    value = 2.5 if mode == "constant" else 0
    x = np.arange(12).reshape(3, 4).astype(dtype)
    found = nn_functional_pad(tf.constant(x), (1, 2), mode, value)
    expected = theirs(torch.from_numpy(x), (1, 2), mode, value).numpy()
    assert found.dtype.name == expected.dtype.name
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [None, -3, float("nan"), False])
def test_bools_equal_torch(value):
    x = np.array([[True, False]])
    found = nn_functional_pad(tf.constant(x), (1, 0), value=value)
    expected = theirs(torch.from_numpy(x), (1, 0), value=value)
    np.testing.assert_array_equal(found, expected)
    found = nn_functional_pad(tf.constant(x), (1, 2), "circular")
    expected = theirs(torch.from_numpy(x), (1, 2), "circular")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["constant", *MODES_OF_PADDING])
def test_unknown_sizes_stay_open_and_the_others_known(mode):
    function = in_mode(lambda x: nn_functional_pad(x, (2, 1), mode), "graph")
    for spec, x in (
        (tf.TensorSpec([None, 3, 4]), random((5, 3, 4))),
        (tf.TensorSpec([None, 3, None]), random((5, 3, 4))),
    ):
        concrete = function.get_concrete_function(spec)
        last = None if spec.shape[2] is None else 7
        assert concrete.outputs[0].shape.as_list() == [None, 3, last]
        expected = theirs(torch.from_numpy(x), (2, 1), mode)
        np.testing.assert_array_equal(concrete(tf.constant(x)), expected)


def test_nothing_to_add_adds_no_operation():
    x = tf.zeros([2, 3, 4])
    for mode in ("constant", *MODES_OF_PADDING):
        assert nn_functional_pad(x, (0, 0), mode) is x


@pytest.mark.parametrize("mode", MODES_OF_PADDING)
@pytest.mark.parametrize(
    ("shape", "pad"),
    [
        ((4,), (1, 1)),
        ((3, 4), (1, 2, 1, 0)),
        ((2, 2, 3, 4), (1, 1)),
        ((1, 2, 2, 3, 4), (1, 1, 1, 1)),
        ((1, 1, 2, 2, 3, 4), (1, 1, 1, 1, 1, 1, 1, 1)),
        ((2, 3, 4), ()),
    ],
)
def test_numbers_of_axes_that_torch_lacks_are_refused(shape, pad, mode):
    assert_both_refuse(
        lambda: nn_functional_pad(tf.zeros(shape), pad, mode),
        lambda: theirs(torch.zeros(shape), pad, mode),
        "pad must be for all but 1 or 2 of 2 to 5 axes",
    )


@pytest.mark.parametrize(
    ("shape", "pad", "mode", "message"),
    [
        ((2, 3, 4), (4, 0), "reflect", r"less than size 4 to reflect, got \(4, 0\)"),
        ((2, 3, 4), (-1, 4), "reflect", r"less than size 4 to reflect, got \(-1, 4\)"),
        ((2, 3, 4), (-2, -2), "reflect", r"leave an entry of 4, got \(-2, -2\)"),
        ((2, 3, 4), (-3, -2), "replicate", "leave an entry of 4"),
        ((2, 3, 4), (5, 5), "circular", r"at most once, got \(5, 5\) for 4"),
        ((2, 3, 0), (1, 1), "circular", r"at most once, got \(1, 1\) for 0"),
        ((2, 3, 4), (-3, -2), "circular", "take away at most 4 entries"),
        ((2, 0, 4), (1, 1), "reflect", r"must not be empty, got shape \(2, 0, 4\)"),
        ((2, 3, 0), (1, 1), "replicate", "must not be empty"),
        ((3, 0), (0, 0), "replicate", "must not be empty"),
        ((0, 4), (1, 1), "reflect", "must not be empty"),
        ((), (1, 1), "constant", "for 0 axes or fewer"),
        ((3, 4), (1,) * 6, "constant", "for 2 axes or fewer"),
        ((3, 4), (1, 2, 3), "constant", "two sizes for each axis, got"),
        ((3, 4), (-5, 2), "constant", r"at most 4 entries, got \(-5, 2\)"),
        ((3, 4), (1, 1), "mirror", "mode must be one of .* got 'mirror'"),
        ((3, 4), (1.0, 1), "constant", r"a tuple of ints, got \(1.0, 1\)"),
        ((3, 4), 1, "constant", "a tuple of ints, got 1"),
    ],
)
def test_impossible_sizes_and_modes_are_refused(shape, pad, mode, message):
    assert_both_refuse(
        lambda: nn_functional_pad(tf.zeros(shape), pad, mode),
        lambda: theirs(torch.zeros(shape), pad, mode),
        message,
    )


@pytest.mark.parametrize("mode", MODES_OF_PADDING)
def test_a_value_is_for_constants_only(mode):
    assert_both_refuse(
        lambda: nn_functional_pad(tf.zeros([2, 3]), (1, 1), mode, 1.0),
        lambda: theirs(torch.zeros(2, 3), (1, 1), mode, 1.0),
        f"value must be None with mode='{mode}', got 1.0",
    )


@pytest.mark.parametrize("value", [float("nan"), 300, -1])
def test_values_that_the_type_cannot_hold_are_refused(value):
    assert_both_refuse(
        lambda: nn_functional_pad(tf.zeros([2], tf.uint8), (1, 1), value=value),
        lambda: theirs(torch.zeros(2, dtype=torch.uint8), (1, 1), value=value),
        "value",
    )


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_mirrored_bools_are_refused(mode):
    assert_both_refuse(
        lambda: nn_functional_pad(tf.constant([[True]]), (0, 0), mode),
        lambda: theirs(torch.tensor([[True]]), (0, 0), mode),
        "another type than bool, got bool",
    )


@pytest.mark.parametrize("pad", [(-3, 2), (-1, 4), (-2, 3)])
def test_going_around_what_is_left_several_times_equals_torch(pad):
    """Of values only: PyTorch's gradient leaves out what was copied twice."""
    x = np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(
        nn_functional_pad(x, pad, "circular"),
        theirs(torch.from_numpy(x), pad, "circular"),
    )


@pytest.mark.parametrize("pad", [(4, -1), (-4, 3)])
def test_wrapping_around_what_was_taken_away_is_refused(pad):
    """PyTorch reads there what it has not written."""
    with pytest.raises(ValueError, match=r"at most once, got .* for 4"):
        nn_functional_pad(tf.zeros([2, 4]), pad, "circular")


def test_lists_are_refused():
    assert_both_refuse(
        lambda: nn_functional_pad([1.0], (1, 1)),
        lambda: theirs([1.0], (1, 1)),
        "input must be a tensor",
    )
