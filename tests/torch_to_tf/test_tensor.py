import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import DTYPES, named, typed
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.created import CreatingFunction, split
from util.torch_to_tf import torch_tensor

# PyTorch advises against some of what is tried here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NUMBERS = [
    1,
    1.0,
    True,
    1j,
    -(2**63),
    2**63 - 1,
    math.nan,
    [],
    [[], []],
    (1, 2),
    range(3),
    [[1, 2], [3, 4]],
    [[[1.5]], [[2]]],
    [1, 2.0],
    [True, 2],
    [True, 2.5],
    [1, 1j],
    [1e300, -math.inf],
    [2**62 + 1, 1],
]
WITH_TYPES = [
    np.float64(1),
    np.float32(1),
    np.int32(1),
    np.bool_(True),
    [np.float64(1)],
    [np.float32(1), np.float64(1)],
    [np.float32(1), 1],
    [np.float16(1), 1.0],
    [np.float16(1), 1],
    [np.int32(1), np.int32(2)],
    [np.int32(1), 1],
    [np.int8(1), np.uint8(1)],
    [np.float64(1), 1j],
    [np.zeros(2), np.ones(2)],
    [np.zeros(2, np.float32), [1, 2]],
]


class TestTensor(CreatingFunction):
    ours = staticmethod(torch_tensor)
    theirs = staticmethod(torch.tensor)
    SAME = [
        *((data,) for data in NUMBERS + WITH_TYPES),
        ({"data": [1]},),
        (1.7, {"dtype": "int64"}),
        ([1.7, -1.7], {"dtype": "int32"}),
        ([2, 0], {"dtype": "bool"}),
        ([0.5, 0.0], {"dtype": "bool"}),
        ([-1], {"dtype": "uint8"}),
        (2**63, {"dtype": "float32"}),
        ([1e300, 70000], {"dtype": "float16"}),
        ([True, False], {"dtype": "float64"}),
        ([1, 2.5], {"dtype": "complex64"}),
    ]
    COMPILED = [([[1, 2.5], [True, 4]],), (3,), ([],)]
    REFUSED = [
        ("entry 0 has shape (1,), entry 1 (2,)", ([[1], [2, 3]],)),
        ("entry 0 has shape (2,), entry 1 (1,)", ([[1, 2], [3]],)),
        ("at depth 1, entry 0 has shape (1,), entry 1 (2,)", ([[[1], [1, 2]]],)),
        ("entry 0 has shape (1,), entry 1 ()", ([[1], 2],)),
        ("entry 0 has shape (), entry 1 (1,)", ([1, [2]],)),
        ("data must consist of numbers, got 'a'", ("a",)),
        ("data must consist of numbers, got 'a'", (["a"],)),
        ("data must consist of numbers, got None", (None,)),
        ("data must consist of numbers, got None", ([1, None],)),
        ("data must consist of numbers, got {1: 2}", ({"data": {1: 2}},)),
        ("data must consist of numbers, got {1, 2}", ({1, 2},)),
        ("data must fit int64, got 9223372036854775808", (2**63,)),
        ("data must fit int64, got 9223372036854775808", ([1, 2**63],)),
        ("data must fit uint8, got 300", (300, {"dtype": "uint8"})),
        ("data must fit uint8, got 300", ([300.0], {"dtype": "uint8"})),
        ("data must fit int8, got 200", ([1, 200], {"dtype": "int8"})),
        ("data must fit int64, got nan", ([math.nan], {"dtype": "int64"})),
        ("data must be real for float32", ([1j], {"dtype": "float32"})),
        ("data must be real for int64", ([1j], {"dtype": "int64"})),
    ]
    TRAINED = ([1.0, 2.0],)
    WHOLE = ([1, 2],)

    def of_torch(self, case, **more):
        """Arrays stay arrays here."""
        args, options = split(case)
        if "dtype" in options:
            options = {**options, "dtype": getattr(torch, options["dtype"])}
        return self.theirs(*args, **options, **more)

    def refuse(self, match, case, **more):
        super().refuse(match.replace("(", r"\(").replace(")", r"\)"), case, **more)


