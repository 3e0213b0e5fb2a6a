import numpy as np
import pytest
import tensorflow as tf
import torch

from util.torch_to_tf import nn_Parameter


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_value_shape_and_dtype_equal_torch(shape, dtype):
    data = np.random.default_rng(0).normal(size=shape).astype(dtype)
    ours, theirs = nn_Parameter(data), torch.nn.Parameter(torch.from_numpy(data))
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.numpy().dtype == theirs.detach().numpy().dtype
    np.testing.assert_array_equal(ours.numpy(), theirs.detach().numpy())


def test_data_is_copied():
    data = np.zeros(1000, np.float32)
    parameter = nn_Parameter(data)
    data[:] = 1.0
    np.testing.assert_array_equal(parameter.numpy(), np.zeros(1000))


def test_requires_grad_decides_whether_it_is_trained():
    trained, frozen = nn_Parameter(np.float32(1)), nn_Parameter(np.float32(1), False)
    assert trained.requires_grad
    assert not frozen.requires_grad
    with tf.GradientTape() as tape:
        out = tf.convert_to_tensor(trained) * tf.convert_to_tensor(frozen)
    gradients = tape.gradient(out, [trained.value, frozen.value])
    assert gradients[0].numpy() == 1.0
    assert gradients[1] is None


def test_requires_grad_can_be_changed():
    parameter = nn_Parameter(np.float32(3))
    for flag in (False, True):
        parameter.requires_grad = flag
        assert parameter.requires_grad is parameter.trainable is flag
        with tf.GradientTape() as tape:
            out = tf.convert_to_tensor(parameter) ** 2
        assert (tape.gradient(out, parameter.value) is not None) is flag


def test_without_data_it_is_empty_as_in_torch():
    ours, theirs = nn_Parameter(), torch.nn.Parameter()
    assert tuple(ours.shape) == tuple(theirs.shape) == (0,)
    assert ours.numpy().dtype == theirs.detach().numpy().dtype


def test_whole_numbers_cannot_be_trained():
    whole = np.array([1, 2])
    with pytest.raises(RuntimeError):
        torch.nn.Parameter(torch.from_numpy(whole))
    with pytest.raises(ValueError, match="requires_grad must be False for int64"):
        nn_Parameter(whole)
    parameter = nn_Parameter(whole, requires_grad=False)
    assert parameter.numpy().dtype == np.int64
    with pytest.raises(ValueError, match="requires_grad must be False for int64"):
        parameter.requires_grad = True


@pytest.mark.parametrize("data", [[1.0], 1.0])
def test_lists_and_numbers_are_refused(data):
    with pytest.raises(TypeError, match="data must be an array or a tensor, got"):
        nn_Parameter(data)
