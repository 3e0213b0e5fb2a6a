import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.draw_cases import Made
from util.torch_to_tf import torch_rand


class TestRand(Made):
    draw = staticmethod(lambda **options: torch_rand(50, 4, **options))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_fill_the_interval_evenly(dtype, mode):
    values = in_mode(lambda: torch_rand(100, 200, dtype=dtype), mode)().numpy()
    assert values.dtype == dtype
    assert 0 <= values.min() < 0.001
    assert 0.998 < values.max() < 1
    counts, _ = np.histogram(values.astype(np.float64), 10, (0, 1))
    assert np.abs(counts / 2000 - 1).max() < 0.1


def test_sizes_and_type_are_as_in_torch():
    assert torch_rand(2, 3).shape == torch_rand((2, 3)).shape == [2, 3]
    assert torch_rand(size=(0, 2)).shape == [0, 2]
    assert torch_rand(()).shape == []
    assert torch_rand(1).dtype == tf.float32


@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_other_types_are_refused(dtype):
    assert_both_refuse(
        lambda: torch_rand(2, dtype=dtype),
        lambda: torch.rand(2, dtype=getattr(torch, dtype)),
        "dtype must be floating",
    )
