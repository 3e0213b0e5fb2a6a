import itertools

import numpy as np
import pytest
import tensorflow as tf
import torch

from util.torch_to_tf.dtypes import (
    as_dtype,
    cast,
    cast_together,
    common_dtype,
    default_dtype,
    expect_type,
    floating,
    result_type,
    summed,
    wide,
)

NAMES = ("bool", "uint8", "int8", "int32", "int64", "float16", "bfloat16", "float32")
ALL = (*NAMES, "float64", "complex64")
NUMBERS = (True, 2, 1.5, 1j)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def wide_complex(dtype: torch.dtype) -> str:
    """TensorFlow has no complex32."""
    return name_of(dtype).replace("complex32", "complex64")


def operands(name: str):
    """Tensors of a type with axes and without, here and there."""
    for shape in ([2], []):
        yield (
            tf.zeros(shape, tf.as_dtype(name)),
            torch.zeros(shape, dtype=getattr(torch, name)),
        )


@pytest.mark.parametrize("name", ALL)
def test_types_of_two_tensors_meet_as_in_torch(name):
    for own, other in itertools.product([name], ALL):
        pairs = itertools.product(operands(own), operands(other))
        for (a, their_a), (b, their_b) in pairs:
            expected = wide_complex(torch.result_type(their_a, their_b))
            assert result_type(a, b).name == expected, (a, b)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", ALL)
def test_types_of_a_tensor_and_a_number_meet_as_in_torch(name, number):
    for own, theirs in operands(name):
        expected = wide_complex(torch.result_type(theirs, number))
        assert result_type(own, number).name == expected


@pytest.mark.parametrize("pair", itertools.product(ALL, ALL))
def test_least_common_type_is_that_of_torch(pair):
    theirs = torch.promote_types(*(getattr(torch, name) for name in pair))
    expected = wide_complex(theirs)
    assert common_dtype(map(tf.as_dtype, pair)).name == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float", tf.float32),
        ("double", tf.float64),
        ("half", tf.float16),
        ("long", tf.int64),
        ("int", tf.int32),
        ("short", tf.int16),
        ("bool", tf.bool),
        (np.float32, tf.float32),
        (float, tf.float64),
        (int, tf.int64),
        (tf.int8, tf.int8),
    ],
)
def test_types_are_found_by_the_names_of_either_side(given, expected):
    assert as_dtype(given) == expected


@pytest.mark.parametrize("given", ["float31", 3.5, object()])
def test_what_is_no_type_is_refused(given):
    with pytest.raises(TypeError, match="dtype must be a tensor type, got"):
        as_dtype(given)


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_have_the_types_that_torch_gives_them(number):
    assert default_dtype(number).name == name_of(torch.tensor(number).dtype)


def test_a_tensor_of_the_type_is_handed_on():
    value = tf.constant([1.0])
    assert cast(value, tf.float32) is value
    assert cast(2, tf.float32).numpy() == 2.0
    assert cast(True, tf.float32).numpy() == 1.0
    assert cast(value, tf.int64).dtype == tf.int64


def test_operands_get_one_type():
    whole, real = cast_together(tf.constant([1]), 0.5)
    assert whole.dtype == real.dtype == tf.float32
    assert real.shape == []


@pytest.mark.parametrize(
    ("function", "name", "expected"),
    [
        (floating, "int32", "float32"),
        (floating, "bool", "float32"),
        (floating, "float64", "float64"),
        (summed, "bool", "int64"),
        (summed, "int32", "int64"),
        (summed, "float16", "float16"),
        (wide, "float16", "float32"),
        (wide, "bfloat16", "float32"),
        (wide, "float64", "float64"),
    ],
)
def test_types_of_results_that_are_not_those_of_operands(function, name, expected):
    assert function(tf.zeros([2], tf.as_dtype(name))).dtype.name == expected


def test_type_that_does_not_fit_is_named():
    value = tf.constant([1])
    expect_type(True, value, "a floating type")
    with pytest.raises(TypeError, match="q must have a floating type, got int32"):
        expect_type(False, value, "a floating type", "q")
