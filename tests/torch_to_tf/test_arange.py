import math

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import named
from tests.torch_to_tf.created import CreatingFunction
from util.torch_to_tf import torch_arange

FRACTIONS = [
    (2.5,),
    (0, 1, 0.1),
    (1, 2.5, 0.5),
    (0.5, 3),
    (0.5, 3.5),
    (-1.5, 3),
    (3, -1.5, -1),
    (0.5, 3.7, 1.6),
    (5.5, 0, -1.5),
]


class TestArange(CreatingFunction):
    ours = staticmethod(torch_arange)
    theirs = staticmethod(torch.arange)
    SAME = [
        (5,),
        (1, 5),
        (1, 5, 2),
        (5, 1, -2),
        (0, -7, -3),
        (0,),
        (2, 2),
        ({"end": 5},),
        (1, {"end": 5}),
        (1, 5, {"step": 2}),
        ({"start": 1, "end": 5, "step": 3},),
        (2**40, 2**40 + 3),
        (2**53, 2**53 + 3),
        (True,),
        (np.int32(3),),
        (np.float64(3),),
        (np.array(5),),
        (np.array(5, np.int32),),
        (np.array(2.5),),
        (0, 10, np.array(2.5, np.float32)),
        *(
            (5, {"dtype": d})
            for d in ("float32", "float64", "float16", "int32", "uint8")
        ),
        (300, {"dtype": "uint8"}),
        (-5, 0, {"dtype": "uint8"}),
        (0, 3, 0.5, {"dtype": "int32"}),
        *FRACTIONS,
        *((*case, {"dtype": "int32"}) for case in FRACTIONS),
        *((*case, {"dtype": "float64"}) for case in FRACTIONS),
        (0.5, 3.7, 1.6, {"dtype": "int64"}),
        (-1.5, 3, {"dtype": "int64"}),
        (0, 1000, 0.1),
    ]
    COMPILED = [(5,), (5, 1, -2), (1, 2.5, 0.5), (5, {"dtype": "float32"})]
    REFUSED = [
        ("end must be given", ()),
        ("end must be given", ({"start": 1},)),
        ("start must be given where step is", (5, {"step": 2})),
        ("start must be given where step is", ({"end": 5, "step": 2},)),
        ("start must be given once", (5, {"start": 1})),
        ("start must be given once", (1, 5, {"start": 1})),
        ("end must be given once", (1, 5, {"end": 1})),
        ("at most 3, got 4", (1, 2, 3, 4)),
        ("step must lead from 1 to 5, got -1", (1, 5, -1)),
        ("step must lead from 5 to 1, got 1", (5, 1)),
        ("step must lead from 0 to -1, got 1", (-1,)),
        ("step must not be 0, got 0", (1, 5, 0)),
        ("step must not be 0, got 0", (0, 3, 0.5, {"dtype": "int64"})),
        ("step must not be 0, got nan", (0, 1, math.nan)),
        ("must be finite, got 0 and inf", (math.inf,)),
        ("must be finite, got 0 and nan", (math.nan,)),
        ("must be finite, got 1 and -inf", (1, -math.inf, -1)),
        ("end must be a number, got 'a'", ("a",)),
        ("end must be a number, got", (np.array([5]),)),
        ("must be real", (1j, 5)),
        ("dtype must be one of real numbers, got bool", (5, {"dtype": "bool"})),
        ("got complex64", (5, {"dtype": "complex64"})),
    ]
    TRAINED = (5.0,)
    WHOLE = (5,)


@pytest.mark.parametrize("mode", MODES[:2])
def test_bounds_without_a_value_yet_equal_torch(mode):
    for bounds in [(5,), (2, 9, 3), (5, 1, -2), *FRACTIONS]:
        arrays = [np.asarray(bound) for bound in bounds]
        function = in_mode(lambda *given: torch_arange(*given), mode)
        with named(bounds):
            found = function(*map(tf.constant, arrays))
            expected = torch.arange(*map(torch.from_numpy, arrays)).numpy()
            assert found.dtype.name == expected.dtype.name
            np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_counting_an_axis(mode):
    found = in_mode(lambda x: torch_arange(tf.shape(x)[0]), mode)(tf.zeros([3]))
    assert found.dtype == tf.int64
    np.testing.assert_array_equal(found, [0, 1, 2])


def test_gradients_do_not_reach_the_bounds():
    @tf.function
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = torch_arange(0.0, x)
        return tape.gradient(out, x) is None

    assert function(tf.constant(3.0))


@pytest.mark.parametrize("step", [0, -1])
def test_a_wrong_step_fails_when_it_runs_if_it_is_known_then_only(step):
    traced = tf.function(lambda step: torch_arange(1, 5, step))
    with pytest.raises(tf.errors.InvalidArgumentError):
        traced(tf.constant(step))


def test_bounds_that_int32_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="start must fit int32, got 2147483648"):
        torch_arange(2**31, 2**31 + 2, dtype="int32")
    with pytest.raises(ValueError, match="end must fit int64, got"):
        torch_arange(2**70)
