import numpy as np
import pytest
import tensorflow as tf
import torch

from util.torch_to_tf.sizes import (
    as_size,
    as_sizes,
    one_by_one,
    size_of,
    sizes_of,
    with_one_open,
)


@pytest.mark.parametrize(
    ("values", "keyword", "expected"),
    [
        ((2, 3), None, [2, 3]),
        (((2, 3),), None, [2, 3]),
        (([],), None, []),
        ((torch.Size([2]),), None, [2]),
        ((tf.TensorShape([2, 3]),), None, [2, 3]),
        ((), (2, 3), [2, 3]),
        ((), [], []),
        ((2,), None, [2]),
    ],
)
def test_sizes_are_given_in_one_of_three_ways(values, keyword, expected):
    assert one_by_one(values, keyword, "size") == expected


@pytest.mark.parametrize(("values", "keyword"), [((), None), ((2,), (3,))])
def test_sizes_are_given_once(values, keyword):
    with pytest.raises(TypeError, match="size must be given once"):
        one_by_one(values, keyword, "size")


def test_a_number_by_name_is_no_sequence():
    with pytest.raises(TypeError, match="size must be a tuple of ints, got 2"):
        one_by_one((), 2, "size")


@pytest.mark.parametrize(
    "value", [3, np.int32(3), np.array(3), tf.constant(3), tf.Variable(3)]
)
def test_a_size_with_a_value_is_an_int(value):
    size = as_size(value)
    assert type(size) is int
    assert size == 3


@pytest.mark.parametrize("value", [3.0, None, True, "3", [3], tf.constant([3])])
def test_what_is_no_whole_number_is_no_size(value):
    with pytest.raises(TypeError, match="size must be an int, got"):
        as_size(value)


def test_sizes_have_a_least_value():
    assert as_sizes([0, -1], least=-1) == [0, -1]
    with pytest.raises(ValueError, match=r"size\[1\] must be >= 0, got -1"):
        as_sizes([0, -1])


def graph_sizes(shape):
    found = []

    def function(x):
        found.extend(sizes_of(x))
        return [size_of(x, axis) for axis in range(len(shape))]

    traced = tf.function(function, autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec(shape)).graph
    return found, sum(op.type == "Shape" for op in graph.get_operations())


def test_known_sizes_of_a_tensor_are_ints_without_an_operation():
    assert graph_sizes([2, 3]) == ([2, 3], 0)


def test_unknown_sizes_of_a_tensor_are_tensors():
    found, operations = graph_sizes([None, 3, None])
    assert [type(size) is int for size in found] == [False, True, False]
    assert found[1] == 3
    assert operations == 1 + 2


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([2, 3], [2, 3]),
        ([None, 3], [-1, 3]),
        ([None, None], None),
        ([None, 0], None),
        ([0, 3], [0, 3]),
        ([], []),
    ],
)
def test_one_unknown_size_follows_from_the_others_unless_one_is_0(sizes, expected):
    assert with_one_open(sizes) == expected
