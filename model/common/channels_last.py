"""Convolution and group normalisation with the channels last.

The reference has no such file: its layers take channels before the axes that are
convolved, as PyTorch does. TensorFlow's CPU kernels want them last, and action chunks
have them last, so networks of several convolutions keep that layout from the first to
the last. Parameters stay in PyTorch's layout.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from util.torch_to_tf import nn_Conv1d, nn_Conv2d, nn_ConvTranspose1d, nn_GroupNorm
from util.torch_to_tf.layers import add_bias
from util.torch_to_tf.sizes import size_of

Convolution = nn_Conv1d | nn_Conv2d | nn_ConvTranspose1d


def convolve(layer: Convolution, x: tf.Tensor) -> tf.Tensor:
    """What `layer` gives for x (B, ..., C), as (B, ..., C').

    Along an axis shorter than the kernel it is one matrix product: most entries of the
    matrix are needed anyway, and XLA's convolution takes 20 to 50 times as long there
    on a CPU.

    Args:
        layer: With zeros as padding, one group and no dilation.
        x: Input of the layer, channels last; the length of a single axis is known.
    """
    taps = _taps(layer, x.shape[1]) if layer.axes == 1 else None

    def product(x: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        if taps is None:
            return tf.nn.conv2d(
                x, tf.transpose(weight, [2, 3, 1, 0]), layer.stride, _around(layer)
            )
        if min(taps.shape) < layer.kernel_size[0]:
            return _multiply(x, _kernel(layer, weight), taps)
        return _convolve_line(layer, x, weight, taps.shape[1])

    return add_bias(layer.rounded(product, x, layer.weight), layer.bias)


def _taps(layer: Convolution, length: int) -> np.ndarray:
    """Entry of the kernel between each input and each output, (L, L')."""
    size, stride, pad = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    inputs = np.arange(length)[:, None]
    if layer.transposed:
        return np.arange((length - 1) * stride + size - 2 * pad) + pad - stride * inputs
    return inputs + pad - stride * np.arange((length + 2 * pad - size) // stride + 1)


def _kernel(layer: Convolution, weight: tf.Tensor) -> tf.Tensor:
    """The weight of one axis as (k, C, C')."""
    return tf.transpose(weight, [2, 0, 1] if layer.transposed else [2, 1, 0])


def _multiply(x: tf.Tensor, kernel: tf.Tensor, taps: np.ndarray) -> tf.Tensor:
    """x (B, L, C) times the matrix (L C, L' C') that a kernel (k, C, C') is."""
    size, inside, outside = kernel.shape
    # Where input and output are too far apart, an entry of zeros behind the kernel.
    places = np.where((taps >= 0) & (taps < size), taps, size)
    blocks = tf.gather(tf.pad(kernel, [[0, 1], [0, 0], [0, 0]]), places)
    before, after = taps.shape[0] * inside, taps.shape[1] * outside
    matrix = tf.reshape(tf.transpose(blocks, [0, 2, 1, 3]), [before, after])
    product = tf.matmul(tf.reshape(x, [-1, before]), matrix)
    return tf.reshape(product, [-1, taps.shape[1], outside])


def _convolve_line(
    layer: Convolution, x: tf.Tensor, weight: tf.Tensor, length: int
) -> tf.Tensor:
    """A convolution of (B, L, C), or its transpose, as one of (B, 1, L, C)."""
    plane, kernel = tf.expand_dims(x, 1), tf.expand_dims(_kernel(layer, weight), 0)
    strides, padding = [1, 1, layer.stride[0], 1], _around(layer)
    if layer.transposed:
        kernel = tf.transpose(kernel, [0, 1, 3, 2])
        shape = [size_of(x, 0), 1, length, layer.out_channels]
        y = tf.nn.conv2d_transpose(plane, kernel, shape, strides, padding)
    else:
        y = tf.nn.conv2d(plane, kernel, strides, padding)
    return tf.squeeze(y, 1)


def _around(layer: Convolution) -> list[list[int]]:
    """The padding of all axes of (B, H, W, C)."""
    sides = [[int(size)] * 2 for size in layer.padding]
    return [[0, 0]] * (3 - layer.axes) + sides + [[0, 0]]


def normalise_groups(layer: nn_GroupNorm, x: tf.Tensor) -> tf.Tensor:
    """What `layer` gives for x (B, ..., C), in the same layout."""
    groups, shape = layer.num_groups, x.shape[1:].as_list()
    by_group = [groups, shape[-1] // groups]
    grouped = tf.reshape(x, [-1, *shape[:-1], *by_group])
    axes = [*range(1, len(shape)), len(shape) + 1]
    mean, variance = tf.nn.moments(grouped, axes, keepdims=True)
    weight, bias = (tf.reshape(p, by_group) for p in (layer.weight, layer.bias))
    normal = tf.nn.batch_normalization(grouped, mean, variance, bias, weight, layer.eps)
    return tf.reshape(normal, [-1, *shape])
