"""Functions that choose entries."""

import tensorflow as tf

from tests.torch_to_tf.plain_calls import PlainCall, bools, floats, ints
from util.torch_to_tf import torch_gather, torch_tensor_masked_fill, torch_where

CASES = {
    "torch_gather": PlainCall(
        lambda x, i: torch_gather(x, 1, i),
        lambda x, i: tf.gather(x, i, axis=1, batch_dims=1),
        (floats(5, 3), ints(5, 2)),
    ),
    "torch_tensor_masked_fill": PlainCall(
        lambda x, mask: torch_tensor_masked_fill(x, mask, 0.0),
        lambda x, mask: tf.where(mask, 0.0, x),
        (floats(None, 3), bools(None, 3)),
    ),
    "torch_where": PlainCall(
        torch_where, tf.where, (bools(None, 3), floats(None, 3), floats(3))
    ),
}
EXCEPTIONS: dict[str, str] = {}
