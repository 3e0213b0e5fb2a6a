"""What activations do with types and with what is no tensor."""

import numpy as np
import tensorflow as tf
import torch

from tests.modes import in_mode
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


def assert_same_second_gradient(
    ours: nn_Module, theirs: torch.nn.Module, x: np.ndarray, mode: str
) -> None:
    """First and second gradients of sums are PyTorch's.

    Args:
        ours: Module.
        theirs: PyTorch's, with the same parameters.
        x: Float64.
        mode: See `in_mode`.
    """
    weight = np.cos(np.arange(x.size)).reshape(x.shape)  # not a constant
    leaf = torch.tensor(x, requires_grad=True)
    value = (theirs(leaf) * torch.tensor(weight)).sum()
    (first,) = torch.autograd.grad(value, leaf, create_graph=True)
    (second,) = torch.autograd.grad((first * torch.tensor(weight)).sum(), leaf)

    def differentiate(v: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as outer:
            outer.watch(v)
            with tf.GradientTape() as inner:
                inner.watch(v)
                y = tf.reduce_sum(ours(v) * weight)
            dy = inner.gradient(y, v)
            total = tf.reduce_sum(dy * weight)
        return dy, outer.gradient(total, v)

    got = in_mode(differentiate, mode)(tf.constant(x))
    np.testing.assert_allclose(got[0], first.detach(), atol=1e-12)
    np.testing.assert_allclose(got[1], second, atol=1e-12)
