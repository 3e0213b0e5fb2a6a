import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_dql import DQLDiffusion
from tests.model.diffusion.q_policies import SHAPE, make, noise
from tests.model.fakes import normal
from tests.model.rl.transitions import OBS, parts_of_state, set_values
from tests.modes import MODES, in_mode
from util.config import compat_scope

CHUNKS = tf.constant([[[0.0, 1.0]], [[2.0, 3.0]]])
BC = [np.int64([0, 2]), normal(*SHAPE)]
OWN = {"dql_bc_on_own_actions": True}


def draws(coin: float = 0.6) -> list:
    return [*noise(), *BC, np.float64(coin)]


def policy(action: float = 0.5, slope: float = 1.0, **options) -> DQLDiffusion:
    made = make(DQLDiffusion, action, **options)
    # At the sampled action, 0.5 twice, the critics are 3 and -4.
    set_values(made.critic, (2.0, -5.0), slope)
    return made


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("coin", "climbed"), [(0.6, 3 / 4), (0.4, -4 / 3)])
def test_actor_loss_by_hand(mode, coin, climbed):
    made = policy()
    loss = in_mode(
        lambda: made.loss_actor(OBS, 2.0, 1, CHUNKS, noise=draws(coin)), mode
    )()
    bc_loss = np.mean((0.5 - CHUNKS) ** 2)
    assert loss.numpy() == pytest.approx(bc_loss - 2.0 * climbed, rel=1e-5)


def test_reference_clones_its_own_samples():
    made = policy()
    with compat_scope(OWN):
        loss = made.loss_actor(OBS, 2.0, 1, noise=draws())
    # The network predicts its own clean sample without error.
    assert loss.numpy() == pytest.approx(-2.0 * 3 / 4, rel=1e-5)


def test_policy_moves_to_the_buffer_and_up_the_critic():
    made = policy()

    def slope(eta):
        with tf.GradientTape() as tape:
            loss = made.loss_actor(OBS, eta, 1, CHUNKS, noise=draws())
        return tape.gradient(loss, made.network.value).numpy()

    assert slope(0.0) == pytest.approx(2 * (0.5 - 1.5), rel=1e-4)
    # Q1 grows by 2 with the prediction, its scale, |Q2| = 4, is a constant.
    assert slope(1.0) == pytest.approx(-2.0 - 2 / 4, rel=1e-4)
    with compat_scope(OWN):
        assert slope(0.0) == pytest.approx(0.0, abs=1e-6)


def test_either_critic_is_climbed():
    made = policy(slope=0.0)
    draw = in_mode(lambda: made.loss_actor(OBS, 1.0, 1, CHUNKS), "graph")
    losses = {round(float(draw()), 4) for _ in range(20)}
    bc_loss = float(np.mean((0.5 - CHUNKS) ** 2))
    assert losses == {round(bc_loss - q, 4) for q in (2 / 5, -5 / 2)}


@pytest.mark.parametrize("mode", MODES)
def test_training_samples_are_those_of_acting_with_a_gradient(mode):
    made = policy(action=3.0, denoised_clip_value=None, final_action_clip_value=0.8)

    def both():
        with tf.GradientTape() as tape:
            sample = made.forward_train(OBS, noise=noise(-30.0))
        return sample, tape.gradient(sample, made.network.value)

    sample, slope = in_mode(both, mode)()
    np.testing.assert_allclose(sample, made.forward(OBS, noise=noise(-30.0)))
    # The noise is limited to 10 standard deviations of 0.1, and the sample to 0.8.
    np.testing.assert_allclose(sample, np.full(SHAPE, 0.8))
    assert slope.numpy() == 0.0


def test_training_samples_are_limited_to_one_in_the_reference():
    made = policy(action=3.0, denoised_clip_value=None, final_action_clip_value=0.8)
    with compat_scope({"dql_unit_action_clip": True}):
        np.testing.assert_allclose(made.forward_train(OBS), np.full(SHAPE, 1.0))
        np.testing.assert_allclose(made.forward(OBS), np.full(SHAPE, 0.8))
        free = policy(action=3.0, denoised_clip_value=None)
        assert np.all(free.forward_train(OBS, True).numpy() > 2.9)


def test_actions_of_the_buffer_are_needed():
    with pytest.raises(ValueError, match="actions must be those of the buffer"):
        policy().loss_actor(OBS, 1.0, 1)


def test_chunks_must_be_executed_as_a_whole():
    with pytest.raises(ValueError, match="act_steps must be horizon_steps=1, got 2"):
        policy().loss_actor(OBS, 1.0, 2, CHUNKS)


def test_modules_are_saved_in_the_order_of_the_reference():
    made = policy()
    assert parts_of_state(made) == ["network", "critic", "critic_target", "actor"]
    assert made.actor is made.network
