"""Layers of `torch.nn` with PyTorch's keys, layouts and default initialisation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

# Not public, like every way to the barrier; the pinned TensorFlow has it.
from tensorflow.compiler.tf2xla.python import xla

from util.torch_to_tf import init
from util.torch_to_tf.module import nn_Module, nn_Parameter


class nn_Linear(nn_Module):
    """y = x W^T + b.

    Args:
        in_features: Size of the last axis of x.
        out_features: Size of the last axis of y.
        bias: Whether b exists.

    Parameters: `weight` (out, in) and `bias` (out,), both U(+-1/sqrt(in)).
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if in_features < 0 or out_features < 0:
            raise ValueError(
                "in_features and out_features must be >= 0, "
                f"got {in_features} and {out_features}."
            )
        self.in_features, self.out_features = in_features, out_features
        self._transposed: tf.Tensor | None = None
        self._product_dtype: tf.DType | None = None  # see `compute_in`
        self.weight = nn_Parameter(
            init.fan_in_uniform((out_features, in_features), in_features)
        )
        self.bias = (
            nn_Parameter(init.fan_in_uniform((out_features,), in_features))
            if bias
            else None
        )

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Maps (..., in) to (..., out)."""
        input = tf.convert_to_tensor(input)
        if input.shape[-1] != self.in_features:
            raise ValueError(
                f"input has last size {input.shape[-1]}, "
                f"expected in_features={self.in_features}."
            )
        output = self._product(input)
        if self.bias is None:
            return output
        if input.shape.rank is None or input.shape.rank < 2:
            return output + self.bias
        # Its gradient takes a third of the time of that of "+" on a CPU.
        return tf.nn.bias_add(output, self.bias)

    def _product(self, input: tf.Tensor) -> tf.Tensor:
        """x W^T."""
        if self._product_dtype is None:
            return self._plain_product(input, self.weight)
        output = self._plain_product(
            tf.cast(input, self._product_dtype), self.cast_weight()
        )
        return tf.cast(output, input.dtype)

    def _plain_product(self, input: tf.Tensor, weight: Any) -> tf.Tensor:
        if input.shape.rank == 2 and self._transposed is not None:
            return tf.matmul(input, self._transposed)
        if input.shape.rank == 2:
            return tf.matmul(input, weight, transpose_b=True)
        return tf.tensordot(input, weight, [[-1], [1]])

    def cast_weight(self) -> tf.Tensor:
        """The weight in the type of the product."""
        weight = tf.convert_to_tensor(self.weight)
        kind = self._product_dtype
        return weight if kind is None else tf.cast(weight, kind)


@contextmanager
def transposed_weights(module: nn_Module) -> Iterator[None]:
    """Within, linear layers multiply by weights that were transposed beforehand.

    A loop of small batches, such as sampling, then does not do so in every round: 40
    rows and 20 rounds took 4.1 instead of 5.4 ms. Only for code that XLA compiles (the
    barrier keeps it from undoing this); nothing changes where code runs eagerly.
    """
    if tf.executing_eagerly():
        yield
        return
    layers = [part for part in module.modules() if isinstance(part, nn_Linear)]
    weights = [tf.transpose(part.cast_weight()) for part in layers]
    held = xla.optimization_barrier(*weights) if weights else []
    for part, weight in zip(layers, held, strict=True):
        part._transposed = weight
    try:
        yield
    finally:
        for part in layers:
            part._transposed = None


def compute_in(dtype: str, *modules: nn_Module) -> None:
    """Makes linear layers multiply in `dtype` from now on; all else stays as it is.

    Weights, biases, gradients and what layers return stay float32; factors and products
    are rounded. For compiled functions it must be called before they are traced.

    Args:
        dtype: "bfloat16", or "float32" for no rounding.
        *modules: Networks.

    Raises:
        ValueError: Another type; float16 would need scaled losses.
    """
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"compute_dtype must be float32 or bfloat16, got {dtype!r}.")
    for module in modules:
        for part in module.modules():
            if isinstance(part, nn_Linear):
                part._product_dtype = None if dtype == "float32" else tf.bfloat16


class nn_LayerNorm(nn_Module):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, var biased.

    Args:
        normalized_shape: Sizes of the normalised axes; an int for the last one only.
        eps: Added to the variance.
        elementwise_affine: Whether `weight` and `bias` exist.
        bias: Whether `bias` exists.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        shape = (
            (normalized_shape,)
            if isinstance(normalized_shape, int)
            else tuple(normalized_shape)
        )
        self.normalized_shape, self.eps = shape, eps
        self.weight = (
            nn_Parameter(np.ones(shape, np.float32)) if elementwise_affine else None
        )
        self.bias = (
            nn_Parameter(np.zeros(shape, np.float32))
            if elementwise_affine and bias
            else None
        )

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Normalises; the shape stays."""
        input = tf.convert_to_tensor(input)
        n = len(self.normalized_shape)
        if tuple(input.shape[-n:]) != self.normalized_shape:
            raise ValueError(
                f"input has shape {tuple(input.shape)}, expected it to end in "
                f"normalized_shape={self.normalized_shape}."
            )
        mean, variance = tf.nn.moments(input, list(range(-n, 0)), keepdims=True)
        return tf.nn.batch_normalization(
            input, mean, variance, self.bias, self.weight, self.eps
        )


