"""Modules: layers, containers, attention and transformers."""

from __future__ import annotations

from typing import Any

import einops
import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, bools, floats, ints
from util.torch_to_tf import (
    einops_layers_torch_Rearrange,
    nn_Conv1d,
    nn_Conv2d,
    nn_ConvTranspose1d,
    nn_Dropout,
    nn_ELU,
    nn_Embedding,
    nn_GELU,
    nn_GroupNorm,
    nn_Identity,
    nn_LayerNorm,
    nn_Linear,
    nn_Mish,
    nn_MultiheadAttention,
    nn_ReLU,
    nn_Sequential,
    nn_Softplus,
    nn_Tanh,
    nn_TransformerDecoder,
    nn_TransformerDecoderLayer,
    nn_TransformerEncoder,
    nn_TransformerEncoderLayer,
)

E, HEADS = 8, 2


@tf.custom_gradient
def standardised(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-5), lambda upstream: upstream


def normalised(layer: Any, x: tf.Tensor) -> tf.Tensor:
    return tf.nn.bias_add(standardised(x) * layer.weight, layer.bias)


def normalised_groups(layer: Any, x: tf.Tensor) -> tf.Tensor:
    grouped = tf.reshape(x, [-1, 2, 2, 5])
    mean, variance = tf.nn.moments(grouped, [2, 3], keepdims=True)
    offset, scale = (tf.reshape(v, [2, 2, 1]) for v in (layer.bias, layer.weight))
    normal = tf.nn.batch_normalization(
        grouped, mean, variance, offset, scale, layer.eps
    )
    return tf.reshape(normal, [-1, 4, 5])


def linear(layer: Any, x: tf.Tensor) -> tf.Tensor:
    if x.shape.rank == 2:
        return tf.matmul(x, layer.weight, transpose_b=True) + layer.bias
    return tf.nn.bias_add(tf.tensordot(x, layer.weight, [[-1], [1]]), layer.bias)


def two_linear(layers: Any, x: tf.Tensor) -> tf.Tensor:
    y = tf.nn.bias_add(tf.matmul(x, layers[0].weight, transpose_b=True), layers[0].bias)
    return tf.nn.relu(y)


def dropped(layer: nn_Dropout, x: tf.Tensor) -> tf.Tensor:
    keep = layer.generator.uniform(tf.shape(x)) >= 0.5
    return tf.where(keep, x / 0.5, tf.zeros_like(x))


def softplus(x: tf.Tensor) -> tf.Tensor:
    soft = tf.nn.softplus(tf.minimum(x * 1.0, 20.0)) / 1.0
    return tf.where(x > 20.0, x, soft)


