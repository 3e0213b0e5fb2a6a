"""What the tests of functions of a list of tensors share."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.calls import named, typed
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function


def assert_same_joins(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    cases: Sequence[tuple[Any, ...]],
    mode: str = "eager",
) -> None:
    """Values and gradients are PyTorch's.

    Args:
        ours: Our function.
        theirs: PyTorch's.
        cases: Shapes of the tensors (or pairs of shape and type), further arguments.
        mode: How it is run.
    """
    for shapes, *args in cases:
        with named((shapes, args)):
            assert_same_function(
                lambda *xs, args=args: ours(xs, *args),
                lambda *xs, args=args: theirs(xs, *args),
                [made(shape, seed) for seed, shape in enumerate(shapes)],
                mode,
            )


def made(shape: Any, seed: int = 0) -> np.ndarray:
    """Random numbers of a shape, or of a pair of shape and type."""
    if len(shape) == 2 and isinstance(shape[1], str):
        return typed(shape[0], shape[1], seed)
    return typed(shape, seed=seed)


def assert_refused_joins(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    cases: Sequence[tuple[str, Sequence[Any], list[Any]]],
) -> None:
    """Both refuse; `cases` are what our message contains, shapes, arguments."""
    for match, shapes, args in cases:
        xs = [made(shape) for shape in shapes]
        with named((shapes, args)):
            assert_both_refuse(
                lambda xs=xs, args=args: ours(xs, *args),
                lambda xs=xs, args=args: theirs([*map(torch.from_numpy, xs)], *args),
                match,
            )


def assert_takes_lists_of_tensors_only(
    ours: Callable[..., Any], theirs: Callable[..., Any]
) -> None:
    """A tensor, no tensors and Python numbers are refused."""
    x = np.zeros([2, 2], np.float32)
    assert_both_refuse(
        lambda: ours(tf.constant(x)),
        lambda: theirs(torch.from_numpy(x)),
        "tensors must be a tuple",
    )
    assert_both_refuse(lambda: ours([]), lambda: theirs([]), "must not be empty")
    assert_both_refuse(
        lambda: ours([x, 1.0]),
        lambda: theirs([torch.from_numpy(x), 1.0]),
        r"tensors\[1\] must be a tensor, got 1.0",
    )
    with pytest.raises(TypeError, match=r"tensors\[0\] must be a tensor"):
        ours([[1.0], x])
    found = ours((x, tf.Variable(x)))
    np.testing.assert_array_equal(found, theirs([torch.from_numpy(x)] * 2))


def static_shape(function: Callable[..., Any], *shapes: Any) -> list[int | None]:
    """What a graph knows of the shape of the result."""
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    traced = tf.function(lambda *xs: function(xs), autograph=False)
    return traced.get_concrete_function(*specs).outputs[0].shape.as_list()