class nn_Dropout(nn_Module):
    """Zeroes entries with probability p in training mode and scales the rest.

    Args:
        p: Probability of a zero, in [0, 1].
        inplace: Accepted for PyTorch's signature; tensors are never changed here.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be in [0, 1], got {p}.")
        self.p = p
        self.generator = tf.random.Generator.from_seed(
            int(init.generator().integers(2**31))
        )

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Drops entries if `training`, otherwise the identity."""
        input = tf.convert_to_tensor(input)
        if not self.training or self.p == 0.0:
            return input
        if self.p == 1.0:
            return tf.zeros_like(input)
        if _REPLAYED_MASKS:
            return input * tf.cast(_REPLAYED_MASKS[-1].pop(0), input.dtype)
        keep = self.generator.uniform(tf.shape(input), dtype=input.dtype) >= self.p
        return tf.where(keep, input / (1.0 - self.p), tf.zeros_like(input))


_REPLAYED_MASKS: list[list[Any]] = []


@contextmanager
def replay_dropout(masks: Sequence[Any]) -> Iterator[None]:
    """Dropout layers called inside use these masks in order, instead of drawing.

    Args:
        masks: One for each call, scaled: 0 or 1 / (1 - p).
    """
    _REPLAYED_MASKS.append(list(masks))
    try:
        yield
    finally:
        _REPLAYED_MASKS.pop()


class _Numbered(nn_Module):
    """Modules under the names 0, 1, and so on."""

    def __iter__(self) -> Iterator[nn_Module]:
        return iter(dict(self.named_children()).values())

    def __len__(self) -> int:
        return len(dict(self.named_children()))

    def __getitem__(self, index: int) -> nn_Module:
        return list(self)[index]


class nn_Sequential(_Numbered):
    """Calls modules one after the other; keys are `0.`, `1.`, and so on."""

    def __init__(self, *args: nn_Module, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for index, module in enumerate(args):
            self.add_module(str(index), module)

    def call(self, input: Any) -> Any:
        """The output of the last module."""
        for module in self:
            input = module(input)
        return input


class nn_ModuleList(_Numbered):
    """A list of modules; keys are `0.`, `1.`, and so on."""

    def __init__(self, modules: Iterable[nn_Module] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for module in modules:
            self.append(module)

    def append(self, module: nn_Module) -> nn_ModuleList:
        """Adds a module at the end."""
        self.add_module(str(len(self)), module)
        return self
