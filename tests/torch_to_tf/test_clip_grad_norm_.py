import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, random
from util.torch_to_tf import torch_nn_utils_clip_grad_norm_

SHAPES = [(3, 2), (4,), ()]


def clipped_by_torch(grads, max_norm, norm_type):
    parameters = [torch.nn.Parameter(torch.from_numpy(np.zeros_like(g))) for g in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = torch.from_numpy(np.array(grad))
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
    return [p.grad.numpy() for p in parameters], norm.numpy()


ORDERS = [2.0, 1, 3.0, 0.5, 0, -1.0, float("inf"), float("-inf"), "inf"]


@pytest.mark.parametrize("norm_type", ORDERS)
@pytest.mark.parametrize("max_norm", [0.5, 100.0, 0.0])
def test_gradients_and_norm_equal_torch(max_norm, norm_type):
    grads = [random(shape, seed) for seed, shape in enumerate(SHAPES)]
    expected, norm = clipped_by_torch(grads, max_norm, norm_type)
    clipped, total = torch_nn_utils_clip_grad_norm_(
        [tf.constant(g) for g in grads], max_norm, norm_type
    )
    assert total.numpy() == pytest.approx(norm, rel=2e-6)
    for ours, theirs in zip(clipped, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-6)


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


def test_a_single_gradient_may_be_given():
    (clipped,), total = torch_nn_utils_clip_grad_norm_(tf.constant([3.0, 4.0]), 1.0)
    assert total.numpy() == 5.0
    np.testing.assert_allclose(clipped, [0.6, 0.8], rtol=1e-6)


def test_gradients_keep_their_types():
    grads = [np.float32([3.0]), np.float64([4.0])]
    expected, norm = clipped_by_torch(grads, 1.0, 2.0)
    clipped, total = torch_nn_utils_clip_grad_norm_(map(tf.constant, grads), 1.0)
    assert total.dtype.name == norm.dtype.name
    for ours, theirs in zip(clipped, expected, strict=True):
        assert ours.dtype.name == theirs.dtype.name
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_norm_that_is_not_finite_scales_as_in_torch(bad):
    grads = [np.float32([bad, 1.0]), np.float32([2.0])]
    expected, norm = clipped_by_torch(grads, 1.0, 2.0)
    clipped, total = torch_nn_utils_clip_grad_norm_(map(tf.constant, grads), 1.0)
    np.testing.assert_equal(total.numpy(), norm)
    for ours, theirs in zip(clipped, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_is_refused_if_asked(bad):
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([bad])
    assert_both_refuse(
        lambda: torch_nn_utils_clip_grad_norm_(
            [tf.constant([bad])], 1.0, error_if_nonfinite=True
        ),
        lambda: torch.nn.utils.clip_grad_norm_(
            [parameter], 1.0, error_if_nonfinite=True
        ),
        f"finite norm of order 2.0, got {bad}",
    )


def test_a_graph_with_a_norm_that_is_not_finite_fails_if_asked():
    @tf.function
    def clip(grad):
        return torch_nn_utils_clip_grad_norm_([grad], 1.0, error_if_nonfinite=True)

    (clipped,), total = clip(tf.constant([3.0, 4.0]))
    assert total.numpy() == 5.0
    np.testing.assert_allclose(clipped, [0.6, 0.8], rtol=1e-6)
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite norm of order 2"):
        clip(tf.constant([np.nan]))


def test_gradients_of_single_rows_are_clipped_too():
    table = tf.Variable(tf.ones([3, 2]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.gather(table, [1, 1]) * [3.0, 4.0]) / 2.0
    rows = tape.gradient(total, table)
    assert isinstance(rows, tf.IndexedSlices)
    (clipped,), norm = torch_nn_utils_clip_grad_norm_([rows], 1.0)
    assert norm.numpy() == 5.0
    np.testing.assert_allclose(clipped, [[0, 0], [0.6, 0.8], [0, 0]], rtol=1e-6)
