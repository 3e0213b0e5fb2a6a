"""Linear layers and dropout of `torch.nn`.

Also the type in which products are computed, and what layers with parameters share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

# Not public, like every way to the barrier; the pinned TensorFlow has it.
from tensorflow.compiler.tf2xla.python import xla

from util.torch_to_tf import init
from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.dtypes import as_dtype
from util.torch_to_tf.module import nn_Module
from util.torch_to_tf.parameter import nn_Parameter
from util.torch_to_tf.sizes import sizes_of


def make_parameter(
    value: Any, device: str | None = None, dtype: Any = None, requires_grad: bool = True
) -> nn_Parameter:
    """A parameter of the type and on the device that a layer was asked for.

    Args:
        value: Initial value.
        device: TensorFlow's name; None for where it would be anyway.
        dtype: Floating type, float32 if None.
        requires_grad: Whether it is trained.

    Raises:
        ValueError: Not a floating type.
    """
    kind = as_dtype("float32" if dtype is None else dtype)
    if not kind.is_floating:
        raise ValueError(f"dtype must be a floating type, got {kind.name}.")
    with tf.device(device) if device else nullcontext():
        return nn_Parameter(np.asarray(value, kind.as_numpy_dtype), requires_grad)


def as_input(value: Any, parameter: nn_Parameter | None, name: str = "input") -> Any:
    """The tensor of a layer's input, of the type of its parameter if it has one.

    Raises:
        TypeError: Not a tensor, or of another type.
    """
    value = as_tensor(value, name)
    if parameter is not None and value.dtype.name != parameter.dtype:
        raise TypeError(
            f"{name} must be {parameter.dtype} as the parameters are, "
            f"got {value.dtype.name}."
        )
    return value


class Products(nn_Module):
    """Base of the layers whose products `compute_in` may round."""

    _product_dtype: tf.DType | None = None

    def rounded(self, product: Callable[..., tf.Tensor], *factors: Any) -> tf.Tensor:
        """`product(*factors)`; if asked for, factors and product are rounded."""
        kind = self._product_dtype
        if kind is None:
            return product(*factors)
        tensors = [tf.convert_to_tensor(factor) for factor in factors]
        rounded = product(*(tf.cast(tensor, kind) for tensor in tensors))
        return tf.cast(rounded, tensors[0].dtype)


class nn_Linear(Products):
    """y = x W^T + b (`torch.nn.Linear`).

    Args:
        in_features: Size of the last axis of x.
        out_features: Size of the last axis of y.
        bias: Whether b exists.
        device: Where the parameters are.
        dtype: Their type, and that of x and y.

    Parameters: `weight` (out, in) and `bias` (out,), both U(+-1/sqrt(in)).

    Example: `nn_Linear(3, 2)(tf.zeros([5, 3])).shape` gives `(5, 2)`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if in_features < 0 or out_features < 0:
            raise ValueError(
                "in_features and out_features must be >= 0, "
                f"got {in_features} and {out_features}."
            )
        self.in_features, self.out_features = in_features, out_features
        self._transposed: tf.Tensor | None = None

        def parameter(*shape: int) -> nn_Parameter:
            value = init.fan_in_uniform(shape, in_features)
            return make_parameter(value, device, dtype)

        self.weight = parameter(out_features, in_features)
        self.bias = parameter(out_features) if bias else None

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Maps (..., in) to (..., out)."""
        input = as_input(input, self.weight)
        if input.shape.rank == 0:
            raise ValueError("input must have at least one axis, got a scalar.")
        if input.shape[-1] not in (None, self.in_features):
            raise ValueError(
                f"input has last size {input.shape[-1]}, "
                f"expected in_features={self.in_features}."
            )
        return add_bias(self.rounded(self._product, input, self.weight), self.bias)

    def _product(self, input: tf.Tensor, weight: Any) -> tf.Tensor:
        """x W^T."""
        if input.shape.rank == 2 and self._transposed is not None:
            return tf.matmul(input, self._transposed)
        return times_transposed(input, weight)

    def cast_weight(self) -> tf.Tensor:
        """The weight in the type of the product."""
        weight = tf.convert_to_tensor(self.weight)
        kind = self._product_dtype
        return weight if kind is None else tf.cast(weight, kind)


def times_transposed(input: tf.Tensor, weight: Any) -> tf.Tensor:
    """x W^T for x (..., in) and W (out, in)."""
    if input.shape.rank == 2:
        return tf.matmul(input, weight, transpose_b=True)
    return tf.tensordot(input, weight, [[-1], [1]])


def add_bias(output: tf.Tensor, bias: Any) -> tf.Tensor:
    """`output` and the bias of its last axis, if there is one."""
    if bias is None:
        return output
    if output.shape.rank is None or output.shape.rank < 2:
        return output + bias
    # Its gradient takes a third of the time of that of "+" on a CPU.
    return tf.nn.bias_add(output, bias)


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
    """Makes layers multiply in `dtype` from now on; all else stays as it is.

    These are linear layers, convolutions, and the projections (not the scores) of
    attention.

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
            if isinstance(part, Products):
                part._product_dtype = None if dtype == "float32" else tf.bfloat16


class nn_Dropout(nn_Module):
    """Zeroes entries in training mode and scales the rest (`torch.nn.Dropout`).

    Args:
        p: Probability of a zero, in [0, 1].
        inplace: Accepted for PyTorch's signature; tensors are never changed here.

    Example: `nn_Dropout(0.5).eval()(tf.constant([1.0, 2.0]))` gives `[1.0, 2.0]`.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be in [0, 1], got {p}.")
        self.p = p
        self.generator = tf.random.Generator.from_seed(
            int(init.generator().integers(2**31))
        )

    @property
    def draws_in_training(self) -> bool:
        """Whether anything is dropped."""
        return self.p > 0.0

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Drops entries if `training`, otherwise the identity."""
        input = as_tensor(input)
        if not self.training or self.p == 0.0:
            return input
        if not input.dtype.is_floating:
            raise TypeError(f"input must be floating, got {input.dtype.name}.")
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


def kept_sizes(tensor: tf.Tensor) -> list[Any]:
    """The sizes of a tensor for a reshape that keeps the axes that are unknown.

    One unknown size is -1, for which no operation is needed.
    """
    known = tensor.shape.as_list()
    if known.count(None) == 1 and 0 not in known:
        return [-1 if size is None else size for size in known]
    return sizes_of(tensor)
