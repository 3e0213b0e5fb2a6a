import itertools

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import FunctionOfTensor, named, typed
from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import torch_tensor_view

TYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "uint8", "bool")


class TestView(FunctionOfTensor):
    ours = staticmethod(torch_tensor_view)
    theirs = staticmethod(torch.Tensor.view)
    SAME = [
        ((2, 3), 3, 2),
        ((2, 3), (3, 2)),
        ((2, 3), -1),
        ((2, 3), 1, -1, 3),
        ((2, 3), {"size": [6]}),
        ((0, 3), -1, 3),
        ((1,), ()),
        ((), 1),
        ((), ()),
    ]
    COMPILED = [((2, 3), -1, 2)]
    REFUSED = [
        ("shape must hold 6 entries", ((2, 3), 5)),
        ("-1 at most once", ((2, 3), -1, -1)),
        ("both 0 and -1", ((0,), 0, -1)),
        (r"size\[1\] must be >= -1, got -3", ((2, 3), 2, -3)),
        ("size must be given once", ((2, 3),)),
        (r"size\[0\] must be an int, got 6.0", ((2, 3), 6.0)),
    ]
    UNKNOWN = [(((2, 3, 4), -1, 12), [0], [[None, 12]])]


def bytes_of(shape, dtype):
    """Numbers of a type whose bytes are none but 0 and 1."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(0).integers(0, 2, count, np.uint8)
    return raw.view(dtype).reshape(shape)


def assert_same_view(x, dtype, mode="eager"):
    expected = torch.from_numpy(x).view(getattr(torch, dtype)).numpy()
    found = in_mode(lambda t: torch_tensor_view(t, dtype), mode)(tf.constant(x))
    assert found.dtype.name == dtype
    np.testing.assert_array_equal(found, expected)


def test_bytes_are_read_as_another_type():
    for old, new in itertools.product(TYPES, TYPES):
        for shape in [(8,), (3, 16), (0, 8)]:
            with named((old, new, shape)):
                assert_same_view(bytes_of(shape, old), new)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize(
    ("old", "new"), [("float32", "int32"), ("float32", "uint8"), ("int32", "float64")]
)
def test_bytes_are_read_as_another_type_in_compiled_code(old, new, mode):
    assert_same_view(bytes_of((2, 4), old), new, mode)


def test_a_scalar_is_read_as_a_type_of_the_same_length():
    assert_same_view(bytes_of((), "float32"), "int32")


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64"])
def test_bytes_of_a_tensor_with_unknown_sizes(dtype):
    x = bytes_of((3, 4), "float32")
    traced = tf.function(
        lambda t: torch_tensor_view(t, dtype=dtype),
        input_signature=[tf.TensorSpec([None, None])],
    )
    expected = torch.from_numpy(x).view(getattr(torch, dtype)).numpy()
    np.testing.assert_array_equal(traced(x), expected)


def test_the_type_may_be_given_in_several_ways():
    x = tf.ones([2])
    for dtype in (tf.int32, np.int32, np.dtype("int32"), "int32", "int"):
        assert torch_tensor_view(x, dtype).dtype == tf.int32


@pytest.mark.parametrize("dtype", ["float16", "int32"])
def test_bytes_have_no_gradient(dtype):
    x = tf.ones([2])
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = tf.cast(torch_tensor_view(x, dtype), tf.float32)
    assert tape.gradient(out, x) is None
    leaf = torch.ones(2, requires_grad=True)
    assert not leaf.view(getattr(torch, dtype)).requires_grad


@pytest.mark.parametrize(
    ("shape", "dtype", "match"),
    [
        ((2, 3), "float64", "last size that 2 divides.*got 3"),
        ((), "float64", "input must have an axis to be read as float64"),
        ((), "uint8", "input must have an axis to be read as uint8"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(shape, dtype, match):
    x = typed(shape)
    assert_both_refuse(
        lambda: torch_tensor_view(x, dtype),
        lambda: torch.from_numpy(x).view(getattr(torch, dtype)),
        match,
    )


def test_sizes_and_a_type_together_are_refused():
    assert_both_refuse(
        lambda: torch_tensor_view(tf.ones([2]), 2, dtype="int32"),
        lambda: torch.ones(2).view(2, dtype=torch.int32),
        "size and dtype must not both",
    )
