"""Functions that give a tensor another shape, and that join or cut tensors."""

import numpy as np
import tensorflow as tf

import util.torch_to_tf as t
from tests.torch_to_tf.plain_calls import PlainCall, floats, ints

X = floats(None, 3)
KNOWN = floats(2, 3)
COUNTS = np.array([1, 0, 2])


def _along(x, axis, grid):
    shape = [1] * len(grid)
    shape[axis] = -1
    return tf.broadcast_to(tf.reshape(x, shape), grid)


def _unravelled(x):
    rest = tf.math.floordiv(x, 3)
    return tf.math.floormod(rest, 2), tf.math.floormod(x, 3)


CASES = {
    "torch_tensor_permute": PlainCall(
        lambda x: t.torch_tensor_permute(x, 1, 0),
        lambda x: tf.transpose(x, [1, 0]),
        (X,),
    ),
    "torch_tensor_transpose": PlainCall(
        lambda x: t.torch_tensor_transpose(x, 0, -1),
        lambda x: tf.transpose(x, [1, 0]),
        (X,),
    ),
    "torch_flatten": PlainCall(
        lambda x: t.torch_flatten(x, 1),
        lambda x: tf.reshape(x, [-1, 12]),
        (floats(None, 3, 4),),
    ),
    "torch_reshape": PlainCall(
        lambda x: t.torch_reshape(x, (-1, 1, 3)),
        lambda x: tf.reshape(x, [-1, 1, 3]),
        (X,),
    ),
    "torch_tensor_view": PlainCall(
        lambda x: t.torch_tensor_view(x, -1, 6),
        lambda x: tf.reshape(x, [-1, 6]),
        (X,),
    ),
    "torch_unsqueeze": PlainCall(
        lambda x: t.torch_unsqueeze(x, 1), lambda x: tf.expand_dims(x, 1), (X,)
    ),
    "torch_squeeze": PlainCall(
        lambda x: t.torch_squeeze(x, 1),
        lambda x: tf.squeeze(x, [1]),
        (floats(None, 1, 3),),
    ),
    "torch_tensor_expand": PlainCall(
        lambda x: t.torch_tensor_expand(x, 4, -1, 3),
        lambda x: tf.broadcast_to(x, [4, tf.shape(x)[0], 3]),
        (floats(None, 1),),
    ),
    "torch_tensor_expand_as": PlainCall(
        t.torch_tensor_expand_as,
        lambda x, y: tf.broadcast_to(x, tf.shape(y)),
        (floats(None, 1), X),
    ),
    "torch_stack": PlainCall(
        lambda x, y: t.torch_stack([x, y], 1), lambda x, y: tf.stack([x, y], 1), (X, X)
    ),
    "torch_cat": PlainCall(
        lambda x, y: t.torch_cat([x, y], -1),
        lambda x, y: tf.concat([x, y], -1),
        (X, X),
    ),
    "torch_hstack": PlainCall(
        lambda x, y: t.torch_hstack([x, y]),
        lambda x, y: tf.concat([x, y], 1),
        (X, X),
    ),
    "torch_split": PlainCall(
        lambda x: t.torch_split(x, 2, 1), lambda x: tf.split(x, [2, 1], 1), (X,)
    ),
    "torch_meshgrid": PlainCall(
        t.torch_meshgrid,
        lambda x, y: (_along(x, 0, [2, 3]), _along(y, 1, [2, 3])),
        (floats(2), floats(3)),
    ),
    "torch_tensor_repeat": PlainCall(
        lambda x: t.torch_tensor_repeat(x, 1, 2),
        lambda x: tf.tile(x, [1, 2]),
        (X,),
    ),
    "torch_repeat_interleave": PlainCall(
        lambda x: (
            t.torch_repeat_interleave(x, 2, 1),
            t.torch_repeat_interleave(x, COUNTS, 1),
        ),
        lambda x: (
            tf.repeat(x, 2, 1),
            tf.gather(x, np.repeat(range(3), COUNTS), axis=1),
        ),
        (X,),
    ),
    "torch_flip": PlainCall(
        lambda x: t.torch_flip(x, (-1,)), lambda x: tf.reverse(x, [-1]), (X,)
    ),
    "torch_triu": PlainCall(
        lambda x, y: (t.torch_triu(x), t.torch_triu(y, -1), t.torch_triu(y, 1)),
        lambda x, y: (
            tf.linalg.band_part(x, 0, -1),
            tf.linalg.band_part(y, 1, -1),
            tf.where(np.triu(np.ones([2, 3], bool), 1), y, tf.zeros([])),
        ),
        (X, KNOWN),
    ),
    "torch_unravel_index": PlainCall(
        lambda x: t.torch_unravel_index(x, (2, 3)), _unravelled, (ints(None),)
    ),
    "torch_tensor_clone": PlainCall(t.torch_tensor_clone, tf.identity, (X,)),
    "torch_tensor_detach": PlainCall(t.torch_tensor_detach, tf.stop_gradient, (X,)),
    "torch_tensor_float": PlainCall(
        lambda x, y: (t.torch_tensor_float(x), t.torch_tensor_float(y)),
        lambda x, y: (tf.cast(x, tf.float32), y),
        (ints(None), X),
    ),
    "torch_tensor_long": PlainCall(
        lambda x, y: (t.torch_tensor_long(x), t.torch_tensor_long(y)),
        lambda x, y: (tf.cast(x, tf.int64), y),
        (X, ints(None)),
    ),
}
EXCEPTIONS = {
    "torch_tensor_item": "ends in a Python number, outside of any graph",
}
