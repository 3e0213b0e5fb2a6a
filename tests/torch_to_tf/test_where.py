import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import torch_where

CHOICE = np.array([True, False, True])
KINDS = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "shapes", [[(3,)] * 3, [(2, 1), (3,), ()], [(), (2, 3), (3,)], [(0, 3), (3,), ()]]
)
def test_entries_and_gradients_equal_torch(shapes, mode):
    inputs = [np.asarray(random(shape, i)) for i, shape in enumerate(shapes)]
    inputs[0] = np.asarray(inputs[0] > 0)
    assert_same_function(torch_where, torch.where, inputs, mode)


@pytest.mark.parametrize("other", [2, 2.5, True])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_take_the_type_of_the_tensor_as_in_torch(kind, other):
    x = np.array([0, 1, 1]).astype(kind)
    for pair in ((x, other), (other, x)):
        ours = torch_where(CHOICE, *pair)
        theirs = torch.where(
            torch.from_numpy(CHOICE),
            *(torch.from_numpy(v) if v is x else v for v in pair),
        )
        assert ours.dtype.name == theirs.numpy().dtype.name
        np.testing.assert_array_equal(ours, theirs.numpy())


def test_numbers_beyond_the_type_are_wrapped_or_infinite_as_in_torch():
    for dtype, number in [("uint8", -1), ("float16", 1e6)]:
        x = np.array([0, 1, 1]).astype(dtype)
        theirs = torch.where(torch.from_numpy(CHOICE), torch.from_numpy(x), number)
        np.testing.assert_array_equal(torch_where(CHOICE, x, number), theirs.numpy())


@pytest.mark.parametrize("pair", [(1.0, 2), (1, 2), (True, False), (True, 2)])
def test_two_numbers_have_the_type_that_torch_gives_them(pair):
    ours, theirs = torch_where(CHOICE, *pair), torch.where(torch.tensor(CHOICE), *pair)
    assert ours.dtype.name == theirs.numpy().dtype.name
    np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.parametrize("other", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_types_are_promoted_as_in_torch(kind, other):
    for shape in ((3,), ()):
        x, y = np.ones(3, kind), np.zeros(shape, other)
        assert_same_function(torch_where, torch.where, [CHOICE, x, y])


@pytest.mark.parametrize("mode", MODES)
def test_gradient_of_what_is_not_taken_is_zero(mode):
    x = np.float32([0.0, -1.0, 4.0])
    with np.errstate(all="ignore"):
        assert_same_function(
            lambda x: torch_where(x > 0, x, 0.0) * tf.constant([np.nan, np.inf, 1.0]),
            lambda x: torch.where(x > 0, x, 0.0) * torch.tensor([np.nan, np.inf, 1.0]),
            [x],
            mode,
        )


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize(
    "condition",
    [
        CHOICE,
        np.array([[0.0, 2.0], [np.nan, 0.0]]),
        np.array([[[0, 3]], [[1, 0]]]),
        np.array(True),
        np.array(0.0),
        np.zeros((0, 2), bool),
    ],
)
def test_condition_alone_gives_where_it_holds(condition, mode):
    ours = in_mode(torch_where, mode)(tf.constant(condition))
    theirs = torch.where(torch.from_numpy(condition))
    assert isinstance(ours, tuple)
    for found, expected in zip(ours, theirs, strict=True):
        assert found.dtype == tf.int64
        np.testing.assert_array_equal(found, expected.numpy())


def test_unknown_sizes_keep_the_others():
    specs = [tf.TensorSpec([None, 1], tf.bool), tf.TensorSpec([4]), tf.TensorSpec([])]
    concrete = tf.function(torch_where).get_concrete_function(*specs)
    assert concrete.outputs[0].shape.as_list() == [None, 4]


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ((np.array([1, 0]), 1.0, 2.0), "condition must have the type bool, got int64"),
        ((CHOICE, 1.0), "other must be given too"),
        ((CHOICE, None, 1.0), "input must be given too"),
        ((CHOICE, np.ones(3, np.uint8), 300), "other must fit uint8, got 300"),
        ((CHOICE, [1.0, 2.0, 3.0], 1.0), "input must be a number"),
        ((CHOICE, np.zeros(2), 1.0), r"condition and input and other must broadcast"),
        (([True], 1.0, 2.0), "condition must be a tensor"),
    ],
)
def test_what_does_not_fit_is_refused(args, match):
    theirs = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in args]
    assert_both_refuse(lambda: torch_where(*args), lambda: torch.where(*theirs), match)
