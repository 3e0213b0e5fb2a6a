"""Activation modules of `torch.nn`."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from util.torch_to_tf.module import nn_Module


class nn_Identity(nn_Module):
    """Returns its input; constructor arguments are ignored, as in PyTorch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """The input itself."""
        return input


class nn_Tanh(nn_Module):
    """tanh(x)."""

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        return tf.tanh(input)


class nn_ReLU(nn_Module):
    """max(x, 0)."""

    def __init__(self, inplace: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        return tf.nn.relu(input)


class nn_ELU(nn_Module):
    """x above 0, alpha (exp(x) - 1) below."""

    def __init__(
        self, alpha: float = 1.0, inplace: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        if self.alpha == 1.0:
            return tf.nn.elu(input)
        negative = self.alpha * tf.math.expm1(tf.minimum(input, 0.0))
        return tf.where(input > 0.0, input, negative)


class nn_GELU(nn_Module):
    """x Phi(x); exact, or with the tanh approximation.

    Args:
        approximate: "none" or "tanh".
    """

    def __init__(self, approximate: str = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if approximate not in ("none", "tanh"):
            raise ValueError(
                f"approximate must be 'none' or 'tanh', got {approximate!r}."
            )
        self.approximate = approximate

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        return tf.nn.gelu(input, approximate=self.approximate == "tanh")


class nn_Softplus(nn_Module):
    """log(1 + exp(beta x)) / beta, linear where beta x > threshold."""

    def __init__(
        self, beta: float = 1.0, threshold: float = 20.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.beta, self.threshold = beta, threshold

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        scaled = input * self.beta
        soft = tf.nn.softplus(tf.minimum(scaled, self.threshold)) / self.beta
        return tf.where(scaled > self.threshold, input, soft)


class nn_Mish(nn_Module):
    """x tanh(softplus(x)) (Misra, 2019)."""

    def __init__(self, inplace: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        return _mish(tf.convert_to_tensor(input))


@tf.custom_gradient
def _mish(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """x tanh(log(1 + w)) with w = exp(x), and its gradient, from one exponential.

    tanh(log(1 + w)) = n / (n + 2) with n = w (w + 2), which loses no digits; beyond 20
    it is 1 in double precision too.
    """
    w = tf.exp(tf.minimum(x, 20.0))
    n = w * (w + 2.0)
    tanh = n / (n + 2.0)

    def grad(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (tanh + x * (1.0 - tanh * tanh) * (w / (1.0 + w)))

    return x * tanh, grad
