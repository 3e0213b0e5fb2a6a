import math

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import named
from tests.torch_to_tf.created import CreatingFunction
from util.torch_to_tf import torch_linspace

LINES = [
    (0, 1, 5),
    (0, 1, 7),
    (-1, 1, 101),
    (0.3, 17.7, 64),
    (5, 0, 6),
    (0, 10, 4),
    (0, -10, 4),
    (1, 1, 3),
    (3, 4, 1),
    (2, 9, 0),
]


class TestLinspace(CreatingFunction):
    ours = staticmethod(torch_linspace)
    theirs = staticmethod(torch.linspace)
    SAME = [
        *LINES,
        *((*line, {"dtype": "float64"}) for line in LINES),
        *((*line, {"dtype": "int64"}) for line in LINES),
        (0.7, 10.9, 4, {"dtype": "int32"}),
        (0.5, -4.5, 4, {"dtype": "int8"}),
        (-5, 0, 3, {"dtype": "uint8"}),
        (0, 7, 8, {"dtype": "uint8"}),
        (0, 1, 5, {"dtype": "float16"}),
        (0, 2j, 3),
        (0, 1, 3, {"dtype": "complex64"}),
        ({"start": 0, "end": 1, "steps": 3},),
        (np.array(0), np.array(1.5), 3),
        (np.array(0.0), 1, 3),
        (0, 1, np.array(3)),
        (math.inf, 1, 3),
    ]
    COMPILED = [(0, 1, 7), (0, 10, 4, {"dtype": "int64"})]
    REFUSED = [
        ("steps must be >= 0, got -1", (0, 1, -1)),
        ("steps must be an int, got 2.5", (0, 1, 2.5)),
        ("steps must be an int, got True", (0, 1, True)),
        ("start must be a number, got 'a'", ("a", 1, 2)),
        ("start must be a number, got", (np.array([0.0]), 1, 3)),
        ("end must fit uint8, got 300", (0, 300, 3, {"dtype": "uint8"})),
        ("end must fit float32, got 1e", (0, 1e300, 3)),
        ("dtype must be one of numbers, got bool", (0, 1, 2, {"dtype": "bool"})),
    ]
    TRAINED = (0, 1, 3)
    WHOLE = (0, 4, 3, {"dtype": "int64"})


def test_steps_must_be_given():
    with pytest.raises(TypeError, match="steps"):
        torch_linspace(0, 1)
    with pytest.raises(TypeError, match="steps"):
        torch.linspace(0, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_bounds_without_a_value_yet_equal_torch(dtype):
    for start, end, steps in LINES:
        function = tf.function(
            lambda first, last, steps=steps: torch_linspace(
                first, last, steps, dtype=dtype
            )
        )
        with named((start, end, steps, dtype)):
            found = function(*map(tf.constant, (float(start), float(end))))
            expected = torch.linspace(start, end, steps, dtype=getattr(torch, dtype))
            assert found.dtype.name == dtype
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("mode", MODES[1:])
def test_gradients_do_not_reach_the_bounds(mode):
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            out = torch_linspace(0.0, x, 3)
        gradient = tape.gradient(out, x)
        return out, tf.constant(gradient is None)

    out, is_none = in_mode(function, mode)(tf.constant(1.0))
    np.testing.assert_array_equal(out, [0.0, 0.5, 1.0])
    assert is_none
    leaf = torch.tensor(1.0, requires_grad=True)
    assert not torch.linspace(0.0, leaf, 3).requires_grad


def test_steps_without_a_value_yet_are_refused():
    traced = tf.function(lambda n: torch_linspace(0, 1, n))
    with pytest.raises(TypeError, match="steps must be an int, got a tensor without"):
        traced(tf.constant(3))
