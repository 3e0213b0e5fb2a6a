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

# Two groups: the numbers of their parameters, and their options.
GROUPS = [
    {"params": [1], "lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.0},
    {"params": [2, 0], "weight_decay": 0.1, "eps": 1e-3, "amsgrad": True},
]

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


def to_torch(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict of ours with tensors for arrays."""
    entries = {
        index: {key: torch.as_tensor(value) for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": entries}


def to_arrays(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict of PyTorch with arrays for tensors."""
    entries = {
        index: {key: value.numpy().copy() for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {**state, "state": entries}


class Pair:
    """Our optimizer and PyTorch's, on equal parameters.

    Args:
        name: "Adam" or "AdamW".
        mode: How ours is run.
        groups: As `GROUPS`; None for all parameters in one.
        **options: For the constructors.
    """

    def __init__(
        self,
        name: str,
        mode: str = "eager",
        groups: Sequence[dict[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        rng = np.random.default_rng(1)
        start = [np.float32(rng.standard_normal(shape)) for shape in SHAPES]
        self.name, self.groups = name, groups
        self.ours = [nn_Parameter(value) for value in start]
        self.theirs = [
            torch.nn.Parameter(torch.from_numpy(np.array(value))) for value in start
        ]
        # The numbers of the parameters, in the order of the optimizers.
        self.order = [i for group in groups or [] for i in group["params"]]
        self.order = self.order or list(range(len(start)))
        self.optimizer = self.fresh(**options)
        self.torch = self.fresh_torch(**options)
        self._apply = in_mode(lambda grads: self.optimizer.apply(grads), mode)

    def _grouped(self, params: list) -> list:
        if self.groups is None:
            return params
        return [{**g, "params": [params[i] for i in g["params"]]} for g in self.groups]

    def fresh(self, **options: Any) -> torch_optim_Adam:
        """Another optimizer of ours on the same parameters."""
        return OURS[self.name](self._grouped(self.ours), **options)

    def fresh_torch(self, **options: Any) -> torch.optim.Adam:
        """Another optimizer of PyTorch on the same parameters."""
        return getattr(torch.optim, self.name)(self._grouped(self.theirs), **options)

    def add_group(self, numbers: Sequence[int], **options: Any) -> None:
        """Parameters that both train from now on."""
        self.order += numbers
        for optimizer, params in (
            (self.optimizer, self.ours),
            (self.torch, self.theirs),
        ):
            group = {"params": [params[i] for i in numbers], **options}
            optimizer.add_param_group(group)

    def step(self, grads: Gradients) -> None:
        """One step of both."""
        given = [grads[i] for i in self.order]
        self._apply([None if g is None else tf.constant(g) for g in given])
        for parameter, grad in zip(self.theirs, grads, strict=True):
            parameter.grad = None if grad is None else torch.from_numpy(np.array(grad))
        self.torch.step()

    def set_lr(self, lr: float, group: int = 0) -> None:
        """Another learning rate for both."""
        for optimizer in (self.optimizer, self.torch):
            optimizer.param_groups[group]["lr"] = lr

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
