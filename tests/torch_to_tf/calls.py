"""The tests that functions of a tensor share: a class of cases per function.

A case is a shape and the arguments behind the tensor; a dict at its end holds those
given by name.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import (
    assert_both_refuse,
    assert_same_function,
    random,
)

DTYPES = ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")


def typed(shape: Sequence[int], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    """Random numbers of a type."""
    values = np.asarray(3 * random(shape, seed))
    if dtype == "bool":
        return np.asarray(values > 0)
    return np.asarray(np.abs(values) if dtype == "uint8" else values, dtype)


def tolerances(dtype: str) -> tuple[float, float]:
    """Relative and absolute; sums of float16 depend on their order."""
    return (2e-3, 2e-3) if dtype == "float16" else (1e-5, 1e-6)


@contextmanager
def named(case: Any) -> Iterator[None]:
    """Adds the case to the message of a failure."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"case: {case}")
        raise


def unpacked(case: Sequence[Any]) -> tuple[Any, list[Any], dict[str, Any]]:
    """Shape, arguments and those by name."""
    shape, *args = case
    options = args.pop() if args and isinstance(args[-1], dict) else {}
    return shape, args, options


class FunctionOfTensor:
    """Tests of a function whose first argument is a tensor.

    `SAME` are cases in which all is as in PyTorch, `COMPILED` some of them, of which
    the first is tried with every type. `REFUSED` pairs what the message must contain
    with a case. `UNKNOWN` are cases with the axes whose size a graph does not know and
    the shapes of the outputs that it knows nevertheless.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    SAME: Sequence[Sequence[Any]]
    COMPILED: Sequence[Sequence[Any]]
    REFUSED: Sequence[tuple[str, Sequence[Any]]]
    UNKNOWN: Sequence[tuple[Sequence[Any], Sequence[int], Sequence[Any]]]
    DTYPES: Sequence[str] = DTYPES
    NAME = "input"

    def test_values_and_gradients_equal_torch(self):
        for case in self.SAME:
            self.compare(case)

    @pytest.mark.parametrize("mode", MODES[1:])
    def test_compiled_equals_torch(self, mode):
        for case in self.COMPILED:
            self.compare(case, mode)

    def test_results_have_the_types_of_torch(self):
        for dtype in self.DTYPES:
            self.compare(self.COMPILED[0], dtype=dtype)

    def compare(self, case, mode="eager", dtype="float32"):
        shape, args, options = unpacked(case)
        with named((*case, dtype)):
            assert_same_function(
                lambda x: self.ours(x, *args, **options),
                lambda x: self.theirs(x, *args, **options),
                [typed(shape, dtype)],
                mode,
                *tolerances(dtype),
            )

    def test_refusals_equal_torch(self):
        for match, case in self.REFUSED:
            with named(case):
                self.refuse(match, case)

    def refuse(self, match, case):
        shape, args, options = unpacked(case)
        x = typed(shape)
        assert_both_refuse(
            lambda: self.ours(x, *args, **options),
            lambda: self.theirs(torch.from_numpy(x), *args, **options),
            match,
        )

    def test_arrays_and_variables_count_as_tensors_and_nothing_else(self):
        shape, args, options = unpacked(self.COMPILED[0])
        x = typed(shape)
        expected = tf.nest.flatten(self.ours(tf.constant(x), *args, **options))
        for given in (x, tf.Variable(x), keras.Variable(x)):
            found = tf.nest.flatten(self.ours(given, *args, **options))
            for value, target in zip(found, expected, strict=True):
                np.testing.assert_array_equal(value, target)
        for given in (x.tolist(), 1.0):
            with pytest.raises(TypeError, match=f"{self.NAME} must be a tensor, got"):
                self.ours(given, *args, **options)

    def test_unknown_sizes_leave_the_others_known(self):
        for case, unknown, static in self.UNKNOWN:
            with named(case):
                self.trace(case, unknown, static)

    def trace(self, case, unknown, static):
        shape, args, options = unpacked(case)
        spec = [None if i in unknown else size for i, size in enumerate(shape)]
        traced = tf.function(
            lambda x: self.ours(x, *args, **options),
            input_signature=[tf.TensorSpec(spec, tf.float32)],
            autograph=False,
        )
        outputs = traced.get_concrete_function().outputs
        assert [output.shape.as_list() for output in outputs] == [*static]
        x = typed(shape)
        found = tf.nest.flatten(traced(x))
        expected = tf.nest.flatten(self.theirs(torch.from_numpy(x), *args, **options))
        for value, target in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, target.numpy(), rtol=1e-6)
