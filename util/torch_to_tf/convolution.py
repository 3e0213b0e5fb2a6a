"""Convolutions of `torch.nn`.

Inputs, outputs and weights are laid out as in PyTorch, channels before the axes that
are convolved. TensorFlow's CPU kernels want channels last, so the layout is changed
around them; one axis becomes two, the first of size 1, as in `tf.nn.conv1d`.

On a CPU, TensorFlow has gradients of grouped and dilated convolutions in oneDNN's
kernels (float32 and bfloat16; on by default on x86) and under XLA only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from util.torch_to_tf import init
from util.torch_to_tf.arguments import is_int
from util.torch_to_tf.functional import nn_functional_pad
from util.torch_to_tf.layers import Products, add_bias, as_input, make_parameter

Sizes = int | Sequence[int]
_MODES = ("zeros", "reflect", "replicate", "circular")


class Convolution(Products):
    """What all convolutions share; `axes` is how many axes are convolved."""

    axes = 1
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: str | Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.groups, self.padding_mode = groups, padding_mode
        self.kernel_size = self._sizes(kernel_size, "kernel_size", least=1)
        self.stride = self._sizes(stride, "stride", least=1)
        self.dilation = self._sizes(dilation, "dilation", least=1)
        self.padding: Any = (
            padding
            if isinstance(padding, str) and not self.transposed
            else self._sizes(padding, "padding", least=0)
        )
        self._check_options()
        ends = (
            (in_channels, out_channels)
            if self.transposed
            else (out_channels, in_channels)
        )
        shape = (ends[0], ends[1] // groups, *self.kernel_size)
        fan_in = math.prod(shape[1:])
        self.weight = make_parameter(init.fan_in_uniform(shape, fan_in), device, dtype)
        self.bias = (
            make_parameter(init.fan_in_uniform((out_channels,), fan_in), device, dtype)
            if bias
            else None
        )

    def _sizes(self, value: Any, name: str, least: int) -> tuple[int, ...]:
        """One number for each axis, from one for all or a sequence."""
        given = (value,) if is_int(value) else value
        if not isinstance(given, tuple | list) or not all(map(is_int, given)):
            raise TypeError(f"{name} must be an int or a tuple of ints, got {value!r}.")
        if len(given) not in (1, self.axes) or min(given) < least:
            raise ValueError(
                f"{name} must be {self.axes} numbers >= {least}, got {value!r}."
            )
        return tuple(int(number) for number in given) * (self.axes // len(given))

    def _check_options(self) -> None:
        for name in ("in_channels", "out_channels"):
            size = getattr(self, name)
            if size < 1 or self.groups < 1 or size % self.groups:
                raise ValueError(
                    f"{name} must be >= 1 and divisible by groups, got {size} "
                    f"for groups={self.groups}."
                )
        if self.padding_mode not in _MODES:
            raise ValueError(
                f"padding_mode must be one of {_MODES}, got {self.padding_mode!r}."
            )
        if isinstance(self.padding, str) and self.padding not in ("same", "valid"):
            raise ValueError(
                f"padding must be 'same', 'valid' or numbers, got {self.padding!r}."
            )
        if self.padding == "same" and max(self.stride) > 1:
            raise ValueError(f"stride must be 1 for padding='same', got {self.stride}.")

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Maps (N, in_channels, ...) to (N, out_channels, ...), also without N."""
        batch, is_batch = self._batch(input)
        padding = self._padding()
        self._check_sizes(batch, padding)
        if self.padding_mode != "zeros":
            flat = [size for sides in padding[::-1] for size in sides]
            batch = nn_functional_pad(batch, flat, self.padding_mode)
            padding = [(0, 0)] * self.axes

        def convolve(x: tf.Tensor, weight: Any) -> tf.Tensor:
            return self._convolve(x, weight, padding)

        return self._around(convolve, batch, is_batch)

    def _batch(self, input: Any) -> tuple[tf.Tensor, bool]:
        """The input with an axis for the batch, and whether it had one.

        Raises:
            ValueError: Its axes or channels do not fit.
        """
        input = as_input(input, self.weight)
        rank = self.axes + 2
        if input.shape.rank not in (rank, rank - 1):
            raise ValueError(
                f"input must have {rank} axes, or {rank - 1} without a batch, "
                f"got shape {tuple(input.shape)}."
            )
        is_batch = input.shape.rank == rank
        batch = input if is_batch else tf.expand_dims(input, 0)
        if batch.shape[1] not in (None, self.in_channels):
            raise ValueError(
                f"input must have in_channels={self.in_channels} channels, "
                f"got shape {tuple(input.shape)}."
            )
        return batch, is_batch

    def _reach(self) -> list[int]:
        """The distance of a kernel's first and last entry, by axis."""
        pairs = zip(self.dilation, self.kernel_size, strict=True)
        return [dilation * (size - 1) for dilation, size in pairs]

    def _padding(self) -> list[tuple[int, int]]:
        """What is added before and after each axis."""
        if self.padding == "valid":
            return [(0, 0)] * self.axes
        if self.padding == "same":
            return [(reach // 2, reach - reach // 2) for reach in self._reach()]
        return [(int(size), int(size)) for size in self.padding]

    def _check_sizes(
        self, batch: tf.Tensor, padding: Sequence[tuple[int, int]]
    ) -> None:
        sizes = zip(batch.shape[2:], padding, self._reach(), strict=True)
        for size, added, reach in sizes:
            if size is not None and (size == 0 or size + sum(added) <= reach):
                raise ValueError(
                    f"input must have at least {max(reach + 1 - sum(added), 1)} "
                    f"entries along each axis for kernel_size={self.kernel_size}, "
                    f"got shape {tuple(batch.shape)}."
                )

    def _around(
        self,
        convolve: Callable[[tf.Tensor, Any], tf.Tensor],
        batch: tf.Tensor,
        is_batch: bool,
    ) -> tf.Tensor:
        """A convolution of (N, H, W, C), with the changes of layout and the bias."""
        is_flat = self.axes == 1
        x = tf.transpose(batch, [0, 2, 1] if is_flat else [0, 2, 3, 1])
        x = tf.expand_dims(x, 1) if is_flat else x
        if x.shape[0] == 0:  # oneDNN's kernels return another shape for no rows.
            x = tf.pad(x, [[0, 1], [0, 0], [0, 0], [0, 0]])
            y = self.rounded(convolve, x, self.weight)[:0]
        else:
            y = self.rounded(convolve, x, self.weight)
        y = add_bias(y, self.bias)
        y = tf.squeeze(y, 1) if is_flat else y
        y = tf.transpose(y, [0, 2, 1] if is_flat else [0, 3, 1, 2])
        return y if is_batch else tf.squeeze(y, 0)

    def _kernel(self, weight: Any) -> tf.Tensor:
        """The weight as TensorFlow's kernels want it."""
        if self.axes == 1:
            return tf.expand_dims(tf.transpose(weight, [2, 1, 0]), 0)
        return tf.transpose(weight, [2, 3, 1, 0])

    def _plane(self, sizes: Sequence[Any], fill: Any) -> list[Any]:
        """Sizes of two axes."""
        return [fill] * (2 - self.axes) + list(sizes)

    def _convolve(
        self, x: tf.Tensor, weight: Any, padding: Sequence[tuple[int, int]]
    ) -> tf.Tensor:
        symmetric = [(reach // 2, reach - reach // 2) for reach in self._reach()]
        kind: Any = [[0, 0], *map(list, self._plane(padding, (0, 0))), [0, 0]]
        if not any(map(any, padding)):
            kind = "VALID"
        elif max(self.stride) == 1 and list(padding) == symmetric:
            kind = "SAME"
        elif self.groups > 1 or max(self.dilation) > 1:
            # The kernels that have gradients take no padding.
            x, kind = tf.pad(x, kind), "VALID"
        return tf.nn.conv2d(
            x,
            self._kernel(weight),
            self._plane(self.stride, 1),
            kind,
            dilations=self._plane(self.dilation, 1),
        )


class nn_Conv1d(Convolution):
    """Cross-correlation along one axis (`torch.nn.Conv1d`).

    Maps (N, C, L) to (N, out_channels, L'), also without N;
    L' = (L + 2 padding - dilation (kernel_size - 1) - 1) // stride + 1.

    Args:
        in_channels: C, at least 1.
        out_channels: Channels of the result.
        kernel_size: Entries of the kernel.
        stride: Distance of its places.
        padding: What is added at both ends; "same" to keep L, "valid" for nothing.
        dilation: Distance of its entries.
        groups: Blocks of channels that do not see each other.
        bias: Whether `bias` exists.
        padding_mode: "zeros", "reflect", "replicate" or "circular".
        device: Where the parameters are.
        dtype: Their type, and that of input and output.

    Parameters: `weight` (out_channels, C / groups, kernel_size) and `bias`
    (out_channels,), both U(+-1/sqrt(C / groups * kernel_size)).

    Example: `nn_Conv1d(3, 4, 2)(tf.zeros([5, 3, 7])).shape` gives `(5, 4, 6)`.
    """


class nn_Conv2d(Convolution):
    """Cross-correlation along two axes (`torch.nn.Conv2d`).

    Maps (N, C, H, W) to (N, out_channels, H', W'), also without N. Arguments are those
    of `nn_Conv1d`; sizes are one number for both axes or one for each.

    Example: `nn_Conv2d(3, 4, 2)(tf.zeros([5, 3, 7, 8])).shape` gives `(5, 4, 6, 7)`.
    """

    axes = 2
