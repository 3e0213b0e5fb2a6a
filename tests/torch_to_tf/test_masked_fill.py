import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import torch_tensor_masked_fill

MASK = np.array([True, False])


def same(x, mask, value, mode="eager"):
    assert_same_function(
        lambda x, mask: torch_tensor_masked_fill(x, mask, value),
        lambda x, mask: x.masked_fill(mask, value),
        [x, mask],
        mode,
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [5.0, -np.inf, np.nan, 3, True])
def test_numbers_are_filled_in(value, mode):
    same(random((3, 2)), MASK, value, mode)


@pytest.mark.parametrize(
    "shapes", [[(2, 3), (2, 1)], [(2,), (3, 1)], [(), (2, 2)], [(0, 2), (2,)], [(), ()]]
)
def test_tensor_and_mask_broadcast(shapes):
    x, mask = (np.asarray(random(shape, i)) for i, shape in enumerate(shapes))
    same(x, np.asarray(mask > 0), 0.5)


@pytest.mark.parametrize("value", [2, 2.7, -1, True])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float16", "float64"])
def test_type_of_the_tensor_stays(dtype, value):
    same(np.array([0, 1]).astype(dtype), MASK, value)


@pytest.mark.parametrize("mode", MODES)
def test_tensor_without_axes_gets_its_gradient(mode):
    assert_same_function(
        lambda x, value: torch_tensor_masked_fill(x, MASK, value),
        lambda x, value: x.masked_fill(torch.from_numpy(MASK), value),
        [random((3, 2)), np.array(2.5, np.float32)],
        mode,
    )


def test_value_of_another_type_is_converted():
    value = np.array(2.7)
    ours = torch_tensor_masked_fill(np.array([1, 2]), MASK, tf.constant(value))
    theirs = torch.tensor([1, 2]).masked_fill(
        torch.from_numpy(MASK), torch.from_numpy(value)
    )
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_unknown_sizes_keep_the_others():
    specs = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 1], tf.bool)]
    function = tf.function(lambda x, mask: torch_tensor_masked_fill(x, mask, 0.0))
    assert function.get_concrete_function(*specs).outputs[0].shape.as_list() == [
        None,
        4,
    ]


@pytest.mark.parametrize(
    ("x", "mask", "value", "match"),
    [
        ([1, 2], MASK, np.nan, "value must fit int64, got nan"),
        (np.array([1, 2], np.uint8), MASK, 300, "value must fit uint8, got 300"),
        (np.array([1, 2], np.float16), MASK, 1e6, "value must fit float16"),
        ([1.0, 2.0], MASK, np.ones(1), r"value must have no axes, got shape \(1,\)"),
        ([1.0, 2.0], MASK, None, "value must be a number"),
        ([1.0, 2.0], MASK, 1j, "value must be real"),
        ([1.0, 2.0], MASK.astype(np.uint8), 0.0, "mask must have the type bool, got u"),
        ([1.0, 2.0], np.ones(3, bool), 0.0, "input and mask must broadcast"),
    ],
)
def test_what_does_not_fit_is_refused(x, mask, value, match):
    x = np.asarray(x)
    theirs = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
    assert_both_refuse(
        lambda: torch_tensor_masked_fill(x, mask, value),
        lambda: torch.from_numpy(x).masked_fill(torch.from_numpy(mask), theirs),
        match,
    )
