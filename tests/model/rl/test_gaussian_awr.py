import numpy as np
import pytest
import tensorflow as tf

from model.common.critic import CriticObs
from model.rl.gaussian_awr import AWR_Gaussian
from tests.model.fakes import KnownGaussian, MeanCritic
from tests.model.rl.transitions import parts_of_state, trained_parts
from tests.modes import MODES, in_mode
from util.config import compat_scope

# Means of the states are 1 and 3, so that V = 2 s gives 2 and 6.
COND = {"state": tf.constant([[[1.0, 1.0]], [[2.0, 4.0]]])}
TARGETS = tf.constant([1.0, 2.0])


def model(factor: float = 2.0) -> AWR_Gaussian:
    return AWR_Gaussian(KnownGaussian(), MeanCritic(factor), horizon_steps=2)


def test_modules_are_saved_in_the_order_of_the_reference():
    made = AWR_Gaussian(KnownGaussian(), CriticObs(2, [4]), horizon_steps=2)
    assert parts_of_state(made) == ["network", "actor", "critic"]


@pytest.mark.parametrize("mode", MODES)
def test_each_value_has_its_own_target(mode):
    made = model()
    loss = in_mode(lambda y: made.loss_critic(COND, y), mode)(TARGETS)
    assert loss.numpy() == pytest.approx((1 + 16) / 2)


@pytest.mark.parametrize("mode", MODES)
def test_each_value_has_all_targets_in_the_reference(mode):
    made = model()
    with compat_scope({"awr_broadcast": True}):
        loss = in_mode(lambda y: made.loss_critic(COND, y), mode)(TARGETS)
    assert loss.numpy() == pytest.approx((1 + 0 + 25 + 16) / 4)


def test_critic_learns_its_targets():
    made = model()
    for _ in range(50):
        with tf.GradientTape() as tape:
            loss = made.loss_critic(COND, tf.constant([5.0, 15.0]))
        gradient = tape.gradient(loss, made.critic.factor.value)
        made.critic.factor.assign(made.critic.factor - 0.05 * gradient)
    np.testing.assert_allclose(made.critic(COND), [[5.0], [15.0]], rtol=1e-3)


def test_each_loss_teaches_its_own_part():
    made = model()
    actions = tf.zeros([2, 2, 2])
    assert trained_parts(made, lambda: made.loss(actions, COND, TARGETS)) == {"network"}
    assert trained_parts(made, lambda: made.loss_critic(COND, TARGETS)) == {"critic"}
