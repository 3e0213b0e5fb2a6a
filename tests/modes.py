"""The ways in which TensorFlow code is run: plainly, as a graph, and under XLA."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

MODES = ("eager", "graph", "jit")


def in_mode(function: Callable[..., Any], mode: str, **options: Any) -> Any:
    """`function` itself, or compiled.

    Without autograph, which no model needs: converting the code takes most of the time.
    """
    if mode == "eager":
        return function
    jit = mode == "jit"
    return tf.function(function, autograph=False, jit_compile=jit, **options)
