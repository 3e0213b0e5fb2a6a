"""What all functions share that make tensors; each has its own file besides."""

import numpy as np
import pytest
import tensorflow as tf

from util.torch_to_tf.creation import created


def test_without_options_it_is_the_tensor_itself():
    tensor = tf.ones([2])
    assert created(lambda: tensor, None, False) is tensor


def test_a_device_around_it_is_kept():
    with tf.Graph().as_default(), tf.device("CPU:3"):
        assert created(lambda: tf.ones([2]), None, False).device.endswith("CPU:3")
        assert created(lambda: tf.ones([2]), "CPU:1", False).device.endswith("CPU:1")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64"])
def test_a_trained_one_is_a_variable_of_its_type(dtype):
    found = created(lambda: tf.ones([2], dtype), None, True)
    assert isinstance(found, tf.Variable)
    assert found.dtype.name == dtype
    assert found.trainable


@pytest.mark.parametrize("dtype", ["int32", "bool", "uint8"])
def test_others_cannot_be_trained(dtype):
    with pytest.raises(ValueError, match=f"requires_grad must be False for {dtype}"):
        created(lambda: tf.cast(np.ones(2), dtype), None, True)


def test_variables_are_not_made_in_a_graph():
    traced = tf.function(lambda: created(lambda: tf.ones([2]), None, True))
    with pytest.raises(ValueError, match="make the variable outside of the compiled"):
        traced()
