import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.draw_cases import Made, is_standard_normal
from util.torch_to_tf import torch_randn_like

LIKE = np.zeros((50, 4), np.float32)


class TestRandnLike(Made):
    draw = staticmethod(lambda **options: torch_randn_like(LIKE, **options))


@pytest.mark.parametrize("mode", MODES)
def test_numbers_are_standard_normal(mode):
    values = in_mode(torch_randn_like, mode)(tf.ones([100, 200]))
    assert is_standard_normal(values)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_size_and_type_are_those_of_the_tensor(shape, dtype):
    values = torch_randn_like(np.zeros(shape, dtype))
    assert values.shape == shape
    assert values.dtype.name == dtype


def test_another_type_can_be_asked_for():
    assert torch_randn_like(np.array([1, 2]), dtype="double").dtype == tf.float64


def test_unknown_sizes_keep_the_others():
    function = tf.function(torch_randn_like)
    concrete = function.get_concrete_function(tf.TensorSpec([None, 3]))
    assert concrete.outputs[0].shape.as_list() == [None, 3]
    assert concrete(tf.zeros([5, 3])).shape == [5, 3]


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.array([1, 2]), "dtype must be floating, got int64"),
        ([1.0], "input must be a tensor"),
    ],
)
def test_what_does_not_fit_is_refused(x, match):
    theirs = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
    assert_both_refuse(
        lambda: torch_randn_like(x), lambda: torch.randn_like(theirs), match
    )
