import numpy as np
import pytest
import tensorflow as tf

from model.common.critic import CriticObsAct
from model.diffusion.diffusion_dipo import DIPODiffusion
from tests.model.diffusion.q_policies import SHAPE, make, noise
from tests.model.rl.transitions import (
    ACTIONS,
    OBS,
    parts_of_state,
    set_values,
    trained_parts,
)
from tests.modes import MODES, in_mode
from util.torch_to_tf import torch_nn_utils_clip_grad_norm_, torch_optim_Adam

START = tf.constant([[[0.0, 0.5]], [[-0.5, 0.99]]])


# -- action gradient ------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_actions_climb_by_the_learning_rate_up_to_the_bound(mode):
    made = make(DIPODiffusion)
    set_values(made.critic, (0.0, 1.0), slope=3.0)
    guided = in_mode(lambda x: made.guide_actions(OBS, x, 0.02, 4), mode)(START)
    # Adam's steps are the rate as long as the gradient does not change.
    expected = np.minimum(START + 4 * 0.02, 1.0)
    np.testing.assert_allclose(guided, expected, atol=1e-4)


def test_gradient_of_the_batch_is_clipped_as_one():
    made = make(DIPODiffusion)
    set_values(made.critic, (0.0, 1.0), slope=3.0)
    # Four entries of 3 have the norm 6; clipped to 2e-5, they are Adam's eps.
    guided = made.guide_actions(OBS, START, 0.02, 1, max_norm=2e-5)
    np.testing.assert_allclose(guided[:, :, 0], START[:, :, 0] + 0.01, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_steps_are_those_of_adam(mode):
    made = make(DIPODiffusion, critic=CriticObsAct(2, [8], 2))
    for head in (made.critic.Q1, made.critic.Q2):
        for layer in head.moduleList:
            layer.linear_1.weight.assign(layer.linear_1.weight * 3.0 + 0.1)
    limit = 0.1 * 2
    x = tf.Variable(ACTIONS)
    adam = torch_optim_Adam([x], lr=0.05, eps=1e-5)
    norms = []
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_sum(tf.minimum(*made.critic(OBS, x)))
        clipped, norm = torch_nn_utils_clip_grad_norm_([tape.gradient(loss, x)], limit)
        norms.append(float(norm))
        adam.apply(clipped)
        x.assign(tf.clip_by_value(x, -1.0, 1.0))
    guided = in_mode(lambda a: made.guide_actions(OBS, a, 0.05, 5), mode)(ACTIONS)
    np.testing.assert_allclose(guided, x, atol=1e-5)
    assert max(norms) > limit
    assert np.max(np.abs(x - ACTIONS)) > 0.1


def test_lower_critic_is_climbed():
    made = make(DIPODiffusion)
    for head, slope in ((made.critic.Q1, 1.0), (made.critic.Q2, -1.0)):
        head.moduleList[0].linear_1.weight.assign(np.full((1, 4), slope, np.float32))
        head.moduleList[0].linear_1.bias.assign([10.0 * slope])
    # Q1 is the higher one, by far; Q2 falls.
    assert np.all(made.guide_actions(OBS, START, 0.02, 1) < START)


def test_guided_actions_are_constants():
    made = make(DIPODiffusion)
    set_values(made.critic, (0.0, 1.0), slope=3.0)
    parts = trained_parts(
        made, lambda: made.loss(made.guide_actions(OBS, START, 0.02, 2), OBS)
    )
    assert parts == {"network"}


# -- the slow copy --------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_slow_copy_acts_and_follows(mode):
    made = make(DIPODiffusion, action=0.5)
    made.network.value.assign(-0.5)

    def act():
        return made.forward(OBS, deterministic=True, noise=noise())

    np.testing.assert_allclose(in_mode(act, mode)(), np.full(SHAPE, 0.5), rtol=1e-5)
    in_mode(made.update_target_actor, mode)(tf.constant(0.25))
    expected = 0.75 * 0.5 - 0.25 * 0.5
    np.testing.assert_allclose(in_mode(act, mode)(), np.full(SHAPE, expected), 1e-5)
    assert made.network.value.numpy() == -0.5


def test_critics_look_at_the_slow_copys_action():
    made = make(DIPODiffusion, action=0.5)
    set_values(made.critic_target, (0.0, 1.0), slope=1.0)
    made.network.value.assign(-0.5)
    np.testing.assert_allclose(made.next_value(OBS, noise()), [1.0, 1.0], rtol=1e-5)


def test_modules_are_saved_in_the_order_of_the_reference():
    made = make(DIPODiffusion)
    expected = ["network", "critic", "critic_target", "actor", "actor_target"]
    assert parts_of_state(made) == expected
    assert made.actor is made.network
