"""Adam and AdamW with PyTorch's arithmetic.

TensorFlow's gradients are values, not fields of the parameters: a step is
`optimizer.apply(grads)`, and there is nothing to set to zero. Of PyTorch's arguments
`foreach`, `capturable`, `differentiable` and `fused` are left out: they choose between
implementations of the same step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from util.torch_to_tf import dtypes
from util.torch_to_tf.optimizer import Group, Optimizer, check_rate


class torch_optim_Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), step for step as in PyTorch (`torch.optim.Adam`).

    m and v are the moments of the gradient, t counts the parameter's own steps:
    p <- p - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps).

    The rate is a variable, `lr` or `param_groups[i]["lr"]`, which compiled code reads
    at each step; all other options are fixed once a function is traced.

    Args:
        params: Variables to train, or (name, variable) pairs; or mappings, each with
            the "params" of one group and the options in which it differs.
        lr: Learning rate. A variable is used itself.
        betas: Decay of m and of v.
        eps: Added after the square root (PyTorch's place, unlike Keras').
        weight_decay: L2 penalty, added to the gradient.
        amsgrad: Divide by the largest v so far (Reddi et al., 2018).
        maximize: Ascend instead.
        decoupled_weight_decay: p <- p (1 - lr wd) before the step instead of a penalty.

    Example: `torch_optim_Adam([tf.Variable([1.0])], lr=0.5).lr.numpy()` gives `0.5`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_rate(lr)
        _check_options(betas, eps, weight_decay)
        defaults = {
            "lr": lr,
            "betas": tuple(betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def names_of_averages(self, group: Mapping[str, Any]) -> Sequence[str]:
        """m, v and, for AMSGrad, the largest v."""
        moments = ("exp_avg", "exp_avg_sq")
        return (*moments, "max_exp_avg_sq") if group["amsgrad"] else moments

    @property
    def exp_avg(self) -> list[tf.Variable]:
        """m of each parameter."""
        return self.averages["exp_avg"]

    @property
    def betas(self) -> tuple[float, float]:
        """Decays of the first group."""
        return self.param_groups[0]["betas"]

    @property
    def weight_decay(self) -> float:
        """Weight decay of the first group."""
        return self.param_groups[0]["weight_decay"]

    def apply(self, grads: Sequence[tf.Tensor | None]) -> None:
        """Takes one step; a gradient of None leaves its parameter untouched.

        Args:
            grads: One gradient for each parameter, in their order.

        Raises:
            ValueError: There are more or fewer.
        """
        if len(grads) != len(self.params):
            raise ValueError(
                f"grads has {len(grads)} entries, expected {len(self.params)}."
            )
        first = 0
        for group, counts in zip(self.param_groups, self.steps, strict=True):
            beyond = first + len(group["params"])
            if any(grad is not None for grad in grads[first:beyond]):
                self._apply_group(group, counts, first, grads[first:beyond])
            first = beyond

    def _apply_group(
        self,
        group: Group,
        counts: tf.Variable,
        first: int,
        grads: Sequence[tf.Tensor | None],
    ) -> None:
        """One step of the parameters from number `first` on."""
        given = np.array([grad is not None for grad in grads], np.int64)
        numbers = _corrections(group, counts.assign_add(given))
        of_type = {
            dtype: [tf.unstack(tf.cast(values, dtype)) for values in numbers]
            for dtype in {tf.as_dtype(p.dtype) for p in group["params"]}
        }
        for place, grad in enumerate(grads):
            if grad is not None:
                dtype = tf.as_dtype(group["params"][place].dtype)
                shrinks, sizes, roots = of_type[dtype]
                self._update(
                    group,
                    first + place,
                    tf.convert_to_tensor(grad),
                    (shrinks[0], sizes[place], roots[place]),
                )

    def _update(
        self,
        group: Group,
        index: int,
        grad: tf.Tensor,
        numbers: tuple[tf.Tensor, tf.Tensor, tf.Tensor],
    ) -> None:
        """One step of one parameter."""
        shrink, step_size, root = numbers
        beta1, beta2 = group["betas"]
        m, v = (self.averages[name][index] for name in ("exp_avg", "exp_avg_sq"))
        value = tf.convert_to_tensor(self.params[index])
        if group["maximize"]:
            grad = -grad
        if group["weight_decay"] and group["decoupled_weight_decay"]:
            value = value * shrink
        elif group["weight_decay"]:
            grad = grad + group["weight_decay"] * value
        first = m.assign(m + (grad - m) * (1.0 - beta1))
        second = v.assign(v * beta2 + grad * grad * (1.0 - beta2))
        if group["amsgrad"]:
            largest = self.averages["max_exp_avg_sq"][index]
            second = largest.assign(tf.maximum(largest, second))
        change = first / (tf.sqrt(second) / root + group["eps"])
        self.params[index].assign(value - step_size * change)


class torch_optim_AdamW(torch_optim_Adam):
    """Adam that shrinks parameters apart from the moments (`torch.optim.AdamW`).

    p <- p (1 - lr wd) before Adam's step (Loshchilov and Hutter, 2019). All else is as
    described there.

    Args:
        params: Variables to train, or groups of them.
        lr: Learning rate.
        betas: Decay of m and of v.
        eps: Added after the square root.
        weight_decay: Decoupled decay, not 0 by default.
        amsgrad: Divide by the largest v so far.
        maximize: Ascend instead.

    Example: `torch_optim_AdamW([tf.Variable([1.0])]).weight_decay` gives `0.01`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: Any = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            decoupled_weight_decay=True,
        )

    def _take_options(self, group: Group, saved: Mapping[str, Any]) -> None:
        super()._take_options(group, {**saved, "decoupled_weight_decay": True})


def _corrections(
    group: Group, steps: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """[1 - lr wd], lr / (1 - b1^t) and sqrt(1 - b2^t), in double as in PyTorch."""
    step = tf.cast(steps, tf.float64)
    beta1, beta2 = (tf.constant(b, tf.float64) for b in group["betas"])
    rate = dtypes.cast(group["lr"], tf.float64)
    shrink = tf.reshape(1.0 - rate * group["weight_decay"], [1])
    return shrink, rate / (1.0 - beta1**step), tf.sqrt(1.0 - beta2**step)


def _check_options(betas: Any, eps: float, weight_decay: float) -> None:
    for name, value in (("eps", eps), ("weight_decay", weight_decay)):
        if not value >= 0.0:
            raise ValueError(f"{name} must be >= 0, got {value}.")
    if len(betas) != 2 or not all(isinstance(beta, float) for beta in betas):
        raise ValueError(f"betas must be two floats, got {betas!r}.")
    for index, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"betas[{index}] must be in [0, 1), got {beta}.")
