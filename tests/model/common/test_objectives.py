import numpy as np
import pytest
import tensorflow as tf

from model.common.objectives import (
    bellman_error,
    clamp_logprob,
    clip_to_quantiles,
    conservative_gap,
    expectile_loss,
    gae,
    normalise,
    polyak,
    ppo_surrogate,
    q_target,
    ratio_diagnostics,
    reinforce_loss,
    value_loss,
    value_regression,
)
from tests.modes import MODES, in_mode
from util.config import compat_scope
from util.torch_to_tf import nn_Parameter

NEVER = np.zeros((3, 1), bool)
REWARDS = np.array([[1.0], [2.0], [3.0]])
VALUES = np.array([[0.5], [1.0], [1.5]])
NEXT = np.array([[1.0], [1.5], [4.0]])


def at(step: int) -> np.ndarray:
    """A flag that is up at one step."""
    return np.arange(3)[:, None] == step


def gradient_of(function, value):
    x = tf.constant(value)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = tf.reduce_sum(function(x))
    return tape.gradient(out, x)


# -- GAE ------------------------------------------------------------------------------


def test_gae_by_hand():
    # delta = (1 + .5 - .5, 2 + .75 - 1, 3 + 2 - 1.5) = (1, 1.75, 3.5).
    advantages, returns = gae(REWARDS, VALUES, NEXT, NEVER, NEVER, 0.5, 0.5)
    expected = np.array([[1 + 0.25 * 2.625], [1.75 + 0.25 * 3.5], [3.5]])
    np.testing.assert_allclose(advantages, expected)
    np.testing.assert_allclose(returns, expected + VALUES)


def test_gae_stops_at_termination_without_bootstrap():
    advantages, _ = gae(REWARDS, VALUES, NEXT, at(1), at(1), 0.5, 0.5)
    np.testing.assert_allclose(advantages[:, 0], [1 + 0.25 * 1.0, 2 - 1, 3.5])


def test_gae_stops_at_truncation_with_bootstrap():
    advantages, _ = gae(REWARDS, VALUES, NEXT, NEVER, at(1), 0.5, 0.5)
    np.testing.assert_allclose(advantages[:, 0], [1 + 0.25 * 1.75, 1.75, 3.5])


def test_gae_with_lambda_one_is_the_discounted_return():
    last_only = np.array([[7.0], [7.0], [4.0]])
    next_values = np.where(at(2), last_only, np.roll(VALUES, -1, axis=0))
    _, returns = gae(REWARDS, VALUES, next_values, NEVER, NEVER, 0.9, 1.0)
    expected = 1 + 0.9 * 2 + 0.81 * 3 + 0.729 * 4
    assert returns[0, 0] == pytest.approx(expected)


def test_gae_with_lambda_zero_is_the_temporal_difference():
    advantages, _ = gae(REWARDS, VALUES, NEXT, NEVER, NEVER, 0.9, 0.0)
    np.testing.assert_allclose(advantages, REWARDS + 0.9 * NEXT - VALUES)


def test_gae_keeps_environments_apart_and_computes_in_double():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((4, 3)).astype(np.float32) for _ in range(3)]
    terminated = rng.random((4, 3)) < 0.3
    done = terminated | (rng.random((4, 3)) < 0.3)
    together, _ = gae(*arrays, terminated, done, 0.99, 0.95)
    assert together.shape == (4, 3)
    assert together.dtype == np.float64
    for env in range(3):
        column = [a[:, env : env + 1] for a in (*arrays, terminated, done)]
        alone, _ = gae(*column, 0.99, 0.95)
        np.testing.assert_array_equal(alone[:, 0], together[:, env])


