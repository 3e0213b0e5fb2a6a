"""What changes variables, and gradients on their way to them."""

import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, floats
from util.torch_to_tf import torch_nn_utils_clip_grad_norm_


def clipped(first, second):
    """One norm of both."""
    norms = [tf.norm(tf.reshape(grad, [-1]), ord=2.0) for grad in (first, second)]
    total = tf.norm(tf.stack(norms), ord=2.0)
    scale = tf.minimum(1.0 / (total + 1e-6), 1.0)
    return [first * scale, second * scale], total


FILLS = "fills a variable, which models do once when they are made"

CASES = {
    "torch_nn_utils_clip_grad_norm_": PlainCall(
        lambda *grads: torch_nn_utils_clip_grad_norm_(grads, 1.0),
        clipped,
        (floats(2, 3), floats(4)),
    ),
}
EXCEPTIONS = {
    "tf_CosineAnnealingWarmupRestarts": "computes one number outside of compiled code",
    "torch_nn_init_kaiming_uniform_": FILLS,
    "torch_nn_init_normal_": FILLS,
    "torch_nn_init_ones_": FILLS,
    "torch_nn_init_trunc_normal_": FILLS,
    "torch_nn_init_xavier_uniform_": FILLS,
    "torch_nn_init_zeros_": FILLS,
    "torch_optim_Adam": "TensorFlow has no Adam with PyTorch's arithmetic and state",
    "torch_optim_AdamW": "TensorFlow has no AdamW with PyTorch's arithmetic and state",
}
