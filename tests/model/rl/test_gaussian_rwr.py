import numpy as np
import pytest
import tensorflow as tf

from model.rl.gaussian_rwr import RWR_Gaussian
from tests.model.fakes import KnownGaussian, normal, states
from tests.model.rl.transitions import parts_of_state
from tests.modes import MODES, in_mode

ROWS = 3
COND, ACTIONS = states(ROWS), tf.constant(normal(ROWS, 2, 2, seed=1))
WEIGHTS = tf.constant([2.0, 0.5, 0.0])


def model(mean: float = 0.5, std: float = 2.0) -> RWR_Gaussian:
    return RWR_Gaussian(KnownGaussian(mean, std), horizon_steps=2)


def test_network_is_saved_under_both_names():
    made = model()
    assert parts_of_state(made) == ["network", "actor"]
    assert made.actor is made.network


@pytest.mark.parametrize("mode", MODES)
def test_loss_by_hand(mode):
    made = model()
    loss = in_mode(lambda a, w: made.loss(a, COND, w), mode)(ACTIONS, WEIGHTS)
    z = (ACTIONS.numpy() - 0.5) / 2
    logprob = (-0.5 * z**2 - np.log(2) - 0.5 * np.log(2 * np.pi)).mean((1, 2))
    assert loss.numpy() == pytest.approx(-np.mean(logprob * WEIGHTS), rel=1e-5)


def test_policy_moves_towards_what_has_weight():
    made = model(0.0, 1.0)
    actions = tf.constant(np.repeat(np.float32([1, -1, 5]), 4).reshape(ROWS, 2, 2))
    with tf.GradientTape() as tape:
        loss = made.loss(actions, COND, WEIGHTS)
    gradient = tape.gradient(loss, made.network.mean.value)
    # -(2 * 1 + 0.5 * -1) / 3 rows, over 4 elements
    np.testing.assert_allclose(gradient, np.full(4, -0.125), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("deterministic", "std"), [(False, 2.0), (True, 1e-4)])
def test_samples_replay_their_noise(mode, deterministic, std):
    made, noise = model(), [normal(ROWS, 4, seed=2)]
    sample = in_mode(lambda: made(COND, deterministic, noise=noise), mode)()
    np.testing.assert_allclose(
        sample, (0.5 + std * noise[0]).reshape(ROWS, 2, 2), rtol=1e-5, atol=1e-6
    )


def test_samples_carry_no_gradient():
    made = model()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(made(COND))
    assert tape.gradient(total, [made.network.mean.value]) == [None]


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="critic"):
        RWR_Gaussian(KnownGaussian(), critic=None, horizon_steps=2)
