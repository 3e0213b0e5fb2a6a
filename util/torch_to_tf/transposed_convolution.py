"""The transposed convolution of `torch.nn`.

For the layout, and for gradients on a CPU, see `convolution.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from util.torch_to_tf.convolution import Convolution, Sizes
from util.torch_to_tf.sizes import size_of


class nn_ConvTranspose1d(Convolution):
    """The transpose of a convolution along one axis (`torch.nn.ConvTranspose1d`).

    Maps (N, C, L) to (N, out_channels, L'), also without N; L' = (L - 1) stride
    - 2 padding + dilation (kernel_size - 1) + output_padding + 1.

    Args:
        in_channels: C, at least 1.
        out_channels: Channels of the result.
        kernel_size: Entries of the kernel.
        stride: Distance of its places.
        padding: What is left out at both ends.
        output_padding: What is added at the far end; less than stride or dilation.
        groups: Blocks of channels that do not see each other.
        bias: Whether `bias` exists.
        dilation: Distance of the kernel's entries.
        padding_mode: "zeros", the only one that PyTorch has here.
        device: Where the parameters are.
        dtype: Their type, and that of input and output.

    Parameters: `weight` (C, out_channels / groups, kernel_size) and `bias`
    (out_channels,), both U(+-1/sqrt(out_channels / groups * kernel_size)).

    Example: `nn_ConvTranspose1d(3, 4, 2)(tf.zeros([5, 3, 7])).shape` gives
    `(5, 4, 8)`.
    """

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros', got {padding_mode!r}.")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            **kwargs,
        )
        self.output_padding = self._sizes(output_padding, "output_padding", least=0)

    def call(
        self, input: tf.Tensor, output_size: Sequence[int] | None = None
    ) -> tf.Tensor:
        """Maps (N, C, L) to (N, out_channels, L'), also without N.

        Args:
            input: Entries.
            output_size: L', or the shape of the result, of which the last size counts;
                instead of `output_padding`.

        Raises:
            ValueError: There is no such result. If L is not known when a graph is
                traced, `output_size` is not checked.
        """
        batch, is_batch = self._batch(input)
        length = batch.shape[2]
        if length == 0:
            raise ValueError(f"input must not be empty, got shape {batch.shape}.")
        size = None if output_size is None else _last(output_size, self.axes + is_batch)
        added = self._added(length, size)

        def convolve(x: tf.Tensor, weight: Any) -> tf.Tensor:
            if added is None:
                return self._cut(self._transpose(x, weight, "VALID", 0, 0), size)
            return self._transpose_convolve(x, weight, added)

        return self._around(convolve, batch, is_batch)

    def _least(self, length: Any) -> Any:
        """The size of the result with nothing added."""
        return (
            (length - 1) * self.stride[0] - 2 * self.padding[0] + self._reach()[0] + 1
        )

    def _added(self, length: int | None, size: int | None) -> int | None:
        """What is added at the far end; None if only the run will tell."""
        stride, dilation = self.stride[0], self.dilation[0]
        if size is None:
            added = self.output_padding[0]
            if added >= max(stride, dilation):
                raise ValueError(
                    "output_padding must be less than stride or dilation, "
                    f"got {added} for {stride} and {dilation}."
                )
        elif length is None:
            return None
        else:
            least = self._least(length)
            added = size - least
            if not 0 <= added < stride:
                raise ValueError(
                    f"output_size must be in [{least}, {least + stride - 1}] for an "
                    f"input of {length}, got {size}."
                )
        if length is not None and self._least(length) + added < 1:
            raise ValueError(
                f"padding must leave a result, got {self.padding[0]} for an "
                f"input of {length}."
            )
        return added

    def _transpose_convolve(self, x: tf.Tensor, weight: Any, added: int) -> tf.Tensor:
        before, reach, stride = self.padding[0], self._reach()[0], self.stride[0]
        after, extra = max(before - added, 0), max(added - before, 0)
        if before == after == 0:
            y = self._transpose(x, weight, "VALID", 0, 0)
        elif added == 0 and 0 <= stride + 2 * before - reach - 1 < stride:
            y = self._transpose(x, weight, "SAME", before, after)
        elif self.groups == self.dilation[0] == 1:
            kind = [[0, 0], [0, 0], [before, after], [0, 0]]
            y = self._transpose(x, weight, kind, before, after)
        else:  # The kernels that have gradients take no padding.
            y = self._transpose(x, weight, "VALID", 0, 0)
            y = y[:, :, before : -after or None]
        return tf.pad(y, [[0, 0], [0, 0], [0, extra], [0, 0]]) if extra else y

    def _transpose(
        self, x: tf.Tensor, weight: Any, kind: Any, before: int, after: int
    ) -> tf.Tensor:
        full = (size_of(x, 2) - 1) * self.stride[0] + self._reach()[0] + 1
        return tf.nn.conv2d_transpose(
            x,
            self._kernel(weight),
            [size_of(x, 0), 1, full - before - after, self.out_channels],
            [1, self.stride[0]],
            kind,
            dilations=[1, self.dilation[0]],
        )

    def _cut(self, full: tf.Tensor, size: int | None) -> tf.Tensor:
        """The result of a size that is given, of an input whose size is not known."""
        y = full[:, :, self.padding[0] :][:, :, :size]
        y = tf.pad(y, [[0, 0], [0, 0], [0, size - tf.shape(y)[2]], [0, 0]])
        return tf.ensure_shape(y, [None, 1, size, self.out_channels])


def _last(output_size: Sequence[int], axes: int) -> int:
    """The size that counts of the sizes given.

    Raises:
        TypeError: It is no sequence of ints.
        ValueError: It has another number of sizes.
    """
    if not isinstance(output_size, tuple | list | tf.TensorShape):
        raise TypeError(f"output_size must be a tuple of ints, got {output_size!r}.")
    if len(output_size) not in (1, axes + 1):
        raise ValueError(
            f"output_size must have 1 or {axes + 1} sizes, got {output_size!r}."
        )
    return int(output_size[-1])
