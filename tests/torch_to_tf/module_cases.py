"""Comparison of modules that take several inputs, masks among them, with PyTorch's."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import in_mode
from tests.torch_to_tf.compare import (
    as_numpy,
    as_torch,
    assert_same_function,
    random,
)
from util.torch_to_tf import nn_Module

Call = Callable[..., Any]


def share_state(ours: nn_Module, theirs: torch.nn.Module, scale: float = 1.0) -> None:
    """State dicts fit both ways; both have the same random values afterwards."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(as_torch(ours.state_dict()), strict=True)
    state = {
        key: (scale * random(value.shape, seed)).astype(value.numpy().dtype)
        for seed, (key, value) in enumerate(theirs.state_dict().items())
    }
    theirs.load_state_dict(as_torch(state), strict=True)
    assert ours.load_state_dict(as_numpy(theirs.state_dict())) == ([], [])


def call_plainly(module: Any, *inputs: Any) -> Any:
    """The module of its inputs."""
    return module(*inputs)


def assert_same_calls(
    ours: nn_Module,
    theirs: torch.nn.Module,
    inputs: Sequence[np.ndarray],
    call: Call = call_plainly,
    mode: str = "eager",
    scale: float = 0.5,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """State, outputs and the gradients of inputs and parameters are PyTorch's.

    Args:
        ours: Module.
        theirs: Module.
        inputs: What both are given, of any type.
        call: How: of a module of either framework and the inputs.
        mode: How ours is run.
        scale: Spread of the parameters.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
    """
    share_state(ours, theirs, scale)
    assert_same_function(
        lambda *xs: call(ours, *xs),
        lambda *xs: call(theirs, *xs),
        inputs,
        mode,
        rtol,
        atol,
    )
    assert_same_parameter_gradients(ours, theirs, inputs, call, mode, rtol, atol)


def assert_same_parameter_gradients(
    ours: nn_Module,
    theirs: torch.nn.Module,
    inputs: Sequence[np.ndarray],
    call: Call = call_plainly,
    mode: str = "eager",
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """The gradients of a weighted sum of outputs in the parameters are PyTorch's."""
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names
    if not names:
        return
    theirs.zero_grad()
    given = call(theirs, *(torch.from_numpy(x.copy()) for x in inputs))
    outputs = [given] if isinstance(given, torch.Tensor) else list(given)
    weights = [random(x.shape, 9).astype(x.detach().numpy().dtype) for x in outputs]
    sum(
        (x * torch.from_numpy(w)).sum() for x, w in zip(outputs, weights, strict=True)
    ).backward()

    def gradients(*xs: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            flat = tf.nest.flatten(call(ours, *xs))
            total = tf.add_n(
                [tf.reduce_sum(x * w) for x, w in zip(flat, weights, strict=True)]
            )
        sources = [p.value for p in ours.parameters()]
        return [
            tf.zeros_like(source) if found is None else tf.convert_to_tensor(found)
            for source, found in zip(
                sources, tape.gradient(total, sources), strict=True
            )
        ]

    found = in_mode(gradients, mode)(*map(tf.constant, inputs))
    for gradient, (name, value) in zip(found, theirs.named_parameters(), strict=True):
        expected = torch.zeros_like(value) if value.grad is None else value.grad
        np.testing.assert_allclose(
            gradient, expected.numpy(), rtol=rtol, atol=10 * atol, err_msg=name
        )


def assert_unknown_sizes_work(
    module: Callable[..., Any],
    inputs: Sequence[np.ndarray],
    shapes: Sequence[Sequence[int | None]],
    expected: Sequence[int | None],
) -> None:
    """Traced with sizes left open, it gives what it gives eagerly.

    Args:
        module: What is called.
        inputs: What it is given.
        shapes: The shapes that are known when it is traced.
        expected: What is known of the first output's shape then.
    """
    specs = [
        tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, inputs, strict=True)
    ]
    traced = tf.function(module, autograph=False).get_concrete_function(*specs)
    assert traced.outputs[0].shape.as_list() == list(expected)
    found = tf.nest.flatten(traced(*map(tf.constant, inputs)))
    wanted = tf.nest.flatten(module(*map(tf.constant, inputs)))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def assert_dtype_and_device_are_taken(make: Callable[..., nn_Module]) -> None:
    """`dtype` decides the type of all parameters; one that has no gradient is refused.

    Args:
        make: Takes `dtype` and `device`.
    """
    module = make(dtype="float64", device="CPU:0")
    assert {p.dtype for p in module.parameters()} == {"float64"}
    assert all("CPU:0" in p.value.device for p in module.parameters())
    assert {p.dtype for p in make(dtype=tf.float16).parameters()} == {"float16"}
    assert {p.dtype for p in make().parameters()} == {"float32"}
    with pytest.raises(ValueError, match="dtype must be a floating type, got int64"):
        make(dtype="int64")
    with pytest.raises(TypeError, match="dtype must be a tensor type, got 'half!'"):
        make(dtype="half!")
