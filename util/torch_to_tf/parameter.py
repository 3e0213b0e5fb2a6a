"""`nn_Parameter`, and what marks a variable as trained."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from util.torch_to_tf.arguments import is_tensor

_FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


class nn_Parameter(keras.Variable):
    """A tensor that belongs to a module and is trained (`torch.nn.Parameter`).

    Args:
        data: Initial value, array or tensor. It is copied. Empty by default.
        requires_grad: Whether gradients are taken and optimizers change it.

    Raises:
        TypeError: `data` is no array or tensor.
        ValueError: It is to be trained and holds no floating numbers.

    Example: `nn_Parameter(np.ones([2, 3], np.float32)).shape` gives `(2, 3)`.
    """

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        if data is not None and not is_tensor(data):
            raise TypeError(f"data must be an array or a tensor, got {data!r}.")
        value = np.zeros(0, np.float32) if data is None else np.asarray(data)
        check_trainable(value.dtype, requires_grad)
        super().__init__(value, dtype=value.dtype.name, trainable=requires_grad)

    @property
    def requires_grad(self) -> bool:
        """Whether the parameter is trained."""
        return self.trainable

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        set_trained(self, flag)


def check_trainable(dtype: Any, requires_grad: bool) -> None:
    """Only floating and complex numbers can be trained.

    Raises:
        ValueError: Others are to be.
    """
    name = getattr(dtype, "name", dtype)
    if requires_grad and name not in _FLOATS:
        raise ValueError(
            f"requires_grad must be False for {name}: only floating and complex "
            "numbers have gradients."
        )


def set_trained(variable: keras.Variable, flag: bool) -> None:
    """Marks a Keras variable as trained or frozen."""
    check_trainable(variable.dtype, flag)
    variable.trainable = flag
    # Gradient tapes ask the inner variable, which Keras does not tell.
    variable.value._trainable = flag
