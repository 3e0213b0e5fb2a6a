import numpy as np
import pytest
import tensorflow as tf

from model.rl.gaussian_ppo import PPO_Gaussian
from tests.model.fakes import KnownGaussian, MeanCritic, normal, states
from tests.modes import MODES, in_mode

ROWS, STEPS, WIDTH = 6, 2, 2
COND = states(ROWS)
ACTIONS = tf.constant(normal(ROWS, STEPS, WIDTH, seed=1))
RETURNS, OLD_VALUES, ADVANTAGES = (
    tf.constant(normal(ROWS, seed=seed)) for seed in (2, 3, 4)
)
NOISE = [normal(ROWS, STEPS * WIDTH, seed=5)]
BATCH = (RETURNS, OLD_VALUES, ADVANTAGES)


def model(mean=0.0, std=1.0, **options) -> PPO_Gaussian:
    """A policy whose base is N(-1, 0.5)."""
    options = {"clip_ploss_coef": 0.1, "horizon_steps": STEPS, **options}
    made = PPO_Gaussian(actor=KnownGaussian(mean, std), critic=MeanCritic(), **options)
    made.actor.mean.assign(np.full(4, -1.0))
    made.actor.std.assign(np.full(4, 0.5))
    return made


def mean_density(x, mean, std):
    x = np.reshape(x, (ROWS, -1)).astype(np.float64)
    elements = -((x - mean) ** 2) / (2 * std**2) - np.log(std) - 0.5 * np.log(2 * np.pi)
    return elements.mean(-1)


def loss_of(made, old, mode="eager", **options):
    def loss(old):
        return made.loss(COND, ACTIONS, *BATCH, old, **options)

    return in_mode(loss, mode)(tf.constant(old, tf.float32))


@pytest.mark.parametrize("mode", MODES)
def test_terms_by_hand(mode):
    old = mean_density(ACTIONS, 0.2, 1.1)
    losses = loss_of(model(), old, mode)
    logratio = mean_density(ACTIONS, 0.0, 1.0) - old
    ratio = np.exp(logratio)
    weighted = np.float64(ADVANTAGES)
    weighted = (weighted - weighted.mean()) / (weighted.std(ddof=1) + 1e-8)
    clipped = np.clip(ratio, 0.9, 1.1)
    surrogate = np.maximum(-weighted * ratio, -weighted * clipped).mean()
    values = COND["state"].numpy().mean((1, 2))
    expected = {
        "pg_loss": surrogate,
        "entropy_loss": -(0.5 + 0.5 * np.log(2 * np.pi)),
        "v_loss": 0.5 * ((values - RETURNS) ** 2).numpy().mean(),
        "clipfrac": (np.abs(ratio - 1) > 0.1).mean(),
        "approx_kl": (ratio - 1 - logratio).mean(),
        "ratio": ratio.mean(),
        "bc_loss": 0.0,
        "std": 1.0,
    }
    assert 0 < expected["clipfrac"] < 1
    for name, value in expected.items():
        found = float(getattr(losses, name))
        assert found == pytest.approx(value, rel=1e-4, abs=1e-6), name


def test_ratio_is_one_for_the_policy_that_acted():
    losses = loss_of(model(), mean_density(ACTIONS, 0.0, 1.0))
    assert float(losses.ratio) == pytest.approx(1.0, abs=1e-6)
    assert float(losses.approx_kl) == pytest.approx(0.0, abs=1e-6)


def test_advantages_may_stay_as_they_are():
    old = mean_density(ACTIONS, 0.0, 1.0)
    losses = loss_of(model(norm_adv=False), old)
    assert float(losses.pg_loss) == pytest.approx(-ADVANTAGES.numpy().mean(), rel=1e-4)


def test_clamp_follows_the_mean():
    # One element of each chunk is far away: its density alone is below -5, the mean
    # of the four is not.
    far = np.zeros((ROWS, STEPS, WIDTH), np.float32)
    far[:, 0, 0] = 4.0
    made = model()
    old = np.full(ROWS, -2.0, np.float32)
    losses = made.loss(COND, far, *BATCH, tf.constant(old))
    mean = mean_density(far, 0.0, 1.0)
    assert (mean > -5).all()
    assert float(losses.ratio) == pytest.approx(np.exp(mean + 2.0).mean(), rel=1e-5)


@pytest.mark.parametrize("value", [-6.0, 3.0])
def test_logprobs_outside_the_range_do_not_teach_the_policy(value):
    std = 0.01 if value > 0 else 1.0
    made, actions = model(0.0, std), np.zeros((ROWS, STEPS, WIDTH), np.float32)
    if value < 0:
        actions += 4.0
    assert (np.sign(mean_density(actions, 0.0, std)) == np.sign(value)).all()
    with tf.GradientTape() as tape:
        losses = made.loss(COND, actions, *BATCH, tf.zeros([ROWS]))
    gradient = tape.gradient(losses.pg_loss, made.network.mean.value)
    np.testing.assert_array_equal(gradient, np.zeros(4))


def test_clipped_value_loss_takes_the_larger_error():
    old = mean_density(ACTIONS, 0.0, 1.0)
    plain = loss_of(model(), old).v_loss
    clipped = loss_of(model(clip_vloss_coef=0.01), old).v_loss
    assert float(clipped) > float(plain)


@pytest.mark.parametrize("mode", MODES)
def test_bc_term_scores_samples_of_the_base_policy(mode):
    old = mean_density(ACTIONS, 0.0, 1.0)
    losses = loss_of(model(), old, mode, use_bc_loss=True, noise=NOISE)
    sampled = -1.0 + 0.5 * NOISE[0]
    expected = -np.clip(mean_density(sampled, 0.0, 1.0), -5, 2).mean()
    assert float(losses.bc_loss) == pytest.approx(expected, rel=1e-5)


def test_bc_term_teaches_the_trained_policy_only():
    made = model()
    watched = [made.network.mean.value, made.actor.mean.value]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = made.bc_loss(COND, NOISE)
    trained, base = tape.gradient(loss, watched)
    assert np.abs(trained).max() > 0
    assert base is None


def test_actor_and_critic_learn_from_their_own_terms():
    made = model()
    with tf.GradientTape(persistent=True) as tape:
        losses = made.loss(
            COND, ACTIONS, *BATCH, tf.constant(mean_density(ACTIONS, 0, 1), tf.float32)
        )
    actor, critic = made.network.mean.value, made.critic.factor.value
    assert np.abs(tape.gradient(losses.pg_loss, actor)).max() > 0
    assert tape.gradient(losses.pg_loss, critic) is None
    assert np.abs(tape.gradient(losses.v_loss, critic)) > 0
    assert tape.gradient(losses.v_loss, actor) is None