# -- advantages and log-probabilities -------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_normalise_uses_the_unbiased_deviation(mode):
    out = in_mode(normalise, mode)(tf.constant([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(out, [-1.0, 0.0, 1.0], rtol=1e-6)


def test_normalise_of_equal_advantages_is_zero():
    np.testing.assert_array_equal(normalise(tf.fill([4], 2.5)), np.zeros(4))


@pytest.mark.parametrize("mode", MODES)
def test_quantile_clipping_interpolates(mode):
    function = in_mode(lambda a: clip_to_quantiles(a, 0.25, 0.9), mode)
    out = function(tf.constant([4.0, 1.0, 3.0, 2.0, 5.0]))
    np.testing.assert_allclose(out, [4.0, 2.0, 3.0, 2.0, 4.6], rtol=1e-6)


def test_quantile_clipping_from_one_side():
    advantages = tf.constant([1.0, 2.0, 3.0])
    np.testing.assert_allclose(clip_to_quantiles(advantages, 0.5, 1.0), [2, 2, 3])
    np.testing.assert_allclose(clip_to_quantiles(advantages, 0.0, 0.5), [1, 2, 2])
    assert clip_to_quantiles(advantages, 0.0, 1.0) is advantages


def test_logprob_is_clamped_and_learns_inside_only():
    values = np.float32([-6.0, -5.0, 0.0, 2.0, 2.5])
    np.testing.assert_array_equal(clamp_logprob(tf.constant(values)), [-5, -5, 0, 2, 2])
    np.testing.assert_array_equal(gradient_of(clamp_logprob, values), [0, 1, 1, 1, 0])


@pytest.mark.parametrize("mode", MODES)
def test_reinforce_weighs_log_probabilities_by_advantages(mode):
    logprob, advantages = tf.constant([-1.0, 2.0]), tf.constant([3.0, -1.0])
    loss = in_mode(lambda x: reinforce_loss(x, advantages), mode)(logprob)
    assert loss.numpy() == pytest.approx(2.5)
    slopes = gradient_of(lambda x: reinforce_loss(x, advantages), [-1.0, 2.0])
    np.testing.assert_allclose(slopes, [-1.5, 0.5])


# -- PPO ------------------------------------------------------------------------------

RATIOS = np.float32([0.5, 1.5, 0.5, 1.5, 1.05])
ADVANTAGES = tf.constant([1.0, 1.0, -1.0, -1.0, 2.0])
# The worse of A r and A clip(r, .9, 1.1), negated.
TERMS = [-0.5, -1.1, 0.9, 1.5, -2.1]


@pytest.mark.parametrize("mode", MODES)
def test_surrogate_takes_the_worse_of_clipped_and_plain(mode):
    function = in_mode(lambda x: ppo_surrogate(x, ADVANTAGES, 0.1), mode)
    out = function(tf.constant(np.log(RATIOS)))
    assert out.numpy() == pytest.approx(np.mean(TERMS), rel=1e-6)


def test_surrogate_learns_only_where_clipping_does_not_bind():
    gradient = gradient_of(
        lambda x: 5 * ppo_surrogate(x, ADVANTAGES, 0.1), np.log(RATIOS)
    )
    np.testing.assert_allclose(gradient, [-0.5, 0.0, 0.0, 1.5, -2.1], rtol=1e-5)


def test_surrogate_with_a_clip_range_for_each_row():
    clip = tf.constant([0.1, 0.6, 0.6, 0.1, 0.01])
    out = ppo_surrogate(tf.constant(np.log(RATIOS)), ADVANTAGES, clip)
    expected = np.mean([-0.5, -1.5, 0.5, 1.5, -2.02])
    assert out.numpy() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_ratio_diagnostics_by_hand(mode):
    logratio = np.log(RATIOS)
    function = in_mode(lambda x: ratio_diagnostics(x, 0.1), mode)
    kl, clipped, ratio = (out.numpy() for out in function(tf.constant(logratio)))
    assert kl == pytest.approx(np.mean(RATIOS - 1 - logratio), rel=1e-5)
    assert clipped == pytest.approx(4 / 5)
    assert ratio == pytest.approx(np.mean(RATIOS))


def test_ratio_diagnostics_carry_no_gradient():
    assert gradient_of(lambda x: sum(ratio_diagnostics(x, 0.1)), np.log(RATIOS)) is None


@pytest.mark.parametrize("mode", MODES)
def test_value_loss_by_hand(mode):
    values, returns = tf.constant([1.0, 2.0, 5.0]), tf.constant([3.0, 0.0, 0.0])
    old = tf.constant([0.0, 2.5, 0.0])
    plain = in_mode(lambda v: value_loss(v, returns, old), mode)(values)
    assert plain.numpy() == pytest.approx(0.5 * (4 + 4 + 25) / 3)
    # Clipped values 0.2, 2.3 and 0.2: the larger errors are 2.8^2, 2.3^2 and 5^2.
    clipped = in_mode(lambda v: value_loss(v, returns, old, 0.2), mode)(values)
    assert clipped.numpy() == pytest.approx(0.5 * (2.8**2 + 2.3**2 + 25) / 3)


# -- Q-learning -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_q_target_by_hand_without_gradient(mode):
    rewards, terminated = tf.constant([1.0, 2.0]), tf.constant([0.0, 1.0])
    function = in_mode(lambda v: q_target(rewards, terminated, v, 0.9), mode)
    np.testing.assert_allclose(function(tf.constant([10.0, 10.0])), [10.0, 2.0])
    assert gradient_of(function, np.float32([10, 10])) is None


@pytest.mark.parametrize("mode", MODES)
def test_values_are_regressed_one_by_one(mode):
    values, targets = tf.constant([[1.0], [2.0]]), tf.constant([1.0, 4.0])
    loss = in_mode(value_regression, mode)(values, targets)
    assert loss.numpy() == pytest.approx((0 + 4) / 2)


def test_values_are_regressed_on_all_targets_in_the_reference():
    values, targets = tf.constant([[1.0], [2.0]]), tf.constant([1.0, 4.0])
    with compat_scope({"awr_broadcast": True}):
        loss = value_regression(values, targets)
    assert loss.numpy() == pytest.approx((0 + 9 + 1 + 4) / 4)


@pytest.mark.parametrize("mode", MODES)
def test_expectile_loss_by_hand(mode):
    diff = tf.constant([2.0, -3.0, 0.0])
    loss = in_mode(expectile_loss, mode)(diff)
    np.testing.assert_allclose(loss, [0.8 * 4, 0.2 * 9, 0.0], rtol=1e-6)
    np.testing.assert_allclose(expectile_loss(diff, 0.5), [2.0, 4.5, 0.0], rtol=1e-6)


def test_expectile_loss_is_least_above_the_mean():
    # 0.8 (1 - v) = 0.2 (v - 0) at v = 0.8.
    slope = gradient_of(
        lambda v: expectile_loss(tf.constant([0.0, 1.0]) - v), np.float32(0.8)
    )
    assert slope.numpy() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_bellman_errors_of_all_critics_are_added(mode):
    qs = tf.constant([1.0, 2.0]), tf.constant([0.0, 4.0])
    error = in_mode(bellman_error, mode)(qs, tf.constant([1.0, 3.0]))
    assert error.numpy() == pytest.approx((0 + 1) / 2 + (1 + 1) / 2)


@pytest.mark.parametrize("mode", MODES)
def test_conservative_gap_by_hand(mode):
    others = tf.constant(np.log(np.float32([[[1, 3], [4, 4]], [[1, 1], [2, 6]]])))
    values = tf.constant([[0.0, 1.0], [0.5, 3.0]])

    def both(others, values):
        free = conservative_gap(others, values, -np.inf, np.inf)
        return free, conservative_gap(others, values, 0.0, 1.0)

    free, clipped = in_mode(both, mode)(others, values)
    gaps = np.log([[4, 8], [2, 8]]) - values
    np.testing.assert_allclose(free, np.mean(gaps, axis=1), rtol=1e-5)
    np.testing.assert_allclose(clipped, np.clip(gaps, 0, 1).mean(1), rtol=1e-5)


def test_conservative_gap_pushes_the_highest_values_most():
    slope = gradient_of(
        lambda x: conservative_gap(x, tf.zeros([1]), -np.inf, np.inf),
        np.log(np.float32([[1, 3]])),
    )
    np.testing.assert_allclose(slope, [[0.25, 0.75]], rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_polyak_moves_targets_towards_sources(mode):
    targets = [nn_Parameter(np.float32([0, 10])), nn_Parameter(np.float32(2))]
    sources = [nn_Parameter(np.float32([4, 20])), nn_Parameter(np.float32(6))]
    in_mode(lambda tau: polyak(targets, sources, tau), mode)(tf.constant(0.25))
    np.testing.assert_allclose(targets[0].numpy(), [1.0, 12.5])
    assert targets[1].numpy() == 3.0
    assert sources[1].numpy() == 6.0
    polyak(targets, sources, 1.0)
    np.testing.assert_array_equal(targets[0].numpy(), [4, 20])


def test_polyak_refuses_lists_of_different_length():
    with pytest.raises(ValueError, match="shorter"):
        polyak([nn_Parameter(np.float32(0))] * 2, [nn_Parameter(np.float32(0))], 0.5)
