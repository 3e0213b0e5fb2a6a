"""Trajectories of an optimizer beside those of the real PyTorch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import torch

from tests.modes import in_mode
from util.torch_to_tf import nn_Parameter, torch_optim_Adam, torch_optim_AdamW

OURS = {"Adam": torch_optim_Adam, "AdamW": torch_optim_AdamW}
SHAPES = [(3, 2), (4,), ()]

# Gradients of one step; None where a parameter has none.
Gradients = list[np.ndarray | None]


def gradients(steps: int, seed: int = 0) -> list[Gradients]:
    """Gradients of `steps` steps, of very different sizes."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-6, 2, steps)
    return [
        [np.float32(scale * rng.standard_normal(shape)) for shape in SHAPES]
        for scale in scales
    ]


class Pair:
    """Our optimizer and PyTorch's, on equal parameters."""

    def __init__(self, name: str, mode: str = "eager", **options: Any) -> None:
        rng = np.random.default_rng(1)
        start = [np.float32(rng.standard_normal(shape)) for shape in SHAPES]
        self.ours = [nn_Parameter(value) for value in start]
        self.theirs = [
            torch.nn.Parameter(torch.from_numpy(np.array(value))) for value in start
        ]
        self.optimizer = OURS[name](self.ours, **options)
        self.torch = getattr(torch.optim, name)(self.theirs, **options)
        self._apply = in_mode(lambda grads: self.optimizer.apply(grads), mode)

    def step(self, grads: Gradients) -> None:
        """One step of both."""
        self._apply([None if g is None else tf.constant(g) for g in grads])
        for parameter, grad in zip(self.theirs, grads, strict=True):
            parameter.grad = None if grad is None else torch.from_numpy(np.array(grad))
        self.torch.step()

    def set_lr(self, lr: float) -> None:
        """Another learning rate for both."""
        self.optimizer.lr.assign(lr)
        self.torch.param_groups[0]["lr"] = lr

    def run(self, all_grads: Sequence[Gradients]) -> None:
        """Several steps, comparing after the first and every tenth."""
        for number, grads in enumerate(all_grads):
            self.step(grads)
            if number % 10 in (0, 9):
                self.assert_equal(number)

    def assert_equal(self, number: int = -1) -> None:
        """Parameters are equal."""
        for ours, theirs in zip(self.ours, self.theirs, strict=True):
            np.testing.assert_allclose(
                ours.numpy(),
                theirs.detach().numpy(),
                rtol=2e-6,
                atol=2e-6,
                err_msg=f"step {number}",
            )
