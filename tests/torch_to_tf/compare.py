"""Comparison of modules and functions with the real PyTorch, gradients included."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
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
    theirs: Callable[..., Any],
    inputs: Sequence[np.ndarray],
    mode: str = "eager",
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """Outputs, their types and shapes, and gradients of a weighted sum are equal.

    Any number of outputs and inputs of any type; gradients are compared from floating
    outputs to floating inputs, and where PyTorch has none ours must be None or zero.
    """
    close = {"rtol": rtol, "atol": atol}
    expected, expected_gradients, weights = _of_torch(theirs, inputs)

    def value_and_gradients(*xs: tf.Tensor) -> tuple:
        with tf.GradientTape() as tape:
            tape.watch([x for x in xs if x.dtype.is_floating])
            out = tf.nest.flatten(ours(*xs))
            total = sum(
                tf.reduce_sum(value * weight)
                for value, weight in zip(out, weights, strict=True)
                if weight is not None
            )
        sources = [x for x in xs if x.dtype.is_floating]
        if not tf.is_tensor(total) or not sources:
            return out, []
        return out, tape.gradient(total, sources)

    out, gradients = in_mode(value_and_gradients, mode)(*map(tf.constant, inputs))
    assert len(out) == len(expected)
    for value, target in zip(out, expected, strict=True):
        assert value.dtype.name == target.dtype.name
        assert tuple(value.shape) == target.shape
        np.testing.assert_allclose(value, target, **close)
    for gradient, target in zip(gradients, expected_gradients, strict=True):
        actual = np.zeros_like(target) if gradient is None else gradient
        np.testing.assert_allclose(tf.convert_to_tensor(actual), target, **close)


def _of_torch(
    theirs: Callable[..., Any], inputs: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray | None]]:
    """Outputs, gradients by floating input, and the weights of the sum of outputs."""
    tensors = [torch.from_numpy(x.copy()) for x in inputs]
    leaves = [x.requires_grad_() for x in tensors if x.is_floating_point()]
    result = theirs(*tensors)
    outputs = [result] if isinstance(result, torch.Tensor) else list(result)
    weights: list[np.ndarray | None] = [
        random(x.shape, 9).astype(x.detach().numpy().dtype) if x.requires_grad else None
        for x in outputs
    ]
    pairs = zip(outputs, weights, strict=True)
    total = [(x * torch.from_numpy(w)).sum() for x, w in pairs if w is not None]
    if not total:
        return [x.detach().numpy() for x in outputs], [], weights
    sum(total[1:], total[0]).backward()
    gradients = [
        (torch.zeros_like(x) if x.grad is None else x.grad).numpy() for x in leaves
    ]
    return [x.detach().numpy() for x in outputs], gradients, weights


def assert_both_refuse(
    ours: Callable[[], Any], theirs: Callable[[], Any], match: str
) -> None:
    """PyTorch raises, and so do we, with a sentence that contains `match`."""
    with pytest.raises((RuntimeError, ValueError, TypeError, LookupError)):
        theirs()
    with pytest.raises((ValueError, TypeError, IndexError), match=match):
        ours()


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
