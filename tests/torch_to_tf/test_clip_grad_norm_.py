import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import random
from util.torch_to_tf import torch_nn_utils_clip_grad_norm_

SHAPES = [(3, 2), (4,), ()]


def clipped_by_torch(grads, max_norm, norm_type):
    parameters = [torch.nn.Parameter(torch.zeros(np.shape(g))) for g in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = torch.from_numpy(np.array(grad))
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    return [p.grad.numpy() for p in parameters], norm.numpy()


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("max_norm", [0.5, 100.0, 0.0])
def test_gradients_and_norm_equal_torch(max_norm, norm_type):
    grads = [random(shape, seed) for seed, shape in enumerate(SHAPES)]
    expected, norm = clipped_by_torch(grads, max_norm, norm_type)
    clipped, total = torch_nn_utils_clip_grad_norm_(
        [tf.constant(g) for g in grads], max_norm, norm_type
    )
    assert total.numpy() == pytest.approx(norm, rel=1e-6)
    for ours, theirs in zip(clipped, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_one_norm_for_all_gradients(mode):
    grads = [tf.constant([3.0]), tf.constant([[4.0]])]
    clip = in_mode(lambda g: torch_nn_utils_clip_grad_norm_(g, 1.0), mode)
    (first, second), total = clip(grads)
    assert total.numpy() == 5.0
    np.testing.assert_allclose([first[0], second[0, 0]], [0.6, 0.8], rtol=1e-6)


def test_small_gradients_stay_as_they_are():
    grad = tf.constant(random((5,)) * 1e-3)
    (clipped,), _ = torch_nn_utils_clip_grad_norm_([grad], 1.0)
    np.testing.assert_array_equal(clipped, grad)


def test_zero_gradients_stay_zero():
    (clipped,), total = torch_nn_utils_clip_grad_norm_([tf.zeros([3])], 1.0)
    assert total.numpy() == 0.0
    np.testing.assert_array_equal(clipped, np.zeros(3))


def test_missing_gradients_stay_missing():
    (first, second), total = torch_nn_utils_clip_grad_norm_(
        [None, tf.constant([3.0, 4.0])], 1.0
    )
    assert first is None
    assert total.numpy() == 5.0
    np.testing.assert_allclose(second, [0.6, 0.8], rtol=1e-6)


def test_no_gradient_at_all_has_norm_zero():
    clipped, total = torch_nn_utils_clip_grad_norm_([None, None], 1.0)
    assert clipped == [None, None]
    assert total.numpy() == torch.nn.utils.clip_grad_norm_([], 1.0).numpy() == 0.0
