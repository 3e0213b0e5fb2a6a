"""What the tests of the convolutions share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import in_mode
from tests.torch_to_tf.compare import assert_both_refuse, random
from tests.torch_to_tf.module_cases import assert_same_calls
from util.torch_to_tf import compute_in, nn_Module


def assert_same_convolution(
    ours: Callable[..., nn_Module],
    theirs: Callable[..., torch.nn.Module],
    arguments: tuple,
    options: dict[str, Any],
    shape: tuple[int, ...],
    mode: str = "eager",
) -> None:
    """Layers made of the same arguments are the same."""
    layers = [make(*arguments, **options) for make in (ours, theirs)]
    assert_same_calls(layers[0], layers[1], [random(shape)], mode=mode)


def assert_both_refuse_to_convolve(
    ours: Callable[..., nn_Module],
    theirs: Callable[..., torch.nn.Module],
    arguments: tuple,
    options: dict[str, Any],
    shape: tuple[int, ...],
    match: str,
) -> None:
    """Making the layer or calling it fails."""
    assert_both_refuse(
        lambda: ours(*arguments, **options)(tf.zeros(shape)),
        lambda: theirs(*arguments, **options)(torch.zeros(shape)),
        match,
    )


def assert_initial_values(layer: nn_Module, bound: float) -> None:
    """Weight and bias are uniform within a bound."""
    for value in layer.state_dict().values():
        assert 0.97 * bound < np.abs(value).max() <= bound
        assert value.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
        assert value.dtype == np.float32


def assert_rounded_convolution(layer: nn_Module, x: np.ndarray, mode: str) -> None:
    """In bfloat16, outputs and gradients are near the exact ones, and not equal."""

    def function(x: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x)
            loss = tf.reduce_mean(output**2)
        sources = [x, *(p.value for p in layer.parameters())]
        return [output, *tape.gradient(loss, sources)]

    exact = function(tf.constant(x))
    compute_in("bfloat16", layer)
    rounded = in_mode(function, mode)(tf.constant(x))
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == tf.float32
        error = np.abs(other - one).max() / np.abs(one).max()
        assert 0 < error < 0.02
    compute_in("float32", layer)
    np.testing.assert_array_equal(layer(x), exact[0])
