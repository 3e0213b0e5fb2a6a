"""Functions that make tensors, and what changes a module or a variable."""

import numpy as np
import tensorflow as tf

import util.torch_to_tf as t
from tests.torch_to_tf.plain_calls import PlainCall, floats

X = floats(None, 3)
ARRAY = np.arange(6.0).reshape(2, 3)
NUMBER = tf.TensorSpec([], tf.int32)


def _line(start, end):
    step = (end - start) / 4
    low, high = start + step * range(5), end - step * range(4, -1, -1)
    line = tf.where([True, True, False, False, False], low, high)
    return tf.stop_gradient(line)


CASES = {
    "torch_zeros": PlainCall(
        lambda n: (t.torch_zeros(40, 50), t.torch_zeros(n, 3)),
        lambda n: (tf.zeros([40, 50]), tf.zeros([n, 3])),
        (NUMBER,),
    ),
    "torch_ones": PlainCall(
        lambda n: (t.torch_ones(40, 50), t.torch_ones(n, 3)),
        lambda n: (tf.ones([40, 50]), tf.ones([n, 3])),
        (NUMBER,),
    ),
    "torch_full": PlainCall(
        lambda n: t.torch_full((n, 3), 2.5), lambda n: tf.fill([n, 3], 2.5), (NUMBER,)
    ),
    "torch_zeros_like": PlainCall(t.torch_zeros_like, tf.zeros_like, (X,)),
    "torch_ones_like": PlainCall(t.torch_ones_like, tf.ones_like, (X,)),
    "torch_full_like": PlainCall(
        lambda x: t.torch_full_like(x, 2.5), lambda x: tf.fill(tf.shape(x), 2.5), (X,)
    ),
    "torch_arange": PlainCall(
        lambda n: (
            t.torch_arange(1, 9, 2),
            t.torch_arange(0, 1, 0.1),
            t.torch_arange(n),
        ),
        lambda n: (
            tf.range(1, 9, 2, tf.int64),
            tf.constant(np.arange(0, 1, 0.1, np.float32)),
            tf.range(tf.cast(n, tf.int64)),
        ),
        (NUMBER,),
    ),
    "torch_linspace": PlainCall(
        lambda start, end: (t.torch_linspace(0, 1, 5), t.torch_linspace(start, end, 5)),
        lambda start, end: (
            tf.constant(np.linspace(0, 1, 5, dtype=np.float32)),
            _line(start, end),
        ),
        (floats(), floats()),
    ),
    "torch_tensor": PlainCall(
        lambda x: (t.torch_tensor([[1, 2.5], [3, 4]]), t.torch_tensor([x, 1.0])),
        lambda x: (
            tf.constant([[1, 2.5], [3, 4]]),
            tf.stop_gradient(tf.stack([x, 1.0])),
        ),
        (floats(),),
    ),
    "torch_from_numpy": PlainCall(
        lambda: t.torch_from_numpy(ARRAY), lambda: tf.constant(ARRAY)
    ),
}
EXCEPTIONS = {
    "nn_Module": "a base class that computes nothing",
    "nn_Parameter": "a variable, which is no call",
    "torch_register_buffer": "makes a variable outside of graphs",
    "torch_tensor_requires_grad_": "marks a variable, which no graph shows",
}
