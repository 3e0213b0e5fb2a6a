import numpy as np
import pytest
import tensorflow as tf

from tests.modes import MODES, in_mode
from util.torch_to_tf.gradients import spread_over, summed_to


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 3), ()), ((3,), (0,)), ((2, 1), (1,)), ((), (0, 1))]
)
def test_gradient_is_summed_over_what_broadcasting_added(shape, axes, mode):
    gradient = np.arange(6, dtype=np.float32).reshape(2, 3)
    operand = tf.zeros(shape)
    found = in_mode(lambda g: summed_to(g, operand), mode)(tf.constant(gradient))
    np.testing.assert_array_equal(found, gradient.sum(axes).reshape(shape))


def test_gradient_of_the_same_shape_is_left_as_it_is():
    gradient = tf.ones([2, 3])
    assert summed_to(gradient, tf.zeros([2, 3])) is gradient


def test_reduced_axes_come_back_with_size_one():
    assert spread_over(tf.ones([3]), (2, 0)).shape == [1, 3, 1]
    assert spread_over(tf.ones([3]), ()).shape == [3]
