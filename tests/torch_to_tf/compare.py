"""Comparison of modules and functions with the real PyTorch, gradients included."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import torch

from tests.modes import in_mode
from util.torch_to_tf import nn_Module

# Around 0, around the threshold of Softplus, and where exp over- or underflows.
EDGES = [0.0, 1e-6, -1e-6, 19.9, 20.0, 20.1, -20.0, 50.0, -50.0, 100.0, -100.0]


def grid(seed: int = 0) -> np.ndarray:
    """Random points and edge cases, (8, 13) float32."""
    points = np.random.default_rng(seed).normal(0, 3, 8 * 13 - len(EDGES))
    return np.concatenate([points, EDGES]).reshape(8, 13).astype(np.float32)


def random(shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Standard normal, float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def as_torch(state: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """A state dict of ours as one of PyTorch."""
    return {key: torch.from_numpy(value) for key, value in state.items()}


def as_numpy(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """A state dict of PyTorch as one of ours."""
    return {key: value.detach().numpy().copy() for key, value in state.items()}


def assert_same_function(
    ours: Callable[..., Any],
    theirs: Callable[..., torch.Tensor],
    inputs: Sequence[np.ndarray],
    mode: str = "eager",
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """Output, its dtype, and the gradient of a weighted sum of it are equal."""
    tensors = [torch.from_numpy(x.copy()).requires_grad_() for x in inputs]
    expected = theirs(*tensors)
    weights = random(expected.shape, 9).astype(expected.detach().numpy().dtype)
    (expected * torch.from_numpy(weights)).sum().backward()

    def value_and_gradients(*xs: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch(xs)
            out = ours(*xs)
            total = tf.reduce_sum(out * weights)
        return out, tape.gradient(total, xs)

    out, gradients = in_mode(value_and_gradients, mode)(*map(tf.constant, inputs))
    close = {"rtol": rtol, "atol": atol}
    assert out.dtype.name == str(expected.dtype).removeprefix("torch.")
    np.testing.assert_allclose(out, expected.detach().numpy(), **close)
    for gradient, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), **close)


def assert_same_module(
    ours: nn_Module,
    theirs: torch.nn.Module,
    x: np.ndarray,
    mode: str = "eager",
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """State dicts fit both ways; outputs and all gradients are equal."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(as_torch(ours.state_dict()), strict=True)
    fresh = {k: random(v.shape, 7) for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(as_torch(fresh), strict=True)
    assert ours.load_state_dict(as_numpy(theirs.state_dict())) == ([], [])

    assert_same_function(ours, theirs, [x], mode, rtol, atol)
    expected = dict(theirs.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == list(expected)
    if not expected:
        return
    theirs.zero_grad()
    out = theirs(torch.from_numpy(x))
    weights = random(out.shape, 9)
    (out * torch.from_numpy(weights)).sum().backward()

    def gradients(x: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(ours(x) * weights)
        return tape.gradient(total, ours.parameters())

    actual = in_mode(gradients, mode)(tf.constant(x))
    for gradient, (name, parameter) in zip(actual, expected.items(), strict=True):
        np.testing.assert_allclose(
            gradient, parameter.grad.numpy(), rtol=rtol, atol=10 * atol, err_msg=name
        )


def assert_configurable(module: nn_Module) -> None:
    """A module made from the config of another has its type, keys and config."""
    config = module.get_config()
    copy = type(module).from_config(config)
    assert type(copy) is type(module)
    assert copy.get_config() == config
    shapes, copied = (
        {k: v.shape for k, v in m.state_dict().items()} for m in (module, copy)
    )
    assert list(shapes.items()) == list(copied.items())
