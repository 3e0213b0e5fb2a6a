import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_idql import IDQLDiffusion
from tests.model.diffusion.q_policies import FLOOR, KNOWN, critics_of
from tests.model.fakes import ConstantPrediction, MeanCritic, normal
from tests.model.rl.transitions import (
    ACTIONS,
    BATCH,
    NEXT_OBS,
    OBS,
    ROWS,
    WIDTH,
    linear_critic,
    parts_of_state,
    set_values,
    trained_parts,
)
from tests.modes import MODES, in_mode
from util.config import compat_scope

VALUES = np.mean(OBS["state"], axis=(1, 2))
SAMPLES = 4


def policy(**options) -> IDQLDiffusion:
    made = IDQLDiffusion(
        actor=ConstantPrediction(0.0),
        critic_q=linear_critic(double_q=True),
        critic_v=MeanCritic(),
        **{**KNOWN, **options},
    )
    for critic in critics_of(made):
        set_values(critic, (0.0, 0.0))
    return made


def draws(index: list[int] | None = None) -> list[np.ndarray]:
    shape = (SAMPLES * ROWS, 1, WIDTH)
    chain = [normal(*shape, seed=i) for i in range(1, 5)]
    return chain if index is None else [*chain, np.int64(index)[:, None]]


def samples_of(noise: list[np.ndarray]) -> np.ndarray:
    """The known samples, (N, B, 1, 2): the exploration noise of the last step."""
    return FLOOR * noise[3].reshape(SAMPLES, ROWS, 1, WIDTH)


# -- critics --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_value_loss_by_hand(mode):
    made = policy()
    # One difference is positive, the other one negative.
    made.target_q.Q1.moduleList[0].linear_1.bias.assign([np.mean(VALUES)])
    set_values(made.target_q, (np.mean(VALUES), 9.0))
    difference = np.mean(VALUES) - VALUES
    assert difference.min() < 0 < difference.max()
    loss = in_mode(made.loss_critic_v, mode)(OBS, ACTIONS)
    weights = np.where(difference > 0, 0.8, 0.2)
    assert loss.numpy() == pytest.approx(np.mean(weights * difference**2), rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_q_loss_by_hand(mode):
    made = policy()
    set_values(made.critic_q, (1.0, 0.0))
    loss = in_mode(lambda: made.loss_critic_q(*BATCH, gamma=0.5), mode)()
    next_value = np.mean(NEXT_OBS["state"], axis=(1, 2))
    target = np.array([1.0, 2.0]) + 0.5 * np.array([1.0, 0.0]) * next_value
    expected = np.mean((1.0 - target) ** 2) + np.mean(target**2)
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_each_loss_teaches_its_own_part():
    made = policy()
    set_values(made.target_q, (1.0, 1.0))
    assert trained_parts(made, lambda: made.loss_critic_v(OBS, ACTIONS)) == {"critic_v"}
    q_parts = trained_parts(made, lambda: made.loss_critic_q(*BATCH, gamma=0.5))
    assert q_parts == {"critic_q"}
    assert trained_parts(made, lambda: made.loss(ACTIONS, OBS)) == {"network"}


# -- acting ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_best_sample_is_taken(mode):
    made, noise = policy(), draws()
    set_values(made.target_q, (0.0, 5.0), slope=1.0)
    chosen = in_mode(
        lambda: made.forward(
            OBS, num_sample=SAMPLES, use_expectile_exploration=False, noise=noise
        ),
        mode,
    )()
    samples = samples_of(noise)
    best = samples.sum((2, 3)).argmax(0)
    assert len(set(best)) == ROWS
    np.testing.assert_allclose(chosen, samples[best, [0, 1]], rtol=1e-5)


def test_without_exploration_all_samples_are_the_mean_action():
    made = policy()
    set_values(made.target_q, (0.0, 5.0), slope=1.0)
    chosen = made.forward(OBS, True, num_sample=SAMPLES, noise=draws())
    np.testing.assert_allclose(chosen, np.zeros((ROWS, 1, WIDTH)), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_drawn_sample_is_taken(mode):
    made, noise = policy(), draws([3, 1])
    act = in_mode(lambda: made.forward(OBS, num_sample=SAMPLES, noise=noise), mode)
    expected = samples_of(noise)[[3, 1], [0, 1]]
    np.testing.assert_allclose(act(), expected, rtol=1e-5)


def test_samples_better_than_the_state_are_drawn_more_often():
    made = policy()
    logits = made.choice_logits(tf.constant([[2.0, -1.0, 0.0]]), 0.7)
    np.testing.assert_allclose(tf.exp(logits), [[0.7, 0.3, 0.3]], rtol=1e-6)
    set_values(made.target_q, (0.0, 0.0), slope=1.0)
    made.critic_v.factor.assign(0.0)  # an action is good if its sum is positive
    obs = {"state": tf.zeros([500, 1, 2])}
    better = made.forward(obs, num_sample=2, critic_hyperparam=0.9).numpy().sum((1, 2))
    # P = 1/4 + 1/2 * 0.9, against 1/2 for a blind choice.
    assert np.mean(better > 0) == pytest.approx(0.7, abs=0.07)


def test_boltzmann_choice_weighs_by_the_value():
    made = policy(exploration="boltzmann", boltzmann_temperature=0.5)
    q = tf.constant([[0.0, np.log(3) / 2]])
    np.testing.assert_allclose(
        tf.nn.softmax(made.choice_logits(q, 0.7)), [[0.25, 0.75]], rtol=1e-5
    )
    with compat_scope({"idql_two_level_choice": True}):
        two_levels = tf.exp(made.choice_logits(q, 0.7))
    np.testing.assert_allclose(two_levels, [[0.3, 0.7]], rtol=1e-5)


def test_impossible_exploration_is_refused():
    with pytest.raises(ValueError, match="exploration must be one of .*'greedy'"):
        policy(exploration="greedy")
    with pytest.raises(ValueError, match="boltzmann_temperature must be > 0, got 0"):
        policy(boltzmann_temperature=0)


def test_modules_are_saved_in_the_order_of_the_reference():
    made = policy()
    expected = ["network", "critic_q", "target_q", "critic_v", "actor"]
    assert parts_of_state(made) == expected
    assert made.actor is made.network
