import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from util.torch_to_tf.scalars import as_number, as_scalar, number_dtype


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, bool),
        (2, int),
        (2.5, float),
        (1j, complex),
        (np.float64(2.5), float),
        (np.float32(2.5), float),
        (np.int8(2), int),
        (np.bool_(True), bool),
        (np.array(2.5), float),
        (tf.constant(2), int),
        (tf.Variable(2.5), float),
        (keras.Variable(2.5), float),
        (tf.constant(1j), complex),
    ],
)
def test_a_number_with_a_value_is_one_of_python(value, kind):
    found = as_scalar(value, "x")
    assert type(found) is kind
    assert found == np.asarray(value)


@pytest.mark.parametrize("value", ["1", None, [1], np.ones(1), tf.constant("a")])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match="x must be a number, got"):
        as_scalar(value, "x")


def test_a_number_without_a_value_yet_stays_a_tensor():
    found = []
    traced = tf.function(lambda x: found.append(as_scalar(x, "x")))
    traced.get_concrete_function(tf.TensorSpec([], tf.int32))
    assert tf.is_symbolic_tensor(found[0])
    assert number_dtype(found[0]) == tf.int64


@pytest.mark.parametrize("value", [True, 2, 2.5, 1j])
def test_the_type_of_a_number_is_that_of_torch(value):
    expected = torch.full((), value).dtype
    assert number_dtype(value).name == str(expected).removeprefix("torch.")


@pytest.mark.parametrize("value", [True, 2, 2.5, 1j])
def test_the_type_of_a_tensor_is_that_of_its_kind(value):
    for dtype in ("int8", "float64", "complex128", "bool"):
        tensor = tf.cast(tf.constant(value), dtype)
        expected = torch.full((), torch.from_numpy(tensor.numpy()[None])[0]).dtype
        assert number_dtype(tensor).name == str(expected).removeprefix("torch.")


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "int64", "int8", "uint8", "bool", "complex64"]
)
@pytest.mark.parametrize("value", [True, 2, -2, 2.7, -2.7, 200, -300, 1e6, 1e300, 1j])
def test_numbers_are_converted_or_refused_as_in_torch(value, dtype):
    try:
        expected = torch.full((2,), value, dtype=getattr(torch, dtype)).numpy()[0]
    except RuntimeError:
        with pytest.raises(ValueError, match="x must (fit|be real for) " + dtype):
            as_number(value, tf.as_dtype(dtype), "x")
        return
    found = as_number(value, tf.as_dtype(dtype), "x")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
