import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_softmax


class TestSoftmax(Reduction):
    ours, theirs = staticmethod(torch_softmax), staticmethod(torch.softmax)
    several, keeps, whole = False, False, ()
    points = [[0.0, 2.0, -1.0, 3.0], [-np.inf] * 4, [-np.inf, 1.0, 1.0, 0.0]]


def test_entries_are_converted_beforehand():
    for x in (np.array([[1, 2], [3, 3]]), random((2, 2))):
        assert_same_function(
            lambda x: torch_softmax(x, 0, dtype=tf.float64),
            lambda x: torch.softmax(x, 0, dtype=torch.float64),
            [x],
        )


@pytest.mark.parametrize("mode", MODES)
def test_large_numbers_do_not_overflow(mode):
    x = np.float32([[1000, 1000, 999], [-1000, -1001, -999], [5, -np.inf, 3]])
    assert_same_function(
        lambda x: torch_softmax(x, 1), lambda x: torch.softmax(x, 1), [x], mode
    )


@pytest.mark.parametrize(
    ("dtype", "to"), [("int64", None), ("bool", None), ("float32", "int64")]
)
def test_whole_numbers_are_refused(dtype, to):
    x = np.array([1, 0]).astype(dtype)
    theirs = None if to is None else getattr(torch, to)
    assert_both_refuse(
        lambda: torch_softmax(x, 0, dtype=to),
        lambda: torch.softmax(torch.from_numpy(x), 0, dtype=theirs),
        "must have a floating type",
    )


@pytest.mark.parametrize("mode", MODES)
def test_nan_and_infinity_are_not_lost(mode):
    x = np.float32([[np.nan, 1, 2], [np.inf, 1, 2], [np.inf, np.nan, 1]])
    found = in_mode(lambda x: torch_softmax(x, 1), mode)(tf.constant(x))
    np.testing.assert_array_equal(
        np.isnan(found).any(1), torch.softmax(torch.from_numpy(x), 1).isnan().any(1)
    )
    assert np.isnan(found)[~np.isfinite(x)].all()
