"""The tests that functions share that make tensors: a class of cases per function.

A case is a tuple of arguments; a dict at its end holds those given by name, where types
go by their names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import named
from tests.torch_to_tf.compare import assert_both_refuse


def split(case: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by position and by name."""
    args = list(case)
    return args, args.pop() if args and isinstance(args[-1], dict) else {}


def for_torch(value: Any, name: str = "") -> Any:
    """An argument of ours as one of PyTorch."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    return getattr(torch, value) if name == "dtype" else value


class CreatingFunction:
    """Tests of a function that makes a tensor.

    `SAME` are cases in which all is as in PyTorch, `COMPILED` some of them. `REFUSED`
    pairs what the message must contain with a case. `TRAINED` makes floating numbers,
    `WHOLE` integers.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    SAME: Sequence[Sequence[Any]]
    COMPILED: Sequence[Sequence[Any]]
    REFUSED: Sequence[tuple[str, Sequence[Any]]]
    TRAINED: Sequence[Any]
    WHOLE: Sequence[Any]

    def of_torch(self, case, **more):
        args, options = split(case)
        options = {name: for_torch(value, name) for name, value in options.items()}
        return self.theirs(*map(for_torch, args), **options, **more)

    def of_ours(self, case, **more):
        args, options = split(case)
        return self.ours(*args, **options, **more)

    def compare(self, case, mode="eager"):
        with named(case):
            expected = self.of_torch(case).numpy()
            found = in_mode(lambda: self.of_ours(case), mode)()
            assert found.dtype.name == expected.dtype.name
            assert tuple(found.shape) == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)

    def test_values_types_and_sizes_equal_torch(self):
        for case in self.SAME:
            self.compare(case)

    @pytest.mark.parametrize("mode", MODES[1:])
    def test_compiled_equals_torch(self, mode):
        for case in self.COMPILED:
            self.compare(case, mode)

    def test_refusals_equal_torch(self):
        for match, case in self.REFUSED:
            with named(case):
                self.refuse(match, case)

    def refuse(self, match, case, **more):
        assert_both_refuse(
            lambda: self.of_ours(case, **more),
            lambda: self.of_torch(case, **more),
            match,
        )

    def test_requires_grad_makes_a_trainable_variable(self):
        found = self.of_ours(self.TRAINED, requires_grad=True)
        assert isinstance(found, tf.Variable)
        assert found.trainable
        expected = self.of_torch(self.TRAINED, requires_grad=True)
        np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-6)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(2.0 * tf.convert_to_tensor(found))
        np.testing.assert_array_equal(
            tape.gradient(total, found), np.full(found.shape, 2.0)
        )

    def test_whole_numbers_cannot_be_trained(self):
        self.refuse(
            "requires_grad must be False for int", self.WHOLE, requires_grad=True
        )

    def test_variables_are_not_made_in_a_graph(self):
        traced = in_mode(
            lambda: self.of_ours(self.TRAINED, requires_grad=True), "graph"
        )
        with pytest.raises(ValueError, match="requires_grad must be False in a graph"):
            traced()

    def test_device_is_that_of_tensorflow(self):
        found = self.of_ours(self.TRAINED, device="CPU:0")
        assert found.device.endswith("CPU:0")
        with pytest.raises(ValueError, match="nonsense"):
            self.of_ours(self.TRAINED, device="nonsense")
