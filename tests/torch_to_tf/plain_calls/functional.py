"""Functions of `torch.nn.functional` and `torch.func`."""

import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, floats
from util.torch_to_tf import (
    nn_functional_pad,
    nn_Linear,
    torch_func_functional_call,
    torch_func_stack_module_state,
    torch_mse_loss,
    torch_nn_functional_grid_sample,
    torch_vmap,
)

LAYERS = [nn_Linear(3, 2), nn_Linear(3, 2)]


def repeated_ends(x):
    """Two entries before the last axis, three after the one before it."""
    rows = tf.concat([x, tf.tile(x[:, -1:], [1, 3, 1])], 1)
    return tf.concat([tf.tile(rows[:, :, :1], [1, 1, 2]), rows], 2)


def sampled(image, grid):
    """Four pixels around each point of 5 by 4 pixels, weighted, zero outside."""
    sides = []
    for place, size in zip(tf.unstack(grid, axis=-1), (4.0, 5.0), strict=True):
        place = (tf.reshape(place, [-1, 42]) + 1.0) * (size / 2.0) - 0.5
        base = tf.floor(place)
        part = place - base
        nodes = []
        for node, weight in ((base, 1.0 - part), (base + 1.0, part)):
            there = (node >= 0.0) & (node < size)
            index = tf.cast(tf.where(there, node, tf.zeros_like(node)), tf.int32)
            nodes.append((index, weight * tf.cast(there, tf.float32)))
        sides.append(nodes)
    pixels = tf.reshape(tf.transpose(image, [0, 2, 3, 1]), [-1, 20, 3])
    total = 0
    for x, x_weight in sides[0]:
        for y, y_weight in sides[1]:
            found = tf.gather(pixels, y * 4 + x, axis=1, batch_dims=1)
            total += found * tf.expand_dims(y_weight * x_weight, -1)
    return tf.transpose(tf.reshape(total, [-1, 6, 7, 3]), [0, 3, 1, 2])


def ensemble(weights, biases, x):
    def one(weight, bias):
        state = {"weight": weight, "bias": bias}
        return torch_func_functional_call(LAYERS[0], state, x)

    return torch_vmap(one)(weights, biases)


def plain_ensemble(weights, biases, x):
    return tf.vectorized_map(
        lambda state: tf.nn.bias_add(
            tf.matmul(x, state[0], transpose_b=True), state[1]
        ),
        [weights, biases],
    )


CASES = {
    "nn_functional_pad": PlainCall(
        lambda x: nn_functional_pad(x, (2, 0, 0, 3), "replicate"),
        repeated_ends,
        (floats(None, 4, 5),),
    ),
    "torch_func_functional_call": PlainCall(
        lambda w, x: torch_func_functional_call(
            LAYERS[0], {"weight": w, "bias": w[:, 0]}, x
        ),
        lambda w, x: tf.nn.bias_add(tf.matmul(x, w, transpose_b=True), w[:, 0]),
        (floats(2, 3), floats(None, 3)),
    ),
    "torch_func_stack_module_state": PlainCall(
        lambda: torch_func_stack_module_state(LAYERS)[0]["weight"],
        lambda: [
            tf.stop_gradient(tf.stack([getattr(x, name).value for x in LAYERS]))
            for name in ("bias", "weight")
        ][1],
    ),
    "torch_mse_loss": PlainCall(
        torch_mse_loss,
        lambda x, y: tf.reduce_mean(tf.math.squared_difference(x, y)),
        (floats(None, 3), floats(None, 3)),
    ),
    "torch_nn_functional_grid_sample": PlainCall(
        torch_nn_functional_grid_sample,
        sampled,
        (floats(None, 3, 5, 4), floats(None, 6, 7, 2)),
    ),
    "torch_vmap": PlainCall(
        ensemble, plain_ensemble, (floats(4, 2, 3), floats(4, 2), floats(None, 3))
    ),
}
EXCEPTIONS: dict[str, str] = {}
