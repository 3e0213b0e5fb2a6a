"""Adam and AdamW with PyTorch's arithmetic, and gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class torch_optim_Adam:
    """Adam (Kingma and Ba, 2015) as `torch.optim.Adam` computes it.

    m and v are the moments of the gradient, t counts the parameter's own steps:
    p <- p - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps).

    Args:
        params: Variables to train.
        lr: Learning rate; later changed through the variable `lr`.
        betas: Decay of m and of v.
        eps: Added after the square root (PyTorch's place, unlike Keras').
        weight_decay: L2 penalty, added to the gradient.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[keras.Variable],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        _check_arguments(lr, betas, eps, weight_decay)
        self.params = list(params)
        if not self.params:
            raise ValueError("params is empty, expected at least one variable.")
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.lr = tf.Variable(lr, dtype=tf.float32, trainable=False, name="lr")
        # One count for each parameter: steps without a gradient do not count.
        self.step_count = tf.Variable(
            np.zeros(len(self.params), np.int64), trainable=False, name="step"
        )
        self.exp_avg = [_zeros_like(p) for p in self.params]
        self.exp_avg_sq = [_zeros_like(p) for p in self.params]

    def apply(self, grads: Sequence[tf.Tensor | None]) -> None:
        """Takes one step; a gradient of None leaves its parameter untouched.

        Args:
            grads: One gradient for each parameter, in their order.
        """
        if len(grads) != len(self.params):
            raise ValueError(
                f"grads has {len(grads)} entries, expected {len(self.params)}."
            )
        given = np.array([grad is not None for grad in grads], np.int64)
        steps = self.step_count.assign_add(given)
        step_sizes, roots = map(tf.unstack, self._corrections(steps))
        for index, grad in enumerate(grads):
            if grad is not None:
                self._update(
                    self.params[index],
                    self.exp_avg[index],
                    self.exp_avg_sq[index],
                    tf.convert_to_tensor(grad),
                    step_sizes[index],
                    roots[index],
                )

    def _corrections(self, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """lr / (1 - b1^t) and sqrt(1 - b2^t), computed in double as PyTorch does."""
        step = tf.cast(steps, tf.float64)
        beta1, beta2 = (tf.constant(b, tf.float64) for b in self.betas)
        step_size = tf.cast(self.lr, tf.float64) / (1.0 - beta1**step)
        return step_size, tf.sqrt(1.0 - beta2**step)

    def _update(
        self,
        param: keras.Variable,
        m: tf.Variable,
        v: tf.Variable,
        grad: tf.Tensor,
        step_size: tf.Tensor,
        root: tf.Tensor,
    ) -> None:
        beta1, beta2 = self.betas
        value = tf.convert_to_tensor(param)
        step_size, root, lr = (
            tf.cast(number, value.dtype) for number in (step_size, root, self.lr)
        )
        if self.weight_decay and self.decoupled:
            value = value * (1.0 - lr * self.weight_decay)
        elif self.weight_decay:
            grad = grad + self.weight_decay * value
        first = m.assign(m + (grad - m) * (1.0 - beta1))
        second = v.assign(v * beta2 + grad * grad * (1.0 - beta2))
        param.assign(value - step_size * (first / (tf.sqrt(second) / root + self.eps)))

    def state_dict(self) -> dict[str, Any]:
        """Moments, step and learning rate, laid out as in PyTorch."""
        return {
            "state": {
                str(i): {
                    "step": np.float32(step),
                    "exp_avg": m.numpy(),
                    "exp_avg_sq": v.numpy(),
                }
                for i, (step, m, v) in enumerate(
                    zip(
                        self.step_count.numpy(),
                        self.exp_avg,
                        self.exp_avg_sq,
                        strict=True,
                    )
                )
            },
            "param_groups": [
                {
                    "lr": float(self.lr.numpy()),
                    "betas": list(self.betas),
                    "eps": self.eps,
                    "weight_decay": self.weight_decay,
                    "params": list(range(len(self.params))),
                }
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave, here or in PyTorch (as arrays).

        Of the options only the learning rate is taken over. A parameter without
        moments, which has not had a gradient, starts again.

        Raises:
            ValueError: The number or the shapes of the parameters differ.
        """
        group = state["param_groups"][0]
        if len(group["params"]) != len(self.params):
            raise ValueError(
                f"state has {len(group['params'])} parameters, "
                f"expected {len(self.params)}."
            )
        entries = {int(key): value for key, value in state["state"].items()}
        steps = np.zeros(len(self.params), np.int64)
        for index, (m, v) in enumerate(zip(self.exp_avg, self.exp_avg_sq, strict=True)):
            entry = entries.get(index)
            m.assign(entry["exp_avg"] if entry else tf.zeros_like(m))
            v.assign(entry["exp_avg_sq"] if entry else tf.zeros_like(v))
            steps[index] = int(entry["step"]) if entry else 0
        self.step_count.assign(steps)
        self.lr.assign(group["lr"])

    get_state = state_dict
    set_state = load_state_dict


class torch_optim_AdamW(torch_optim_Adam):
    """AdamW (Loshchilov and Hutter, 2019): p <- p (1 - lr wd) before Adam's step.

    Args:
        params: Variables to train.
        lr: Learning rate.
        betas: Decay of m and of v.
        eps: Added after the square root.
        weight_decay: Decoupled decay, 0.01 by default as in PyTorch.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[keras.Variable],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


def torch_nn_utils_clip_grad_norm_(
    grads: Sequence[tf.Tensor | None], max_norm: float, norm_type: float = 2.0
) -> tuple[list[tf.Tensor | None], tf.Tensor]:
    """Scales gradients by min(1, max_norm / (norm + 1e-6)), one norm for all.

    TensorFlow's gradients are values, not fields of the parameters, so they are
    passed and returned instead of being changed in place.

    Args:
        grads: Gradients; None entries stay None.
        max_norm: Largest norm allowed.
        norm_type: Order of the norm; `inf` for the largest entry.

    Returns:
        The scaled gradients, and the norm before scaling.
    """
    present = [tf.reshape(g, [-1]) for g in grads if g is not None]
    if not present:
        return list(grads), tf.constant(0.0)
    total = tf.norm(
        tf.stack([tf.norm(g, ord=norm_type) for g in present]), ord=norm_type
    )
    scale = tf.minimum(max_norm / (total + 1e-6), 1.0)
    return [None if g is None else g * scale for g in grads], total


def _zeros_like(param: keras.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(param.shape, param.dtype), trainable=False)


def _check_arguments(
    lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> None:
    if lr < 0.0:
        raise ValueError(f"lr must be >= 0, got {lr}.")
    if eps < 0.0:
        raise ValueError(f"eps must be >= 0, got {eps}.")
    if weight_decay < 0.0:
        raise ValueError(f"weight_decay must be >= 0, got {weight_decay}.")
    for index, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"betas[{index}] must be in [0, 1), got {beta}.")
