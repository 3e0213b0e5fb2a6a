import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_dipo import DIPODiffusion
from model.diffusion.exploring import ExploringDiffusion, TwinQDiffusion
from model.diffusion.mlp_diffusion import DiffusionMLP
from tests.model.diffusion import closed_form
from tests.model.diffusion.q_policies import (
    FLOOR,
    KNOWN,
    SHAPE,
    SIZES,
    critics_of,
    make,
    noise,
)
from tests.model.fakes import ConstantPrediction, normal
from tests.model.rl.transitions import BATCH, OBS, linear_critic, set_values
from tests.modes import MODES, in_mode
from util.checkpoint import save_state


def exploring(**options) -> ExploringDiffusion:
    return ExploringDiffusion(network=ConstantPrediction(0.5), **{**KNOWN, **options})


def with_network() -> ExploringDiffusion:
    network = DiffusionMLP(2, 1, 2, 4, [8], activation_type="Mish")
    return ExploringDiffusion(network=network, **KNOWN)


# -- sampling -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_exploration_adds_noise_in_the_last_step_too(mode):
    made = exploring()
    sample = in_mode(lambda: made.forward(OBS, noise=noise(2.0)), mode)()
    np.testing.assert_allclose(sample, np.full(SHAPE, 0.5 + 2 * FLOOR), rtol=1e-5)
    quiet = in_mode(lambda: made.forward(OBS, True, noise(2.0)), mode)()
    np.testing.assert_allclose(quiet, np.full(SHAPE, 0.5), rtol=1e-5)


def test_noise_of_a_step_is_the_schedules_where_that_is_larger():
    made = ExploringDiffusion(network=ConstantPrediction(0.2), **SIZES)
    draws = [normal(*SHAPE, seed=i) for i in range(4)]
    x, abar, stds = np.float64(draws[0]), closed_form.alphas_cumprod(3), []
    for t, z in zip((2, 1, 0), draws[1:], strict=True):
        mean, std = closed_form.ddpm_step(x, 0.2, t, abar)
        stds.append(max(std, 0.1))
        x = mean + stds[-1] * z
    assert stds[-1] == 0.1 < min(stds[:-1])
    sample = made.forward(OBS, noise=draws)
    np.testing.assert_allclose(sample, x, atol=1e-4)


def test_own_draws_differ_from_call_to_call():
    made = exploring()
    draw = in_mode(lambda: made.forward(OBS), "graph")
    assert not np.array_equal(draw(), draw())


@pytest.mark.parametrize("mode", MODES)
def test_gradient_goes_through_all_steps(mode):
    made = with_network()
    head = made.network.mlp_mean.moduleList[1].linear_1.bias
    draws = [normal(*SHAPE, seed=i) * 0.3 for i in range(4)]

    def total():
        return tf.reduce_sum(made.reparameterised(OBS, False, draws))

    def value_and_gradient():
        with tf.GradientTape() as tape:
            value = total()
        return value, tape.gradient(value, head)

    _, gradient = in_mode(value_and_gradient, mode)()
    sides = []
    for step in (1e-2, -1e-2):
        head.assign_add(np.float32([step, 0]))
        sides.append(float(total()))
        head.assign_add(np.float32([-step, 0]))
    slope = (sides[0] - sides[1]) / 2e-2
    assert gradient.numpy()[0] == pytest.approx(slope, rel=2e-2)
    assert slope != 0.0


def test_acting_has_no_gradient():
    made = exploring()
    with tf.GradientTape() as tape:
        sample = made.forward(OBS, noise=noise())
    assert tape.gradient(sample, made.network.value) is None


def test_ddim_is_refused():
    with pytest.raises(ValueError, match="use_ddim must be false"):
        exploring(use_ddim=True, ddim_steps=2)


# -- critics --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_critic_loss_by_hand(mode):
    made = make(TwinQDiffusion)
    critic, target = critics_of(made)
    set_values(critic, (1.0, 0.0))
    set_values(target, (2.0, 4.0), slope=1.0)

    def both():
        draws = noise(last=-1.0)
        q = made.next_value(BATCH[1], draws)
        return q, made.loss_critic(*BATCH, gamma=0.5, noise=draws)

    next_value, loss = in_mode(both, mode)()
    # Both next actions are 0.5 - 0.1, the lower critic is 2 + 2 * 0.4.
    np.testing.assert_allclose(next_value, [2.8, 2.8], rtol=1e-5)
    # Targets 1 + 0.5 * 2.8 and, terminated, 2.
    expected = (1.4**2 + 1.0) / 2 + (2.4**2 + 4.0) / 2
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_critic_loss_teaches_the_critics_only():
    made = make(TwinQDiffusion)
    critic, target = critics_of(made)
    set_values(target, (1.0, 1.0), slope=1.0)
    with tf.GradientTape(persistent=True) as tape:
        loss = made.loss_critic(*BATCH, gamma=0.9)
    assert all(g is not None for g in tape.gradient(loss, critic.parameters()))
    others = [*target.parameters(), *made.network.parameters()]
    assert tape.gradient(loss, others) == [None] * len(others)


@pytest.mark.parametrize("mode", MODES)
def test_slow_copies_start_equal_and_follow(mode):
    critic = linear_critic(double_q=True)
    made = TwinQDiffusion(ConstantPrediction(), critic, **KNOWN)
    target = critics_of(made)[1]
    before, values = target.state_dict(), critic.state_dict()
    for key, value in values.items():
        np.testing.assert_array_equal(before[key], value)
    set_values(critic, (1.0, 2.0), slope=3.0)
    in_mode(made.update_target_critic, mode)(tf.constant(0.25))
    for key, value in target.state_dict().items():
        expected = 0.75 * before[key] + 0.25 * critic.state_dict()[key]
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


def from_file(path, weights, **options) -> DIPODiffusion:
    save_state(path, {"model": weights, "itr": 1}, {})
    return make(DIPODiffusion, network_path=str(path), **options)


def test_fine_tuned_file_restores_critics_and_slow_copies(tmp_path):
    tuned = make(DIPODiffusion, action=0.2)
    set_values(tuned.critic, (1.0, 2.0))
    set_values(tuned.critic_target, (3.0, 4.0))
    tuned.actor_target.value.assign(0.3)
    critic = linear_critic(double_q=True)
    made = from_file(tmp_path / "state_1", tuned.state_dict(), critic=critic)
    for key, value in tuned.state_dict().items():
        np.testing.assert_array_equal(made.state_dict()[key], value)


def test_file_of_another_algorithm_restores_the_policy_only(tmp_path):
    other = make(TwinQDiffusion, action=0.2)
    set_values(other.critic, (1.0, 2.0))
    critic = linear_critic(double_q=True)
    before = critic.state_dict()
    made = from_file(tmp_path / "state_1", other.state_dict(), critic=critic)
    for key, value in before.items():
        np.testing.assert_array_equal(made.critic.state_dict()[key], value)
    assert made.actor_target.value.numpy() == np.float32(0.2)


def test_one_critic_is_refused():
    with pytest.raises(ValueError, match="critic.double_q must be true"):
        make(TwinQDiffusion, critic=linear_critic())


def test_critic_of_a_part_of_the_chunk_is_refused():
    with pytest.raises(ValueError, match="whole chunks of horizon_steps=2 .* 4 num"):
        make(TwinQDiffusion, horizon_steps=2)
