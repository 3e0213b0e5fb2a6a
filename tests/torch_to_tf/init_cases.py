"""What the tests of functions that fill variables share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import nn_Parameter, torch_manual_seed

Fill = Callable[..., Any]


def filled(fill: Fill, shape: Sequence[int], **options: Any) -> np.ndarray:
    """What a function makes of a parameter."""
    parameter = nn_Parameter(np.full(shape, 7.0, np.float32))
    assert fill(parameter, **options) is parameter
    return parameter.numpy()


def assert_uniform(values: np.ndarray, bound: float) -> None:
    """Values fill [-bound, bound] evenly."""
    assert np.abs(values).max() <= bound * (1 + 1e-6)
    assert np.abs(values).max() > 0.999 * bound
    assert values.mean() == pytest.approx(0.0, abs=0.02 * bound)
    assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


def assert_fills_any_number_of_axes(fill: Fill, theirs: Fill) -> None:
    """As PyTorch does, scalars and empty variables too."""
    for shape in ((), (3,), (2, 3, 4), (0, 2)):
        expected = theirs(torch.full(shape, 7.0))
        np.testing.assert_array_equal(filled(fill, shape), expected)


def assert_fills_variables_of_all_types(fill: Fill, value: float) -> None:
    """Not of floats only."""
    for dtype in ("bfloat16", "float64", "int64", "bool", "complex64"):
        variable = tf.Variable(tf.cast([3, 0], dtype))
        assert fill(variable) is variable
        np.testing.assert_array_equal(tf.cast(variable, tf.float32), [value, value])


def assert_fills_in_every_mode(fill: Fill, value: float) -> None:
    """Compiled too."""
    for mode in MODES:
        variable = tf.Variable([3.0, 5.0])
        in_mode(lambda v=variable: tf.identity(fill(v)), mode)()
        np.testing.assert_array_equal(variable, [value, value])


def assert_fills_variables_of_floats(fill: Fill) -> None:
    """Those of Keras and TensorFlow, of any floating type and mode, anew each time."""
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        variable = tf.Variable(tf.fill([8, 8], tf.cast(70.0, dtype)))
        assert fill(variable) is variable
        assert variable.dtype.name == dtype
        assert np.abs(variable.numpy().astype(np.float64)).max() < 10.0
    for mode in MODES:
        found = []
        call = in_mode(lambda v: fill(v).assign_add(tf.zeros_like(v)), mode)
        for _ in range(2):
            call(variable)
            found.append(variable.numpy())
        assert not np.array_equal(*found)
        assert np.std(found) > 0.0


def assert_follows_seed_and_generator(fill: Fill) -> None:
    """Equal seeds and generators give equal values, the next ones are others."""
    found = []
    for _ in range(2):
        torch_manual_seed(3)
        found.append([filled(fill, (4, 5)) for _ in range(2)])
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0][0], found[0][1])
    first, second = (
        filled(fill, (4, 5), generator=tf.random.Generator.from_seed(2))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    with pytest.raises(TypeError, match=r"must be a tf\.random\.Generator, got 3"):
        filled(fill, (4, 5), generator=3)


def assert_refuses_what_is_no_variable(fill: Fill) -> None:
    """A tensor cannot be changed, and numbers neither."""
    for value in (tf.zeros([2, 2]), np.zeros((2, 2)), 3.0):
        with pytest.raises(TypeError, match="tensor must be a variable, got"):
            fill(value)


def assert_refuses_whole_numbers(ours: Fill, theirs: Fill) -> None:
    """As PyTorch does."""
    assert_both_refuse(
        lambda: ours(tf.Variable([[1, 2], [3, 4]])),
        lambda: theirs(torch.ones(2, 2, dtype=torch.int32)),
        "tensor must have a floating type, got int32",
    )


def assert_refuses_few_axes(ours: Fill, theirs: Fill) -> None:
    """Inputs and outputs need two."""
    for shape in ((), (3,)):
        assert_both_refuse(
            lambda shape=shape: filled(ours, shape),
            lambda shape=shape: theirs(torch.zeros(shape)),
            "tensor must have 2 or more axes",
        )
