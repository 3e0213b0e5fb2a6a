"""What activations do with types and with what is no tensor."""

import numpy as np
import torch

from tests.torch_to_tf.compare import assert_both_refuse, grid
from util.torch_to_tf import nn_Module

# PyTorch has no other kernels for these, and raises NotImplementedError.
WHOLE = (np.int64, bool)


def assert_numbers_are_refused(ours: nn_Module, theirs: torch.nn.Module) -> None:
    """A Python number is no tensor, and neither is a list."""
    for value in (3.0, [3.0]):
        assert_both_refuse(
            lambda value=value: ours(value),
            lambda value=value: theirs(value),
            "input must be a tensor, got",
        )


def assert_types_are_refused(
    ours: nn_Module, theirs: torch.nn.Module, *types: type
) -> None:
    """Tensors of these types are refused."""
    for dtype in types:
        x = np.ones(3, dtype)
        assert_both_refuse(
            lambda x=x: ours(x), lambda x=x: theirs(torch.from_numpy(x)), "input must"
        )


def assert_half_precision_is_near(ours: nn_Module, theirs: torch.nn.Module) -> None:
    """In float16 the result is PyTorch's to rounding, near 0 to that of 0.1."""
    x = grid().astype(np.float16)
    expected = theirs(torch.from_numpy(x)).numpy()
    found = ours(x)
    assert found.dtype == "float16"
    np.testing.assert_allclose(found, expected, rtol=2**-9, atol=1e-4)
