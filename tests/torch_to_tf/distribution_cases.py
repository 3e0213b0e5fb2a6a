"""Comparison of distributions with those of PyTorch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tests.modes import in_mode
from tests.torch_to_tf.compare import assert_same_function
from util.torch_to_tf import torch_manual_seed


def assert_same_results(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    parameters: Sequence[np.ndarray],
    results: Sequence[str],
    value: np.ndarray | None = None,
    mode: str = "eager",
    **close: float,
) -> None:
    """Properties and methods of a distribution, with gradients, equal PyTorch's.

    Args:
        ours: Makes our distribution from the parameters.
        theirs: Makes PyTorch's.
        parameters: Arrays.
        results: Names of properties, and of methods without an argument or of `value`.
        value: Argument of `log_prob`, `cdf` and `icdf`.
        mode: How ours is run.
        **close: Tolerances.
    """
    for name in results:
        takes_value = name in ("log_prob", "cdf", "icdf")

        def result(kind, *inputs, name=name, takes_value=takes_value):
            given = inputs[:1] if takes_value else ()
            found = getattr(kind(*inputs[len(given) :]), name)
            return found(*given) if callable(found) else found

        inputs = [value, *parameters] if takes_value else parameters
        assert_same_function(
            lambda *x, result=result: result(ours, *x),
            lambda *x, result=result: result(theirs, *x),
            inputs,
            mode,
            **close,
        )


def assert_same_shapes(
    ours: Any, theirs: Any, draws: Sequence[tuple[int, ...]] = ((), (4,), (2, 3), (0,))
) -> None:
    """Batch and event shapes, and those of draws of some shapes, equal PyTorch's."""
    assert ours.batch_shape == tuple(theirs.batch_shape)
    assert ours.event_shape == tuple(theirs.event_shape)
    assert ours.has_rsample == theirs.has_rsample
    assert ours.has_enumerate_support == theirs.has_enumerate_support
    for shape in draws:
        found, expected = ours.sample(shape), theirs.sample(shape)
        assert tuple(found.shape) == tuple(expected.shape)
        assert found.dtype.name == expected.numpy().dtype.name


def assert_follows_generators(make: Callable[[], Any]) -> None:
    """Draws depend on the seed or the generator, and go on."""
    draws = []
    for _ in range(2):
        torch_manual_seed(3)
        draws.append([make().sample((50,)).numpy() for _ in range(2)])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0][0], draws[0][1])
    first, second = (
        make().sample((50,), generator=tf.random.Generator.from_seed(5))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def draws_of(make: Callable[[], Any], count: int, mode: str) -> np.ndarray:
    """`count` draws, in a mode."""
    return in_mode(lambda: make().sample((count,)), mode)().numpy()


def operations(function: Callable[..., Any], *specs: tf.TensorSpec) -> list[str]:
    """The kinds of operations in a graph, without constants."""
    graph = tf.function(function, autograph=False).get_concrete_function(*specs).graph
    free = ("Const", "Placeholder", "Identity", "NoOp")
    return [op.type for op in graph.get_operations() if op.type not in free]
