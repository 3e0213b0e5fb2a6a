"""Gradient steps: parameters, their optimizer and schedule, clipping."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from omegaconf import DictConfig

from util.scheduler import CosineAnnealingWarmupRestarts
from util.torch_to_tf import torch_nn_utils_clip_grad_norm_, torch_optim_AdamW


def host_flag(value: bool) -> tf.Tensor:
    """A condition for compiled code, kept on the host, which is where it is read."""
    with tf.device("/CPU:0"):
        return tf.constant(value)


def learner_of(
    train: DictConfig,
    prefix: str,
    params: Sequence[keras.Variable],
    max_grad_norm: float | None = None,
) -> Learner:
    """The learner of `train.<prefix>lr`, `..weight_decay` and `..lr_scheduler`.

    Args:
        train: Settings of the training.
        prefix: E.g. "actor_".
        params: Trained variables.
        max_grad_norm: Limit of the gradient's norm; None for none.
    """
    return Learner(
        params,
        lr=train[f"{prefix}lr"],
        weight_decay=train[f"{prefix}weight_decay"],
        schedule=train[f"{prefix}lr_scheduler"],
        max_grad_norm=max_grad_norm,
    )


def learner_keys(*prefixes: str) -> frozenset[str]:
    """Keys of a config that `learner_of` reads."""
    names = ("lr", "weight_decay", *(f"lr_scheduler.{key}" for key in _SCHEDULE))
    return frozenset(f"train.{p}{name}" for p in prefixes for name in names)


_SCHEDULE = ("first_cycle_steps", "warmup_steps", "min_lr")


class Learner:
    """AdamW on a group of parameters, with its learning rate schedule.

    Args:
        params: Trained variables.
        lr: Largest learning rate.
        weight_decay: Decoupled weight decay.
        schedule: `first_cycle_steps`, `warmup_steps`, `min_lr`; None for a constant.
        max_grad_norm: Limit of the gradient's norm; None for none.
    """

    def __init__(
        self,
        params: Sequence[keras.Variable],
        lr: float,
        weight_decay: float = 0.0,
        schedule: DictConfig | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        self.params = [p for p in params if p.trainable]
        self.max_grad_norm = max_grad_norm
        self.optimizer = torch_optim_AdamW(self.params, lr, weight_decay=weight_decay)
        self.scheduler = None
        if schedule is not None:
            self.scheduler = CosineAnnealingWarmupRestarts(
                self.optimizer,
                first_cycle_steps=schedule.first_cycle_steps,
                cycle_mult=1.0,
                max_lr=lr,
                min_lr=schedule.min_lr,
                warmup_steps=schedule.warmup_steps,
                gamma=1.0,
            )

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return float(self.scheduler.lr if self.scheduler else self.optimizer.lr.numpy())

    def apply(self, grads: Sequence[tf.Tensor | None]) -> None:
        """Clips and takes one step; works in compiled code."""
        if self.max_grad_norm is not None:
            grads, _ = torch_nn_utils_clip_grad_norm_(grads, self.max_grad_norm)
        self.optimizer.apply(grads)

    def minimise(
        self, loss: Callable[[], tf.Tensor], due: tf.Tensor | bool = True
    ) -> tf.Tensor:
        """One step on `loss()`, which is returned, if it is due; may be compiled."""
        with tf.GradientTape() as tape:
            value = loss()
        grads = tape.gradient(value, self.params)
        if due:
            self.apply(grads)
        return value

    def step_schedule(self) -> None:
        """Moves the learning rate on by one iteration."""
        if self.scheduler is not None:
            self.scheduler.step()

    def get_state(self) -> dict[str, Any]:
        """Optimizer and schedule."""
        state = {"optimizer": self.optimizer.state_dict()}
        if self.scheduler is not None:
            state["scheduler"] = self.scheduler.get_state()
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`; the decay stays the config's."""
        own = {"weight_decay": self.optimizer.weight_decay}
        saved = state["optimizer"]
        groups = [{**group, **own} for group in saved["param_groups"]]
        self.optimizer.load_state_dict({**saved, "param_groups": groups})
        if self.scheduler is not None:
            self.scheduler.set_state(state["scheduler"])
