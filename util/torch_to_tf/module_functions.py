"""PyTorch's methods that change a module or a variable, as functions."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from util.torch_to_tf.module import nn_Module
from util.torch_to_tf.parameter import check_trainable, set_trained


def torch_register_buffer(
    module: nn_Module, name: str, tensor: Any, persistent: bool = True
) -> None:
    """Adds a tensor that is never trained (`torch.nn.Module.register_buffer`).

    It becomes `module.<name>`, and an entry of the state dict if it is persistent. The
    rules are those of `nn_Module.register_buffer`.

    Raises:
        TypeError: The module or the tensor is none.
        ValueError: The name is empty, has a dot or is taken.

    Example: `torch_register_buffer(nn_Module(), "count", tf.constant(3))` gives `None`.
    """
    if not isinstance(module, nn_Module):
        raise TypeError(f"module must be an nn_Module, got {module!r}.")
    module.register_buffer(name, tensor, persistent)


def torch_tensor_requires_grad_(input: Any, requires_grad: bool = True) -> Any:
    """Marks variables as trained or frozen (`torch.Tensor.requires_grad_`).

    A tape watches trained ones by itself. Compiled functions keep what was so when they
    were traced.

    Args:
        input: An `nn_Parameter`, a variable of Keras or TensorFlow, or an `nn_Module`.
        requires_grad: Whether it is trained.

    Returns:
        The input.

    Raises:
        TypeError: It is a tensor, which has no such mark.
        ValueError: It is to be trained and holds no floating numbers.

    Example: `torch_tensor_requires_grad_(tf.Variable([1.0]), False).trainable` gives
        `False`.
    """
    if not isinstance(requires_grad, bool):
        raise TypeError(f"requires_grad must be a bool, got {requires_grad!r}.")
    if isinstance(input, nn_Module):
        input.requires_grad_(requires_grad)
    elif isinstance(input, keras.Variable):
        set_trained(input, requires_grad)
    elif isinstance(input, tf.Variable):
        check_trainable(input.dtype, requires_grad)
        input._trainable = requires_grad
    else:
        raise TypeError(
            "input must be a variable or a module; of a tensor, make a tf.Variable or "
            f"an nn_Parameter, or let a tf.GradientTape watch it. Got {input!r}."
        )
    return input
