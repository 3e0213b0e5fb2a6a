import numpy as np
import pytest
import tensorflow as tf

from model.common.critic import CriticObsAct
from model.diffusion.diffusion_qsm import QSMDiffusion
from tests.model.diffusion.q_policies import SHAPE, SIZES, make
from tests.model.fakes import StepPrediction, normal
from tests.model.rl.transitions import (
    ACTIONS,
    OBS,
    parts_of_state,
    set_values,
    trained_parts,
)
from tests.modes import MODES, in_mode

EPSILON, TIMES = normal(*SHAPE), np.int64([2, 1])
DRAWS = [EPSILON, TIMES]


@pytest.mark.parametrize("mode", MODES)
def test_loss_by_hand(mode):
    made = make(QSMDiffusion, action=0.3)
    set_values(made.critic_q, (0.0, 0.0), slope=0.2)
    loss = in_mode(lambda: made.loss_actor(OBS, ACTIONS, 10.0, noise=DRAWS), mode)()
    assert loss.numpy() == pytest.approx((-0.3 - 10.0 * 0.2) ** 2, rel=1e-5)


def test_both_critics_count_half():
    made = make(QSMDiffusion)
    for head, slope in ((made.critic_q.Q1, 1.0), (made.critic_q.Q2, 3.0)):
        head.moduleList[0].linear_1.weight.assign(np.float32([[0, 0, slope, 0]]))
    expected = np.zeros(SHAPE)
    expected[..., 0] = 2.0
    np.testing.assert_allclose(made.q_gradient(OBS, ACTIONS), expected, rtol=1e-6)


def test_minimum_is_a_policy_that_climbs():
    # A predicted noise is taken away from the action, so it must point down.
    made = make(QSMDiffusion, action=-2.0)
    set_values(made.critic_q, (0.0, 0.0), slope=0.2)
    loss = made.loss_actor(OBS, ACTIONS, 10.0, noise=DRAWS)
    assert loss.numpy() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("mode", MODES[:2])
def test_critics_are_asked_at_the_noisy_action(mode):
    made = QSMDiffusion(StepPrediction(0.5), CriticObsAct(2, [8], 2), **SIZES)
    noisy = np.float64(made.q_sample(ACTIONS, tf.constant(TIMES), EPSILON))

    def value(x):
        return np.sum(made.critic_q(OBS, tf.constant(x, tf.float32))) / 2

    slopes = np.zeros(SHAPE)
    for place in np.ndindex(SHAPE):
        step = np.zeros(SHAPE)
        step[place] = 1e-2
        slopes[place] = (value(noisy + step) - value(noisy - step)) / 2e-2
    expected = np.mean((-0.5 * TIMES[:, None, None] - 10.0 * slopes) ** 2)
    loss = in_mode(lambda: made.loss_actor(OBS, ACTIONS, 10.0, noise=DRAWS), mode)()
    assert loss.numpy() == pytest.approx(expected, rel=1e-3)


def test_actor_loss_teaches_the_actor_only():
    made = make(QSMDiffusion)
    set_values(made.critic_q, (0.0, 0.0), slope=1.0)
    parts = trained_parts(made, lambda: made.loss_actor(OBS, ACTIONS, 10.0))
    assert parts == {"network"}


def test_modules_are_saved_in_the_order_of_the_reference():
    made = make(QSMDiffusion)
    assert parts_of_state(made) == ["network", "critic_q", "target_q", "actor"]
    assert made.actor is made.network