@tf.custom_gradient
def mish(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    w = tf.exp(tf.minimum(x, 20.0))
    n = w * (w + 2.0)
    return x * (n / (n + 2.0)), lambda upstream: upstream


@tf.custom_gradient
def gelu(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    return x * (0.5 * tf.math.erfc(x * -0.7)), lambda upstream: upstream


def convolved(layer: Any, x: tf.Tensor) -> tf.Tensor:
    """In TensorFlow's layout, from PyTorch's and back to it."""
    kernel = tf.transpose(layer.weight, [2, 1, 0])
    y = tf.nn.conv1d(tf.transpose(x, [0, 2, 1]), kernel, 1, "SAME")
    return tf.transpose(tf.nn.bias_add(y, layer.bias), [0, 2, 1])


def convolved_planes(layer: Any, x: tf.Tensor) -> tf.Tensor:
    kernel = tf.transpose(layer.weight, [2, 3, 1, 0])
    pads = [[0, 0], [1, 1], [1, 1], [0, 0]]
    y = tf.nn.conv2d(tf.transpose(x, [0, 2, 3, 1]), kernel, 2, pads)
    return tf.transpose(tf.nn.bias_add(y, layer.bias), [0, 3, 1, 2])


def transpose_convolved(layer: Any, x: tf.Tensor) -> tf.Tensor:
    kernel = tf.transpose(layer.weight, [2, 1, 0])
    sizes = [tf.shape(x)[0], 16, 6]
    x = tf.transpose(x, [0, 2, 1])
    y = tf.nn.conv1d_transpose(x, kernel, sizes, 2, "SAME")
    return tf.transpose(tf.nn.bias_add(y, layer.bias), [0, 2, 1])


@tf.custom_gradient
def looked_up(weight: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, Any]:
    return tf.gather(weight, index), lambda upstream: (upstream, None)


def heads(y: tf.Tensor, sizes: list[int], count: int) -> list[tf.Tensor]:
    y = tf.reshape(y, [*sizes, count, HEADS, E // HEADS])
    return tf.unstack(tf.transpose(y, [2, 1, 3, 0, 4]), count)


def attended(layer: Any, x: tf.Tensor, memory: tf.Tensor, mask: Any = None) -> Any:
    """Of (L, N, E), with a batch of unknown size; without weights."""
    weight, bias = layer.in_proj_weight, layer.in_proj_bias

    def project(x: tf.Tensor, weight: Any, bias: Any, count: int) -> list[tf.Tensor]:
        y = tf.nn.bias_add(tf.tensordot(x, weight, [[-1], [1]]), bias)
        return heads(y, [x.shape[0], -1], count)

    if memory is x:
        q, k, v = project(x, weight, bias, 3)
    else:
        first, rest = tf.split(tf.convert_to_tensor(weight), [E, 2 * E])
        shift, shifts = tf.split(tf.convert_to_tensor(bias), [E, 2 * E])
        (q,) = project(x, first, shift, 1)
        k, v = project(memory, rest, shifts, 2)
    scores = tf.matmul(q * 0.5, k, transpose_b=True)
    if mask is not None:
        mask = tf.where(mask, -float("inf"), 0.0)
        is_blind = tf.reduce_all(mask == -float("inf"), axis=-1, keepdims=True)
        scores = scores + tf.where(is_blind, tf.zeros([]), mask)
    result = tf.matmul(tf.nn.softmax(scores), v)
    if mask is not None:
        result = tf.where(is_blind, tf.zeros([]), result)
    joined = tf.reshape(tf.transpose(result, [2, 0, 1, 3]), [x.shape[0], -1, E])
    return linear(layer.out_proj, joined)


def fed_forward(layer: Any, x: tf.Tensor) -> tf.Tensor:
    return linear(layer.linear2, tf.nn.relu(linear(layer.linear1, x)))


def encoded(layer: Any, x: tf.Tensor) -> tf.Tensor:
    x = normalised(layer.norm1, x + attended(layer.self_attn, x, x))
    return normalised(layer.norm2, x + fed_forward(layer, x))


def decoded(layer: Any, x: tf.Tensor, memory: tf.Tensor) -> tf.Tensor:
    x = normalised(layer.norm1, x + attended(layer.self_attn, x, x))
    x = normalised(layer.norm2, x + attended(layer.multihead_attn, x, memory))
    return normalised(layer.norm3, x + fed_forward(layer, x))


def of(layer: Any, plain: Any, *inputs: tf.TensorSpec) -> PlainCall:
    """A module, and a function of it and its inputs."""
    return PlainCall(layer, lambda *xs: plain(layer, *xs), inputs)


ROWS = floats(None, 3)
SEQUENCE = floats(4, None, E)
ATTENTION = nn_MultiheadAttention(E, HEADS)
ENCODER = nn_TransformerEncoderLayer(E, HEADS, 12, 0.0)
DECODER = nn_TransformerDecoderLayer(E, HEADS, 12, 0.0)
DECODERS = PlainCall(
    nn_TransformerDecoder(DECODER, 1),
    lambda x, memory: decoded(DECODER, x, memory),
    (SEQUENCE, floats(5, None, E)),
)

CASES = {
    "nn_Identity": PlainCall(nn_Identity(), lambda x: x, (ROWS,)),
    "nn_Tanh": PlainCall(nn_Tanh(), tf.tanh, (ROWS,)),
    "nn_ReLU": PlainCall(nn_ReLU(), tf.nn.relu, (ROWS,)),
    "nn_ELU": PlainCall(nn_ELU(), tf.nn.elu, (ROWS,)),
    "nn_GELU": PlainCall(nn_GELU(), gelu, (ROWS,)),
    "nn_Softplus": PlainCall(nn_Softplus(), softplus, (ROWS,)),
    "nn_Mish": PlainCall(nn_Mish(), mish, (ROWS,)),
    "nn_Dropout": of(nn_Dropout(0.5), dropped, ROWS),
    "nn_Linear": of(nn_Linear(3, 4), linear, floats(None, 2, 3)),
    "nn_LayerNorm": of(nn_LayerNorm(3), normalised, ROWS),
    "nn_GroupNorm": of(nn_GroupNorm(2, 4), normalised_groups, floats(None, 4, 5)),
    "nn_Conv1d": of(nn_Conv1d(4, 6, 5, padding=2), convolved, floats(None, 4, 8)),
    "nn_Conv2d": of(
        nn_Conv2d(4, 6, 3, 2, 1), convolved_planes, floats(None, 4, 8, None)
    ),
    "nn_ConvTranspose1d": of(
        nn_ConvTranspose1d(4, 6, 4, 2, 1), transpose_convolved, floats(None, 4, 8)
    ),
    "nn_Embedding": of(
        nn_Embedding(5, 3, padding_idx=1),
        lambda layer, index: looked_up(tf.convert_to_tensor(layer.weight), index),
        ints(None, 4),
    ),
    "nn_Sequential": of(nn_Sequential(nn_Linear(3, 4), nn_ReLU()), two_linear, ROWS),
    "nn_MultiheadAttention": PlainCall(
        lambda x, mask: ATTENTION(x, x, x, None, False, mask)[0],
        lambda x, mask: attended(ATTENTION, x, x, mask),
        (SEQUENCE, bools(4, 4)),
    ),
    "nn_TransformerEncoderLayer": of(ENCODER, encoded, SEQUENCE),
    "nn_TransformerEncoder": PlainCall(
        nn_TransformerEncoder(ENCODER, 2),
        lambda x: encoded(ENCODER, encoded(ENCODER, x)),
        (SEQUENCE,),
    ),
    "nn_TransformerDecoderLayer": of(DECODER, decoded, SEQUENCE, floats(5, None, E)),
    "nn_TransformerDecoder": DECODERS,
    "torch_nn_TransformerDecoder": DECODERS,
    "einops_layers_torch_Rearrange": PlainCall(
        einops_layers_torch_Rearrange("b (h w) -> b w h", h=2),
        lambda x: einops.rearrange(x, "b (h w) -> b w h", h=2),
        (floats(None, 6),),
    ),
}

EXCEPTIONS = {
    "nn_Module": "is the base whose subclasses define the call",
    "nn_Parameter": "is a variable, which computes nothing by itself",
    "nn_ModuleList": "holds modules and cannot be called itself",
    "nn_DataParallel": "runs a network's own operations once on each device",
    "clone_network": "makes a module and copies values, eagerly",
    "compute_in": "sets the type in which layers multiply later",
    "replay_dropout": "replaces the draws of dropout layers by given masks",
    "transposed_weights": "is a block in which linear layers transpose beforehand",
}
