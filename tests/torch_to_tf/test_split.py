import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.calls import FunctionOfTensor
from util.torch_to_tf import torch_split


class TestSplit(FunctionOfTensor):
    ours = staticmethod(torch_split)
    theirs = staticmethod(torch.split)
    NAME = "tensor"
    SAME = [
        ((5, 3), 2),
        ((4, 3), 2),
        ((2, 5), 2, 1),
        ((2, 5), 5, -1),
        ((2, 5), 9, -1),
        ((2, 5), [1, 4], 1),
        ((2, 5), (2, 0, 3), -1),
        ((2, 4), [2, 2], 1),
        ((2, 4), [4], 1),
        ((2, 4), {"split_size_or_sections": 3, "dim": 1}),
        ((0, 3), 0),
        ((0, 3), 2),
        ((0, 3), [0, 0]),
        ((0, 3), []),
    ]
    COMPILED = [((2, 5), [1, 4], 1), ((5, 2), 2)]
    REFUSED = [
        ("must sum to 3, got", ((2, 3), [1, 1], 1)),
        ("must sum to 2, got", ((2, 3), [])),
        (r"split_size_or_sections\[0\] must be >= 0, got -1", ((2, 3), [-1, 4], 1)),
        ("must be >= 0, got -1", ((2, 3), -1)),
        ("must be > 0 for size 3, got 0", ((2, 3), 0, 1)),
        (r"dim must be in \[-2, 1\].*got 2", ((2, 3), 1, 2)),
        ("tensor must have an axis", ((), 1)),
        ("tensor must have an axis", ((), [1])),
        ("must be an int, got 1.0", ((2, 3), 1.0)),
        ("must be an int, got True", ((2, 3), True)),
        (r"split_size_or_sections\[1\] must be an int", ((2, 3), [1, 1.0])),
    ]
    UNKNOWN = [
        (((2, 4), 3, 1), [0], [[None, 3], [None, 1]]),
        (((2, 4), 2, 1), [0], [[None, 2], [None, 2]]),
        (((4, 2), [1, 3]), [0], [[1, 2], [3, 2]]),
    ]


def test_pieces_are_a_tuple_as_in_torch():
    for size in (1, 2, [1, 1]):
        assert type(torch_split(tf.zeros([2]), size)) is tuple
        assert type(torch.split(torch.zeros(2), size)) is tuple


def test_equal_pieces_of_an_axis_of_unknown_size_are_refused():
    traced = tf.function(lambda x: torch_split(x, 2))
    with pytest.raises(ValueError, match="must be a sequence where the size"):
        traced.get_concrete_function(tf.TensorSpec([None]))


def test_sizes_that_do_not_sum_fail_when_it_runs_if_the_axis_is_unknown():
    traced = tf.function(
        lambda x: torch_split(x, [1, 2]), input_signature=[tf.TensorSpec([None])]
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        traced(tf.zeros([4]))
