import numpy as np
import pytest
import tensorflow as tf

from model.common.critic import CriticObsAct
from model.common.mlp_gaussian import Gaussian_MLP
from model.rl.gaussian_sac import SAC_Gaussian
from tests.model.fakes import normal, states
from tests.model.rl.transitions import parts_of_state, trained_parts
from tests.modes import MODES, in_mode

ROWS, WIDTH = 5, 2
OBS, NEXT_OBS = states(ROWS), states(ROWS, seed=1)
ACTIONS = tf.constant(np.tanh(normal(ROWS, 1, WIDTH, seed=2)))
REWARDS = tf.constant(normal(ROWS, seed=3))
TERMINATED = tf.constant([0.0, 1.0, 0.0, 0.0, 1.0])
NOISE = [normal(ROWS, WIDTH, seed=4)]


@pytest.fixture
def model() -> SAC_Gaussian:
    actor = Gaussian_MLP(WIDTH, 1, 2, mlp_dims=[4], tanh_output=False)
    critic = CriticObsAct(2, [4], WIDTH)
    made = SAC_Gaussian(actor, critic, horizon_steps=1, tanh_output=True)
    # Targets that differ from the critics tell the two apart.
    for parameter in made.target_critic.parameters():
        parameter.assign(parameter * 0.5 + 0.1)
    return made


def squashed_sample(model, obs):
    """Action and log-probability of the draw `NOISE`, in double precision."""
    mean, std = (np.float64(x) for x in model.network(obs))
    u = mean + std * NOISE[0]
    logprob = -0.5 * NOISE[0] ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    logprob -= np.log(1 - np.tanh(u) ** 2 + 1e-6)
    return np.float32(np.tanh(u)).reshape(ROWS, 1, WIDTH), logprob.sum(-1)


def test_modules_are_saved_in_the_order_of_the_reference(model):
    assert parts_of_state(model) == ["network", "critic", "target_critic"]


def test_targets_start_as_independent_copies():
    critic = CriticObsAct(2, [4], WIDTH)
    actor = Gaussian_MLP(WIDTH, 1, 2, mlp_dims=[4])
    model = SAC_Gaussian(actor, critic, horizon_steps=1)
    before = model.target_critic.state_dict()
    for key, value in critic.state_dict().items():
        np.testing.assert_array_equal(before[key], value)
    for parameter in critic.parameters():
        parameter.assign(parameter + 1.0)
    for key, value in model.target_critic.state_dict().items():
        np.testing.assert_array_equal(before[key], value)


@pytest.mark.parametrize("mode", MODES)
def test_critic_loss_by_closed_form(model, mode):
    loss = in_mode(
        lambda alpha: model.loss_critic(
            OBS, NEXT_OBS, ACTIONS, REWARDS, TERMINATED, 0.9, alpha, noise=NOISE
        ),
        mode,
    )(tf.constant(0.3))
    action, logprob = squashed_sample(model, NEXT_OBS)
    next_q = np.minimum(*model.target_critic(NEXT_OBS, action)) - 0.3 * logprob
    target = REWARDS + 0.9 * (1 - TERMINATED) * next_q
    expected = sum(np.mean((q - target) ** 2) for q in model.critic(OBS, ACTIONS))
    assert loss.numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_actor_loss_by_closed_form(model, mode):
    loss = in_mode(lambda a: model.loss_actor(OBS, a, noise=NOISE), mode)
    action, logprob = squashed_sample(model, OBS)
    q = np.minimum(*model.critic(OBS, action))
    expected = np.mean(0.3 * logprob - q)
    assert loss(tf.constant(0.3)).numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("mode", MODES[:2])
def test_temperature_loss_and_its_gradient_by_closed_form(model, mode):
    def value_and_gradient(alpha):
        with tf.GradientTape() as tape:
            tape.watch(alpha)
            loss = model.loss_temperature(OBS, alpha, -2.0, noise=NOISE)
        return loss, tape.gradient(loss, alpha)

    loss, gradient = in_mode(value_and_gradient, mode)(tf.constant(0.3))
    _, logprob = squashed_sample(model, OBS)
    assert loss.numpy() == pytest.approx(-0.3 * np.mean(logprob - 2.0), rel=1e-4)
    assert gradient.numpy() == pytest.approx(-np.mean(logprob - 2.0), rel=1e-4)


def test_each_loss_teaches_its_own_part(model):
    critic = trained_parts(
        model,
        lambda: model.loss_critic(
            OBS, NEXT_OBS, ACTIONS, REWARDS, TERMINATED, 0.9, 0.3
        ),
    )
    assert critic == {"critic"}
    # The critics' gradients exist here, too; the agent applies the actor's alone.
    actor = trained_parts(model, lambda: model.loss_actor(OBS, 0.3))
    assert actor == {"network", "critic"}
    alpha = tf.constant(0.3)
    assert (
        trained_parts(model, lambda: model.loss_temperature(OBS, alpha, -2.0)) == set()
    )


def test_actor_learns_through_the_action(model):
    with tf.GradientTape() as tape:
        loss = model.loss_actor(OBS, 0.0, noise=NOISE)
    head = model.network.mlp_mean.moduleList[0].linear_1.bias
    gradient = tape.gradient(loss, head).numpy()
    shifted = []
    for sign in (1, -1):
        head.assign_add(sign * np.float32([1e-2, 0]))
        shifted.append(model.loss_actor(OBS, 0.0, noise=NOISE).numpy())
        head.assign_add(-sign * np.float32([1e-2, 0]))
    slope = (shifted[0] - shifted[1]) / 2e-2
    assert gradient[0] == pytest.approx(slope, rel=2e-2, abs=1e-4)


def test_targets_move_towards_the_critics(model):
    before, source = model.target_critic.state_dict(), model.critic.state_dict()
    model.update_target_critic(0.25)
    for key, value in model.target_critic.state_dict().items():
        expected = 0.75 * before[key] + 0.25 * source[key]
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
    for key, value in model.critic.state_dict().items():
        np.testing.assert_array_equal(value, source[key])


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="tanh_out'"):
        SAC_Gaussian(
            Gaussian_MLP(2, 1, 2, mlp_dims=[4]),
            CriticObsAct(2, [4], 2),
            horizon_steps=1,
            tanh_out=True,
        )
