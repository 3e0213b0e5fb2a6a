import numpy as np
import pytest
import tensorflow as tf

from model.rl.gaussian_rlpd import RLPD_Gaussian
from tests.model.fakes import KnownGaussian
from tests.model.rl import transitions
from tests.model.rl.transitions import BATCH, OBS, WIDTH, ZERO, set_values
from tests.modes import MODES, in_mode
from util.config import compat_scope

NOISE = [np.array([2, 0, 1]), ZERO]


def model(actor=None, **options) -> RLPD_Gaussian:
    """Critics 0, 1 and 2, their targets 1, 2 and 5."""
    made = RLPD_Gaussian(
        actor or KnownGaussian(size=WIDTH),
        transitions.linear_critic(),
        n_critics=3,
        horizon_steps=1,
        tanh_output=True,
        **options,
    )
    set_values(made.critic_networks, [0, 1, 2])
    set_values(made.target_networks, [1, 2, 5])
    return made


def critic_loss(made, gamma=0.5, alpha=0.5, noise=NOISE):
    return made.loss_critic(*BATCH, gamma, tf.constant(alpha), noise=noise)


def squared_errors(*targets: float) -> float:
    """Mean over the critics 0, 1, 2 and these targets."""
    return float(np.mean([(q - y) ** 2 for q in (0, 1, 2) for y in targets]))


def test_modules_are_saved_in_the_order_of_the_reference():
    assert transitions.parts_of_state(model()) == [
        "network",
        "critic_networks",
        "target_networks",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_critic_loss_by_hand(mode):
    made = model()
    loss = in_mode(lambda: critic_loss(made), mode)()
    # The targets 5 and 1 are drawn; rewards 1 and 2, the second row terminates.
    assert loss.numpy() == pytest.approx(squared_errors(1 + 0.5 * 1, 2), rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_entropy_may_count_in_the_target(mode):
    made = model(backup_entropy=True)
    loss = in_mode(lambda: critic_loss(made), mode)()
    first = 1 + 0.5 * (1 - 0.5 * transitions.LOGPROB_OF_ZERO)
    assert loss.numpy() == pytest.approx(squared_errors(first, 2), rel=1e-5)


def test_target_is_the_lower_of_two_drawn_critics():
    made = model()
    orders = ([1, 2, 0], [0, 1, 2])
    losses = [critic_loss(made, noise=[np.array(o), ZERO]).numpy() for o in orders]
    expected = [squared_errors(1 + 0.5 * lower, 2) for lower in (2, 1)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    drawn = {round(float(critic_loss(made, noise=None)), 4) for _ in range(30)}
    assert drawn == {round(value, 4) for value in expected}


@pytest.mark.parametrize("mode", MODES)
def test_actor_climbs_the_mean_of_all_critics(mode):
    made = model()
    set_values(made.critic_networks, [0, 1, 5], slope=3)

    loss, gradient = transitions.actor_loss(made, mode, 0.5)
    assert loss == pytest.approx(0.5 * transitions.LOGPROB_OF_ZERO - 2, rel=1e-5)
    # tanh has slope 1 at 0, where the entropy does not change.
    np.testing.assert_allclose(gradient, [-3, -3], rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_temperature_loss_by_hand(mode):
    made = model()
    loss = in_mode(lambda a: made.loss_temperature(OBS, a, -2.0, noise=[ZERO]), mode)
    expected = -0.5 * (transitions.LOGPROB_OF_ZERO - 2)
    assert loss(tf.constant(0.5)).numpy() == pytest.approx(expected, rel=1e-5)


def test_each_loss_teaches_its_own_part():
    made = model()
    assert transitions.trained_parts(made, lambda: critic_loss(made)) == {
        "critic_networks"
    }
    # The critics' gradients exist here, too; the agent applies the actor's alone.
    actor = transitions.trained_parts(made, lambda: made.loss_actor(OBS, 0.5))
    assert actor == {"network", "critic_networks"}


def test_each_member_learns_from_its_own_error_over_their_number():
    made = model()
    with tf.GradientTape() as tape:
        loss = critic_loss(made)
    bias = made.ensemble_params["Q1.moduleList.0.linear_1.bias"]
    gradient = tape.gradient(loss, bias.value)
    expected = [2 * ((q - 1.5) + (q - 2)) / 6 for q in (0, 1, 2)]
    np.testing.assert_allclose(gradient[:, 0], expected, rtol=1e-5)


def spread_after_training() -> float:
    """Smallest difference of two fresh members' values after some steps."""
    made = RLPD_Gaussian(
        KnownGaussian(size=WIDTH),
        transitions.linear_critic(),
        n_critics=3,
        horizon_steps=1,
    )
    params = list(made.ensemble_params.values())
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = critic_loss(made, noise=None)
        for p, g in zip(params, tape.gradient(loss, params), strict=True):
            p.assign(p - 0.01 * g)
    values = made.trained_critics(OBS, BATCH[2]).numpy()
    return min(np.abs(values[i] - values[j]).max() for i, j in ((0, 1), (0, 2), (1, 2)))


def test_members_stay_apart_and_equal_in_the_reference():
    assert spread_after_training() > 0.05
    with compat_scope({"identical_ensembles": True}):
        assert spread_after_training() == 0.0


def after_steps(mode) -> tuple[np.ndarray, np.ndarray]:
    """Trained critics and targets after three steps in one function."""
    made = model()
    params = list(made.ensemble_params.values())

    def step(count, loss):
        with tf.GradientTape() as tape:
            loss = critic_loss(made)
        for p, g in zip(params, tape.gradient(loss, params), strict=True):
            p.assign(p - 0.1 * g)
        made.update_target_critic(0.5)
        return count + 1, loss

    def steps():
        start = tf.constant(0), tf.constant(0.0)
        return tf.while_loop(lambda count, _: count < 3, step, start)

    in_mode(steps, mode)()
    ensembles = (made.trained_critics, made.target_networks)
    return tuple(ensemble(OBS, BATCH[2]).numpy() for ensemble in ensembles)


@pytest.mark.parametrize("mode", MODES[1:])
def test_several_steps_fit_in_one_compiled_function(mode):
    found, expected = after_steps(mode), after_steps("eager")
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.abs(found[0] - [[0], [1], [2]]).min() > 0.05


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="backup_entropi"):
        model(backup_entropi=True)
