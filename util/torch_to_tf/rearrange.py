"""The layer of `einops`."""

from __future__ import annotations

from typing import Any

import einops
import tensorflow as tf
from einops.layers import RearrangeMixin

from util.torch_to_tf.arguments import as_tensor
from util.torch_to_tf.module import nn_Module


class einops_layers_torch_Rearrange(nn_Module):
    """Reorders, splits and joins axes (`einops.layers.torch.Rearrange`).

    Args:
        pattern: Axes before and after, such as "b (h w) c -> b c h w".
        **kwargs: Sizes of axes by name, where the input does not tell them.

    Raises:
        EinopsError: The pattern is wrong, or later, does not fit the input. The error
            is einops' own, as in PyTorch.

    Example: `einops_layers_torch_Rearrange("a b -> b a")(tf.constant([[1, 2]]))` gives
    `[[1], [2]]`.
    """

    def __init__(self, pattern: str, **kwargs: Any) -> None:
        super().__init__()
        RearrangeMixin(pattern, **kwargs)  # Refuses what is wrong in any case.
        self.pattern, self.axes_lengths = pattern, kwargs

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """The rearranged input."""
        return einops.rearrange(as_tensor(input), self.pattern, **self.axes_lengths)
