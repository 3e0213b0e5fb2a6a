import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import torch_tensor_item

TYPES = ("float32", "float64", "float16", "int64", "uint8", "bool", "complex64")


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_number_and_its_type_equal_torch(shape):
    for dtype in TYPES:
        array = np.full(shape, 1.1 if dtype.startswith("f") else 1, dtype)
        found, expected = torch_tensor_item(array), torch.from_numpy(array).item()
        assert found == expected
        assert type(found) is type(expected)


def test_bfloat16_gives_a_float():
    found = torch_tensor_item(tf.constant(1.1, tf.bfloat16))
    assert type(found) is float
    assert found == torch.tensor(1.1, dtype=torch.bfloat16).item()


def test_variables_have_an_item():
    for variable in (tf.Variable([2.5]), keras.Variable([2.5])):
        assert torch_tensor_item(variable) == 2.5


@pytest.mark.parametrize("shape", [(2,), (0,), (1, 2), (3, 0)])
def test_other_counts_of_entries_are_refused(shape):
    assert_both_refuse(
        lambda: torch_tensor_item(tf.zeros(shape)),
        lambda: torch.zeros(shape).item(),
        "input must have one entry, got shape",
    )


def test_a_tensor_of_a_graph_is_refused():
    traced = tf.function(torch_tensor_item)
    with pytest.raises(ValueError, match="input must have a value, got a tensor of a"):
        traced(tf.constant(1.0))


def test_lists_and_numbers_are_refused():
    for value in ([1.0], 1.0):
        with pytest.raises(TypeError, match="input must be a tensor, got"):
            torch_tensor_item(value)
