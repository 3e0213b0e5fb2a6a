import keras
import numpy as np
import pytest
import tensorflow as tf

from util.torch_to_tf import nn_Parameter
from util.torch_to_tf.arguments import (
    as_axes,
    as_axis,
    as_tensor,
    check_broadcast,
    is_int,
    spread,
)


@pytest.mark.parametrize(
    "value",
    [
        tf.constant([1.5]),
        tf.Variable([1.5]),
        keras.Variable([1.5]),
        nn_Parameter(np.float32([1.5])),
        np.float32([1.5]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tensors_variables_and_arrays_are_tensors(value):
    tensor = as_tensor(value)
    assert isinstance(tensor, tf.Tensor)
    assert tensor.dtype == tf.float32
    assert tensor.numpy().tolist() == [1.5]


@pytest.mark.parametrize("value", [1.5, [1.5], "1.5", None])
def test_everything_else_is_refused_by_name(value):
    with pytest.raises(TypeError, match="weights must be a tensor, got"):
        as_tensor(value, "weights")


@pytest.mark.parametrize(
    ("value", "whole"), [(1, True), (np.int8(1), True), (True, False), (1.0, False)]
)
def test_whole_numbers_are_told_from_booleans_and_floats(value, whole):
    assert is_int(value) is whole


@pytest.mark.parametrize(
    ("dim", "rank", "axis"), [(0, 3, 0), (-1, 3, 2), (2, 3, 2), (-1, 0, 0), (0, 0, 0)]
)
def test_axes_are_counted_from_the_start(dim, rank, axis):
    assert as_axis(dim, rank) == axis


@pytest.mark.parametrize(("dim", "rank"), [(3, 3), (-4, 3), (1, 0), (-2, 0)])
def test_axis_that_does_not_exist_is_refused(dim, rank):
    with pytest.raises(IndexError, match=rf"dim must be in \[.*\] for {rank}.*{dim}"):
        as_axis(dim, rank)


@pytest.mark.parametrize("dim", [1.0, True, "0", None])
def test_axis_must_be_a_whole_number(dim):
    with pytest.raises(TypeError, match="dim0 must be an int"):
        as_axis(dim, 3, "dim0")


@pytest.mark.parametrize(
    ("dim", "rank", "axes"),
    [
        (None, 3, [0, 1, 2]),
        ((), 2, [0, 1]),
        (-1, 3, [2]),
        ((2, -3), 3, [2, 0]),
        (0, 0, []),
    ],
)
def test_one_several_or_all_axes(dim, rank, axes):
    assert as_axes(dim, rank) == axes


def test_an_axis_that_is_named_twice_is_refused():
    with pytest.raises(ValueError, match=r"dim must name each axis once.*\(0, -2\)"):
        as_axes((0, -2), 2)


@pytest.mark.parametrize(
    "given", [(2, 3), ((2, 3),), ([2, 3],), (tf.TensorShape([2, 3]),)]
)
def test_sizes_one_by_one_or_as_a_sequence(given):
    assert spread(given) == [2, 3]


def test_one_size_stays_one():
    assert spread((5,)) == [5]


def test_shapes_that_broadcast_are_accepted():
    check_broadcast(input=tf.zeros([3, 1]), other=tf.zeros([2]))


def test_shapes_that_do_not_broadcast_are_named():
    message = r"input and other must broadcast, got shapes \[\(3, 4\), \(2,\)\]"
    with pytest.raises(ValueError, match=message):
        check_broadcast(input=tf.zeros([3, 4]), other=tf.zeros([2]))
