import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_mean


class TestMean(Reduction):
    ours, theirs = staticmethod(torch_mean), staticmethod(torch.mean)
    whole = ()


@pytest.mark.parametrize("mode", MODES)
def test_mean_is_of_all_entries_by_default(mode):
    for shape in [(3, 4), (), (0,)]:
        assert_same_function(torch_mean, torch.mean, [random(shape)], mode)


def test_whole_numbers_have_a_mean_in_a_floating_type():
    x = np.array([1, 2])
    assert torch_mean(x, dtype="double").numpy() == 1.5
    assert torch_mean(x, dtype="double").dtype == tf.float64


def test_complex_numbers_have_a_mean():
    assert torch_mean(np.array([1 + 2j, 3j], np.complex64)).numpy() == 0.5 + 2.5j


@pytest.mark.parametrize(
    ("x", "dtype", "match"),
    [
        (np.array([1, 2]), None, "input must have a floating or complex type, got int"),
        (np.array([True]), None, "input must have a floating or complex type, got b"),
        (np.array([1.0]), "int64", "dtype must have a floating or complex type, got i"),
    ],
)
def test_whole_numbers_are_refused(x, dtype, match):
    theirs = None if dtype is None else getattr(torch, dtype)
    assert_both_refuse(
        lambda: torch_mean(x, dtype=dtype),
        lambda: torch.mean(torch.from_numpy(x), dtype=theirs),
        match,
    )
