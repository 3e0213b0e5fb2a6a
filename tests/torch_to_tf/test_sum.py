import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import random
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_sum


class TestSum(Reduction):
    ours, theirs = staticmethod(torch_sum), staticmethod(torch.sum)


same = TestSum().assert_same


@pytest.mark.parametrize("mode", MODES)
def test_all_entries_are_summed_by_default(mode):
    for shape in [(3, 4), (), (0,)]:
        same(random(shape), mode=mode)
        same(random(shape), None, True, mode=mode)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float64", "bool"])
def test_entries_are_converted_beforehand(dtype):
    x, theirs = np.float32([[1.7, 1.7], [0.0, 0.0]]), getattr(torch, dtype)
    for args in [(), (1,)]:
        ours = torch_sum(x, *args, dtype=dtype)
        expected = torch.sum(torch.from_numpy(x), *args, dtype=theirs).numpy()
        assert ours.dtype.name == dtype
        np.testing.assert_array_equal(ours, expected)


def test_complex_numbers_are_summed():
    x = np.array([1 + 2j, 3j], np.complex64)
    assert torch_sum(x).numpy() == 1 + 5j


def test_many_half_precision_numbers_are_summed_as_exactly_as_in_torch():
    same(np.full(3000, 1.5, np.float16))