def test_arrays_keep_their_type():
    types = [*DTYPES, "int8", "int16", "uint16", "uint32", "uint64", "complex128"]
    for dtype in types:
        for shape in [(2, 3), (0, 3), ()]:
            array = np.asarray(np.abs(typed(shape)), dtype)
            with named((dtype, shape)):
                found, expected = torch_tensor(array), torch.tensor(array).numpy()
                assert found.dtype.name == expected.dtype.name == dtype
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([300, -1]), "uint8"),
        (np.array([1.5, -1.5]), "int64"),
        (np.array([1e300]), "float32"),
        (np.array([0.0, 2.0]), "bool"),
    ],
)
def test_arrays_are_cast_without_a_check_as_in_torch(array, dtype):
    found = torch_tensor(array, dtype=dtype)
    expected = torch.tensor(array, dtype=getattr(torch, dtype)).numpy()
    assert found.dtype.name == dtype
    np.testing.assert_array_equal(found, expected)


def test_a_later_change_of_the_array_does_not_show():
    array = np.zeros(1000, np.float32)
    tensor = torch_tensor(array)
    array[:] = 1.0
    np.testing.assert_array_equal(tensor, np.zeros(1000))


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.array(["a"]), "must be an array of numbers, got type <U1"),
        (np.array([None]), "must be an array of numbers, got type object"),
        (np.zeros(2, np.longdouble), "must be an array of numbers"),
        (np.zeros(2, np.clongdouble), "must be an array of numbers"),
        (np.zeros(2, ">i4"), "machine's byte order, got type >i4"),
    ],
)
def test_arrays_of_other_types_are_refused(array, match):
    for given in (array, [array]):
        with pytest.raises((TypeError, ValueError), match=match):
            torch_tensor(given)
    assert_both_refuse(lambda: torch_tensor(array), lambda: torch.tensor(array), match)


def test_tensors_and_variables_are_copied_without_a_gradient():
    value = np.float32([1.5, -2.5])
    for given in (tf.constant(value), tf.Variable(value), keras.Variable(value)):
        for dtype in (None, "int64"):
            found = torch_tensor(given, dtype=dtype)
            kind = None if dtype is None else torch.int64
            expected = torch.tensor(torch.from_numpy(value), dtype=kind).numpy()
            assert not isinstance(found, tf.Variable)
            assert found.dtype.name == expected.dtype.name
            np.testing.assert_array_equal(found, expected)
    x = tf.constant(value)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = torch_tensor(x)
    assert tape.gradient(out, x) is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("value", "other"),
    [
        (np.float32(2), 1),
        (np.int64(2), 1.5),
        (np.float64(2), 1.5),
        (np.int32(2), np.int64(1)),
        (np.float32([2]), True),
    ],
)
def test_tensors_of_one_number_may_be_entries(value, other, mode):
    found = in_mode(lambda x: torch_tensor([[x, other], [other, x]]), mode)(
        tf.constant(value)
    )
    entry = torch.tensor(value)
    expected = torch.tensor([[entry, other], [other, entry]]).numpy()
    assert found.dtype.name == expected.dtype.name
    np.testing.assert_array_equal(found, expected)


def test_entries_have_no_gradient():
    x = tf.constant(2.0)
    for mode in MODES[:2]:

        def function(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                out = torch_tensor([x, 1.0])
            return out, tf.constant(tape.gradient(out, x) is None)

        out, is_none = in_mode(function, mode)(x)
        np.testing.assert_array_equal(out, [2.0, 1.0])
        assert is_none


def test_entries_of_several_numbers_are_refused():
    assert_both_refuse(
        lambda: torch_tensor([tf.ones([2]), tf.ones([2])]),
        lambda: torch.tensor([torch.ones(2), torch.ones(2)]),
        "data must consist of numbers, got <tf.Tensor",
    )
