"""Nothing but the matrix products of a computation, chained, in each framework.

Their time, divided by the time of the computation, is the share of the framework's own
rate that the computation reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Products:
    """Products of one network over a batch.

    Attributes:
        rows: Of the batch.
        widths: Of the linear layers, first to last.
        times: How often, each on the result of the one before.
        backward: With those of the gradients of all weights.
    """

    rows: int
    widths: tuple[int, ...]
    times: int = 1
    backward: bool = False

    def flops(self) -> int:
        """Additions and multiplications."""
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        sizes = [a * b for a, b in pairs]
        # There is no gradient of the input of the first layer.
        back = 2 * sum(sizes) - sizes[0] if self.backward else 0
        return 2 * self.rows * self.times * (sum(sizes) + back)


def weights(widths: Sequence[int]) -> list[np.ndarray]:
    """Matrices that keep the size of what they multiply."""
    rng = np.random.default_rng(0)
    return [
        (rng.standard_normal((a, b)) / np.sqrt(a)).astype(np.float32)
        for a, b in zip(widths, widths[1:], strict=False)
    ]


def run_products(x: Any, matrices: Sequence[Any], products: Products, lib: Any) -> list:
    """The products; `lib` gives `matmul(a, b)`, `transpose(a)` and `join(a, b)`."""
    results: list[Any] = []
    for _ in range(products.times):
        kept = [x]
        for matrix in matrices:
            kept.append(lib.matmul(kept[-1], matrix))
        out = kept.pop()
        results = [out]
        if products.backward:
            gradient = out
            for number in reversed(range(len(matrices))):
                results.append(lib.matmul(lib.transpose(kept[number]), gradient))
                if number:
                    gradient = lib.matmul(gradient, lib.transpose(matrices[number]))
        x = lib.join(out, x)
    return results


class TorchOps:
    """PyTorch's operations."""

    def __init__(self) -> None:
        import torch

        self.matmul = torch.matmul
        self.torch = torch

    def transpose(self, a: Any) -> Any:
        return a.t()

    def join(self, out: Any, x: Any) -> Any:
        return self.torch.cat([out, x[:, out.shape[1] :]], dim=1)


class TensorflowOps:
    """TensorFlow's operations."""

    def __init__(self) -> None:
        import tensorflow as tf

        self.matmul, self.transpose = tf.matmul, tf.transpose
        self.tf = tf

    def join(self, out: Any, x: Any) -> Any:
        return self.tf.concat([out, x[:, out.shape[1] :]], axis=1)


def torch_chain(parts: Sequence[Products]) -> Callable[[], None]:
    """Runs the products of `parts` in PyTorch."""
    import torch

    lib = TorchOps()
    inputs = [(torch.randn(p.rows, p.widths[0]), p) for p in parts]
    matrices = [[torch.tensor(w) for w in weights(p.widths)] for p in parts]

    def run() -> None:
        with torch.no_grad():
            for (x, part), own in zip(inputs, matrices, strict=True):
                run_products(x, own, part, lib)

    return run


def tensorflow_chain(parts: Sequence[Products]) -> Callable[[], None]:
    """Runs the products of `parts` in TensorFlow, with XLA or not: the faster way."""
    ways = [_tensorflow_chain(parts, compiled) for compiled in (False, True)]
    return min(ways, key=_best_of_three)


def _best_of_three(call: Callable[[], None]) -> float:
    call()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _tensorflow_chain(parts: Sequence[Products], compiled: bool) -> Callable[[], None]:
    import tensorflow as tf

    lib = TensorflowOps()
    rng = tf.random.Generator.from_seed(0)
    inputs = [rng.normal((p.rows, p.widths[0])) for p in parts]
    matrices = [[tf.Variable(w) for w in weights(p.widths)] for p in parts]

    def chain(xs: list) -> list:
        return [
            run_products(x, own, part, lib)
            for x, own, part in zip(xs, matrices, parts, strict=True)
        ]

    run = tf.function(chain, jit_compile=compiled)

    def call() -> None:
        # Fetching results waits for them.
        for results in run(inputs):
            for result in results:
                result.numpy()

    return call
