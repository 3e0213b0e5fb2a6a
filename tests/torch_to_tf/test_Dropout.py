import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_configurable, random
from tests.torch_to_tf.module_cases import assert_unknown_sizes_work
from util.torch_to_tf import (
    nn_Dropout,
    nn_Sequential,
    replay_dropout,
    torch_manual_seed,
)


@pytest.mark.parametrize("mode", MODES)
def test_training_zeroes_a_fresh_share_p_and_scales_the_rest(mode):
    p, n = 0.3, 40_000
    layer, x = in_mode(nn_Dropout(p), mode), tf.fill([n], 2.0)
    out = layer(x).numpy()
    assert not np.array_equal(layer(x), out)
    kept = out[out != 0]
    np.testing.assert_allclose(kept, 2.0 / (1 - p), rtol=1e-6)
    spread = np.sqrt(p * (1 - p) / n)
    assert abs(len(kept) / n - (1 - p)) < 5 * spread


def test_neighbours_are_dropped_independently():
    dropped = nn_Dropout(0.5)(tf.ones([40_000])).numpy() == 0
    both = np.mean(dropped[1:] & dropped[:-1])
    assert both == pytest.approx(0.25, abs=0.015)


def test_seed_decides_the_masks():
    masks = []
    for _ in range(2):
        torch_manual_seed(4)
        masks.append(nn_Dropout(0.5)(tf.ones([100])).numpy())
    np.testing.assert_array_equal(masks[0], masks[1])


def test_gradient_is_the_scaled_mask():
    x = tf.constant(random((4, 50)))
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = nn_Dropout(0.5)(x)
    gradient = tape.gradient(out, x).numpy()
    np.testing.assert_array_equal(gradient, np.where(out == 0, 0.0, 2.0))


@pytest.mark.parametrize(("p", "mode"), [(0.5, False), (0.0, True), (1.0, True)])
def test_cases_without_chance_equal_torch(p, mode):
    x = random((3, 4))
    expected = torch.nn.Dropout(p).train(mode)(torch.from_numpy(x))
    np.testing.assert_array_equal(nn_Dropout(p).train(mode)(x), expected)


def test_train_and_eval_reach_nested_layers():
    network = nn_Sequential(nn_Dropout(0.5), nn_Sequential(nn_Dropout(0.5)))
    x = tf.ones([50])
    np.testing.assert_array_equal(network.eval()(x), x)
    assert np.count_nonzero(network.train()(x)) < 50


def test_float64_stays_float64():
    assert nn_Dropout(0.5)(tf.ones([3], tf.float64)).dtype == tf.float64


def test_has_no_state_and_a_config():
    assert nn_Dropout(0.2).state_dict() == {}
    assert nn_Dropout(0.2).parameters() == []
    assert_configurable(nn_Dropout(0.2, inplace=True))


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_probability_outside_its_range_is_refused(p):
    with pytest.raises(ValueError, match=rf"p must be in \[0, 1\], got {p}"):
        nn_Dropout(p)


@pytest.mark.parametrize("x", [3.0, np.ones(4, np.int64)], ids=["number", "int64"])
def test_what_torch_cannot_drop_is_refused(x):
    given = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
    assert_both_refuse(
        lambda: nn_Dropout(0.5)(x),
        lambda: torch.nn.Dropout(0.5)(given),
        "input must be",
    )


def test_whole_numbers_pass_where_nothing_is_dropped():
    x = np.arange(4)
    for layer in (nn_Dropout(0.0), nn_Dropout(0.5).eval()):
        np.testing.assert_array_equal(layer(x), x)


def test_unknown_sizes_work_and_others_stay():
    layer = nn_Dropout(1.0)
    assert_unknown_sizes_work(layer, [random((2, 3))], [(None, 3)], [None, 3])
    drawn = in_mode(nn_Dropout(0.5).call, "graph").get_concrete_function(
        tf.TensorSpec([None, 3])
    )
    assert drawn.outputs[0].shape.as_list() == [None, 3]
    assert drawn(tf.ones([50, 3])).shape == (50, 3)


@pytest.mark.parametrize("mode", MODES)
def test_replayed_masks_are_used_in_order(mode):
    network = nn_Sequential(nn_Dropout(0.5), nn_Dropout(0.5))
    x, masks = random((2, 3)), [2.0 * (random((2, 3), seed) > 0) for seed in (1, 2)]
    with replay_dropout(masks):
        out = in_mode(network, mode)(tf.constant(x))
    np.testing.assert_allclose(out, x * masks[0] * masks[1], rtol=1e-6)


def test_replay_leaves_inactive_layers_alone():
    network = nn_Sequential(nn_Dropout(0.0), nn_Dropout(0.5).eval(), nn_Dropout(0.5))
    with replay_dropout([np.array([0.0, 2.0])]):
        out = network(tf.constant([1.0, 1.0]))
    np.testing.assert_array_equal(out, [0.0, 2.0])


def test_inner_replay_goes_before_the_outer_one():
    layer, x = nn_Dropout(0.5), tf.ones([1])
    with replay_dropout([np.array([2.0])]):
        with replay_dropout([np.array([0.0])]):
            assert layer(x).numpy() == 0.0
        assert layer(x).numpy() == 2.0


def test_replay_ends_with_its_block_also_after_an_error():
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError), replay_dropout([np.zeros(100)]):
        fail()
    assert np.count_nonzero(nn_Dropout(0.5)(tf.ones([100]))) > 0
