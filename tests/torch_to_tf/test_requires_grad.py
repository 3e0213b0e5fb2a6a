import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import (
    nn_Linear,
    nn_Module,
    nn_Parameter,
    torch_register_buffer,
    torch_tensor_requires_grad_,
)

MAKE = {
    "nn_Parameter": lambda: nn_Parameter(np.ones(2, np.float32)),
    "keras": lambda: keras.Variable(np.ones(2, np.float32)),
    "tf": lambda: tf.Variable([1.0, 1.0]),
}


@pytest.mark.parametrize("kind", MAKE)
def test_tapes_watch_variables_that_are_trained(kind):
    variable = MAKE[kind]()
    for flag in (False, True, False):
        assert torch_tensor_requires_grad_(variable, flag) is variable
        assert variable.trainable is flag
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.convert_to_tensor(variable) ** 2)
        source = variable if kind == "tf" else variable.value
        gradient = tape.gradient(total, source)
        assert (gradient is not None) is flag


@pytest.mark.parametrize("kind", MAKE)
def test_true_is_the_default(kind):
    variable = torch_tensor_requires_grad_(MAKE[kind](), False)
    assert torch_tensor_requires_grad_(variable).trainable
    assert torch.ones(2).requires_grad_().requires_grad


def test_parameters_say_what_was_set():
    parameter = MAKE["nn_Parameter"]()
    assert not torch_tensor_requires_grad_(parameter, False).requires_grad
    assert torch_tensor_requires_grad_(parameter, requires_grad=True).requires_grad


def test_all_parameters_of_a_module_and_none_of_its_buffers_are_set():
    module = nn_Module()
    module.inner = nn_Linear(2, 3)
    module.own = nn_Parameter(np.ones(2, np.float32))
    torch_register_buffer(module, "count", np.zeros(2, np.float32))
    for flag in (False, True):
        assert torch_tensor_requires_grad_(module, flag) is module
        assert [p.requires_grad for p in module.parameters()] == [flag] * 3
        assert not module.count.trainable


@pytest.mark.parametrize("make", [tf.Variable, keras.Variable])
def test_whole_numbers_cannot_be_trained(make):
    variable = make(np.array([1, 2]), trainable=False)
    assert_both_refuse(
        lambda: torch_tensor_requires_grad_(variable),
        lambda: torch.tensor([1, 2]).requires_grad_(),
        "requires_grad must be False for int64",
    )
    assert not torch_tensor_requires_grad_(variable, False).trainable


@pytest.mark.parametrize("flag", [1, "a", None])
def test_the_mark_must_be_a_bool(flag):
    assert_both_refuse(
        lambda: torch_tensor_requires_grad_(tf.Variable(1.0), flag),
        lambda: torch.ones(1).requires_grad_(flag),
        "requires_grad must be a bool, got",
    )


@pytest.mark.parametrize("value", [tf.ones([2]), np.ones(2), [1.0]])
def test_what_cannot_be_marked_is_refused_with_a_way_out(value):
    with pytest.raises(TypeError, match="make a tf.Variable or an nn_Parameter"):
        torch_tensor_requires_grad_(value)
