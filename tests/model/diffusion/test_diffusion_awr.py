import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_awr import AWRDiffusion
from model.diffusion.diffusion_rwr import RWRDiffusion
from tests.model.diffusion.q_policies import KNOWN
from tests.model.fakes import ConstantPrediction, MeanCritic
from tests.model.rl.transitions import OBS, parts_of_state
from tests.modes import MODES, in_mode
from util.config import compat_scope

VALUES = np.mean(OBS["state"], axis=(1, 2))
TARGETS = np.float32([1.0, -2.0])


def policy() -> AWRDiffusion:
    return AWRDiffusion(ConstantPrediction(), MeanCritic(), **KNOWN)


@pytest.mark.parametrize("mode", MODES)
def test_each_value_has_its_own_target(mode):
    loss = in_mode(policy().loss_critic, mode)(OBS, tf.constant(TARGETS))
    assert loss.numpy() == pytest.approx(np.mean((VALUES - TARGETS) ** 2), rel=1e-5)


def test_every_value_has_every_target_in_the_reference():
    with compat_scope({"awr_broadcast": True}):
        loss = policy().loss_critic(OBS, tf.constant(TARGETS))
    expected = np.mean((VALUES[:, None] - TARGETS) ** 2)
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_right_values_are_left_alone_but_for_the_reference():
    made = policy()
    slopes = []
    for on in (False, True):
        with compat_scope({"awr_broadcast": on}), tf.GradientTape() as tape:
            loss = made.loss_critic(OBS, tf.constant(VALUES))
        slopes.append(tape.gradient(loss, made.critic.factor).numpy())
    assert slopes[0] == pytest.approx(0.0, abs=1e-6)
    assert slopes[1] > 1e-3


def test_actor_is_regressed_with_weights():
    assert AWRDiffusion.loss is RWRDiffusion.loss
    assert AWRDiffusion.p_losses is RWRDiffusion.p_losses


def test_modules_are_saved_in_the_order_of_the_reference():
    made = policy()
    assert parts_of_state(made) == ["network", "critic", "actor"]
    assert made.actor is made.network
