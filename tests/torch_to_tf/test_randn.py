import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.draw_cases import Made, is_standard_normal
from util.torch_to_tf import torch_randn

KINDS = ["float16", "bfloat16", "float32", "float64"]


class TestRandn(Made):
    draw = staticmethod(lambda **options: torch_randn(50, 4, **options))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", KINDS)
def test_numbers_are_standard_normal(dtype, mode):
    values = in_mode(lambda: torch_randn(100, 200, dtype=dtype), mode)()
    assert values.dtype.name == dtype
    assert is_standard_normal(tf.cast(values, tf.float64))


def test_type_is_float32_by_default():
    assert torch_randn(2).dtype == tf.float32


@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        ((2, 3), {}),
        (((2, 3),), {}),
        (([2, 3],), {}),
        ((), {"size": (2, 3)}),
        (((),), {}),
        ((0, 3), {}),
        ((np.int64(4),), {}),
    ],
)
def test_sizes_are_given_as_in_torch(sizes, options):
    ours, theirs = torch_randn(*sizes, **options), torch.randn(*sizes, **options)
    assert tuple(ours.shape) == tuple(theirs.shape)


def test_size_that_is_known_at_run_time_only_may_be_a_tensor():
    spec = tf.TensorSpec([None, 3])
    function = tf.function(lambda x: torch_randn(tf.shape(x)[0], 2))
    concrete = function.get_concrete_function(spec)
    assert concrete.outputs[0].shape.as_list() == [None, 2]
    assert concrete(tf.zeros([5, 3])).shape == [5, 2]


@pytest.mark.parametrize(
    ("sizes", "dtype", "match"),
    [
        ((), None, "size must be given once"),
        ((-1,), None, "must be >= 0, got -1"),
        ((2.0,), None, "must be an int, got 2.0"),
        ((2, (3,)), None, "must be an int"),
        ((2,), "int64", "dtype must be floating, got int64"),
        ((2,), "bool", "dtype must be floating, got bool"),
    ],
)
def test_what_does_not_fit_is_refused(sizes, dtype, match):
    theirs = None if dtype is None else getattr(torch, dtype)
    assert_both_refuse(
        lambda: torch_randn(*sizes, dtype=dtype),
        lambda: torch.randn(*sizes, dtype=theirs),
        match,
    )
