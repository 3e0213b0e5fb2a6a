"""Convolution and group normalisation along action chunks, with the channels last.

The reference has no such file: its layers take (B, C, L), as PyTorch does, so that its
networks change the layout of a chunk (B, Ta, Da) before and after. Here they keep it,
and the functions below apply PyTorch's layers to it. Parameters stay as they are.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from util.torch_to_tf import nn_Conv1d, nn_ConvTranspose1d, nn_GroupNorm, nn_Module
from util.torch_to_tf.layers import add_bias
from util.torch_to_tf.sizes import size_of

Convolution = nn_Conv1d | nn_ConvTranspose1d


class ChannelsLast(nn_Module):
    """A module over (B, C, L) that does its work on (B, L, C).

    Networks of such modules call `channels_last` and change the layout nowhere.
    """

    def channels_last(self, x: tf.Tensor) -> tf.Tensor:
        """Maps (B, L, C) to (B, L', C')."""
        raise NotImplementedError

    def call(self, x: tf.Tensor, *args: tf.Tensor, **kwargs: tf.Tensor) -> tf.Tensor:
        """Maps (B, C, L) to (B, C', L')."""
        y = self.channels_last(tf.transpose(x, [0, 2, 1]), *args, **kwargs)
        return tf.transpose(y, [0, 2, 1])


def convolve(layer: Convolution, x: tf.Tensor) -> tf.Tensor:
    """What `layer` gives for x (B, L, C), as (B, L', C').

    Along an axis shorter than the kernel it is one matrix product: most entries of the
    matrix are needed anyway, and XLA's convolution takes 20 to 50 times as long there
    on a CPU.

    Args:
        layer: With zeros as padding, one group and no dilation.
        x: Entries; L is known.
    """
    taps = _taps(layer, x.shape[1])
    is_short = min(taps.shape) < layer.kernel_size[0]

    def product(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        kernel = tf.transpose(weight, [2, 0, 1] if layer.transposed else [2, 1, 0])
        if is_short:
            return _multiply(x, kernel, taps)
        return _convolve(layer, x, kernel, taps.shape[1])

    return add_bias(layer.rounded(product, x, layer.weight), layer.bias)


def _taps(layer: Convolution, length: int) -> np.ndarray:
    """Which entry of the kernel is between each input and each output, (L, L').

    Numbers beyond the kernel mean none.
    """
    size, stride, pad = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    inputs = np.arange(length)[:, None]
    if layer.transposed:
        return np.arange((length - 1) * stride + size - 2 * pad) + pad - stride * inputs
    return inputs + pad - stride * np.arange((length + 2 * pad - size) // stride + 1)


def _multiply(x: tf.Tensor, kernel: tf.Tensor, taps: np.ndarray) -> tf.Tensor:
    """x (B, L, C) times the matrix (L C, L' C') that a kernel (k, C, C') is."""
    size, inside, outside = kernel.shape
    # Beyond the kernel stands an entry of zeros.
    places = np.where((taps >= 0) & (taps < size), taps, size)
    blocks = tf.gather(tf.pad(kernel, [[0, 1], [0, 0], [0, 0]]), places)
    before, after = taps.shape[0] * inside, taps.shape[1] * outside
    matrix = tf.reshape(tf.transpose(blocks, [0, 2, 1, 3]), [before, after])
    product = tf.matmul(tf.reshape(x, [-1, before]), matrix)
    return tf.reshape(product, [-1, taps.shape[1], outside])


def _convolve(
    layer: Convolution, x: tf.Tensor, kernel: tf.Tensor, length: int
) -> tf.Tensor:
    """A convolution of (B, L, C), or its transpose, as one of (B, 1, L, C)."""
    plane, kernel = tf.expand_dims(x, 1), tf.expand_dims(kernel, 0)
    sides = [int(layer.padding[0])] * 2
    around, strides = [[0, 0], [0, 0], sides, [0, 0]], [1, 1, layer.stride[0], 1]
    if layer.transposed:
        kernel = tf.transpose(kernel, [0, 1, 3, 2])
        shape = [size_of(x, 0), 1, length, layer.out_channels]
        y = tf.nn.conv2d_transpose(plane, kernel, shape, strides, around)
    else:
        y = tf.nn.conv2d(plane, kernel, strides, around)
    return tf.squeeze(y, 1)


def normalise_groups(layer: nn_GroupNorm, x: tf.Tensor) -> tf.Tensor:
    """What `layer` gives for x (B, L, C), in the same layout."""
    _, length, channels = x.shape
    by_group = [layer.num_groups, channels // layer.num_groups]
    grouped = tf.reshape(x, [-1, length, *by_group])
    mean, variance = tf.nn.moments(grouped, [1, 3], keepdims=True)
    weight, bias = (tf.reshape(p, by_group) for p in (layer.weight, layer.bias))
    normal = tf.nn.batch_normalization(grouped, mean, variance, bias, weight, layer.eps)
    return tf.reshape(normal, [-1, length, channels])
