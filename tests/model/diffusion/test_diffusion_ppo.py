import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_ppo import PPODiffusion
from model.diffusion.eta import EtaAction
from tests.model.fakes import ConstantPrediction, MeanCritic, normal, states
from tests.modes import MODES, in_mode
from util.config import compat_scope

ROWS, STEPS, WIDTH = 6, 2, 3
COND = states(ROWS)
# Of the reference: 10 steps, base 1e-3, coefficient 1e-2, rate 3.
CLIP_RANGE = """.001 .001187 .001447 .00181 .002317 .003025 .004013 .005391 .007315
.01"""


def model(tuned=3, steps=5, **options) -> PPODiffusion:
    defaults = {"gamma_denoising": 0.9, "clip_ploss_coef": 0.02}
    return PPODiffusion(
        **{**defaults, **options},
        actor=ConstantPrediction(0.3),
        critic=MeanCritic(2.0),
        ft_denoising_steps=tuned,
        denoising_steps=steps,
        horizon_steps=STEPS,
        obs_dim=2,
        action_dim=WIDTH,
    )


def batch(made: PPODiffusion, shift: float = 0.0) -> dict:
    """A minibatch near the policy, its old log-probabilities `shift` below the new."""
    draw = normal(ROWS, 5, STEPS, WIDTH)
    prev = tf.constant(draw[:, 0])
    inds = tf.range(ROWS, dtype=tf.int64) % made.ft_denoising_steps
    next_ = tf.constant(0.3 * draw[:, 0] + 0.1 * draw[:, 1])
    old = made.get_logprobs_subsample(COND, prev, next_, inds)
    return {
        "obs": COND,
        "chains_prev": prev,
        "chains_next": next_,
        "denoising_inds": inds,
        "returns": tf.constant(draw[:, 2, 0, 0]),
        "oldvalues": tf.constant(draw[:, 3, 0, 0]),
        "advantages": tf.constant(draw[:, 4, 0, 0]),
        "oldlogprobs": old - shift,
    }


# -- clip range -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_clip_range_is_that_of_the_reference(mode):
    made = model(10, 10, clip_ploss_coef=1e-2, clip_ploss_coef_base=1e-3)
    clip = in_mode(made.clip_range, mode)(tf.range(10))
    np.testing.assert_allclose(clip, [float(c) for c in CLIP_RANGE.split()], atol=6e-7)


def test_equal_bounds_give_one_range():
    made = model(clip_ploss_coef=0.1, clip_ploss_coef_base=0.1, clip_ploss_coef_rate=1)
    np.testing.assert_allclose(made.clip_range(tf.range(3)), np.full(3, 0.1), rtol=1e-6)


def test_a_single_step_has_the_range_of_the_clean_one():
    clip = model(1, clip_ploss_coef=0.02).clip_range(tf.constant([0, 0]))
    np.testing.assert_allclose(clip, [0.02, 0.02], rtol=1e-6)


def test_a_single_step_has_no_range_in_the_reference():
    with compat_scope({"single_step_clip_nan": True}):
        assert np.isnan(model(1).clip_range(tf.constant([0]))).all()
        clip = model(2, clip_ploss_coef=0.02).clip_range(tf.constant([0, 1]))
    np.testing.assert_allclose(clip, [0.001, 0.02], rtol=1e-5)


def test_a_single_step_learns():
    made = model(1)
    data = batch(made)
    with tf.GradientTape() as tape:
        losses = made.loss(**data)
    assert np.isfinite(losses.pg_loss)
    assert np.isfinite(tape.gradient(losses.pg_loss, made.actor_ft.value))


# -- advantages -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_advantages_are_discounted_towards_the_noise(mode):
    made = model(norm_adv=False)
    weighted = in_mode(made.weigh_advantages, mode)(
        tf.constant([1.0, 1.0, -2.0]), tf.constant([0, 1, 2])
    )
    np.testing.assert_allclose(weighted, [0.81, 0.9, -2.0], rtol=1e-6)


def test_advantages_are_normalised_then_clipped_then_discounted():
    made = model(clip_advantage_lower_quantile=0.25, clip_advantage_upper_quantile=0.75)
    values, inds = np.float32([1, 5, 2, 9, 3]), [0, 0, 1, 2, 2]
    weighted = made.weigh_advantages(tf.constant(values), tf.constant(inds))
    scaled = (values - values.mean()) / (values.std(ddof=1) + 1e-8)
    clipped = np.clip(scaled, *np.quantile(scaled, [0.25, 0.75]))
    expected = clipped * 0.9 ** (2 - np.array(inds))
    np.testing.assert_allclose(weighted, expected, rtol=1e-5)


# -- loss -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_all_terms_by_closed_form(mode):
    made = model(clip_vloss_coef=0.2, clip_ploss_coef_base=0.01)
    data = batch(made, shift=normal(ROWS, 1, 1, seed=5) * 0.03)
    losses = in_mode(lambda data: made.loss(**data, reward_horizon=1), mode)(data)

    new = made.get_logprobs_subsample(
        COND, data["chains_prev"], data["chains_next"], data["denoising_inds"]
    )
    new, old = (
        np.clip(x, -5, 2)[:, :1].mean((1, 2)) for x in (new, data["oldlogprobs"])
    )
    logratio, ratio = new - old, np.exp(new - old)
    inds = data["denoising_inds"].numpy()
    clip = 0.01 + 0.01 * np.expm1(3 * inds / 2) / np.expm1(3)
    advantages = data["advantages"].numpy()
    scaled = (advantages - advantages.mean()) / advantages.std(ddof=1)
    weighted = scaled * 0.9 ** (2 - inds)
    value = 2.0 * np.mean(COND["state"], axis=(1, 2))
    old_value, returns = data["oldvalues"].numpy(), data["returns"].numpy()
    near = old_value + np.clip(value - old_value, -0.2, 0.2)
    expected = {
        "pg_loss": np.mean(
            np.maximum(
                -weighted * ratio, -weighted * np.clip(ratio, 1 - clip, 1 + clip)
            )
        ),
        "entropy_loss": -1.0,
        "v_loss": 0.5
        * np.mean(np.maximum((value - returns) ** 2, (near - returns) ** 2)),
        "clipfrac": np.mean(np.abs(ratio - 1) > clip),
        "approx_kl": np.mean(ratio - 1 - logratio),
        "ratio": np.mean(ratio),
        "bc_loss": 0.0,
        "eta": 1.0,
    }
    assert list(losses._fields) == list(expected)
    assert 0 < expected["clipfrac"] < 1
    for name, value in expected.items():
        actual = getattr(losses, name).numpy()
        assert actual == pytest.approx(value, rel=1e-3, abs=1e-6), name


def test_unchanged_policy_has_ratio_one_and_the_plain_gradient():
    made = model(norm_adv=False)
    data = batch(made)
    with tf.GradientTape(persistent=True) as tape:
        losses = made.loss(**data)
        logprob = made.get_logprobs_subsample(
            COND, data["chains_prev"], data["chains_next"], data["denoising_inds"]
        )
        mean = tf.reduce_mean(tf.clip_by_value(logprob, -5.0, 2.0), axis=[1, 2])
        weights = made.weigh_advantages(data["advantages"], data["denoising_inds"])
        plain = -tf.reduce_mean(weights * mean)
    assert losses.ratio.numpy() == pytest.approx(1.0)
    assert losses.approx_kl.numpy() == pytest.approx(0.0, abs=1e-7)
    assert losses.clipfrac.numpy() == 0.0
    variable = made.actor_ft.value
    expected = tape.gradient(plain, variable).numpy()
    assert tape.gradient(losses.pg_loss, variable).numpy() == pytest.approx(
        expected, rel=1e-4
    )


def test_each_term_teaches_its_own_part():
    made, names = model(), ("actor", "actor_ft", "critic")
    with tf.GradientTape(persistent=True) as tape:
        losses = made.loss(**batch(made, shift=0.001))
    variables = [made.actor.value, made.actor_ft.value, made.critic.factor]
    taught = {
        term: [
            name
            for name, gradient in zip(
                names, tape.gradient(getattr(losses, term), variables), strict=True
            )
            if gradient is not None
        ]
        for term in losses._fields
    }
    assert taught.pop("pg_loss") == ["actor_ft"]
    assert taught.pop("v_loss") == ["critic"]
    assert not any(taught.values())


def test_steps_beyond_the_executed_ones_do_not_count():
    made = model()
    data = batch(made, shift=0.01)
    changed = data["oldlogprobs"].numpy()
    changed[:, 1:] -= 1.0
    first, second = (
        made.loss(**{**data, "oldlogprobs": old}, reward_horizon=1)
        for old in (data["oldlogprobs"], tf.constant(changed))
    )
    assert first.pg_loss.numpy() == second.pg_loss.numpy()
    whole = made.loss(**{**data, "oldlogprobs": tf.constant(changed)}, reward_horizon=2)
    assert whole.ratio.numpy() > first.ratio.numpy() + 0.1


def test_ddim_reports_and_learns_its_eta():
    made = PPODiffusion(
        gamma_denoising=0.9,
        clip_ploss_coef=0.02,
        actor=ConstantPrediction(0.3),
        critic=MeanCritic(),
        ft_denoising_steps=3,
        denoising_steps=20,
        horizon_steps=STEPS,
        obs_dim=2,
        action_dim=WIDTH,
        use_ddim=True,
        ddim_steps=4,
        eta=EtaAction(WIDTH, 0.7),
        learn_eta=True,
    )
    with tf.GradientTape() as tape:
        losses = made.loss(**batch(made))
        total = losses.pg_loss + losses.entropy_loss
    assert losses.eta.numpy() == pytest.approx(0.7, rel=1e-5)
    assert losses.entropy_loss.numpy() == pytest.approx(-0.7, rel=1e-5)
    assert np.all(tape.gradient(total, made.eta.eta_logit) != 0)


# -- behaviour cloning term -----------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_bc_term_scores_samples_of_the_base_policy(mode):
    made = model()
    made.actor_ft.value.assign(0.6)
    noise = [normal(ROWS, STEPS, WIDTH, seed=i) for i in range(6)]
    data = batch(made)
    losses = in_mode(
        lambda data: made.loss(**data, use_bc_loss=True, noise=noise), mode
    )(data)
    chains = made.forward(COND, use_base_policy=True, noise=noise).chains
    expected = -np.mean(np.clip(made.get_logprobs(COND, chains), -5, 2))
    assert losses.bc_loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_bc_term_teaches_the_fine_tuned_policy_only():
    made = model()
    made.actor_ft.value.assign(0.6)
    with tf.GradientTape() as tape:
        loss = made.bc_loss(COND)
    frozen, tuned = tape.gradient(loss, [made.actor.value, made.actor_ft.value])
    assert frozen is None
    assert tuned.numpy() > 0  # downhill is towards the base policy's 0.3


# -- construction ---------------------------------------------------------------------


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="clip_ploss'"):
        model(clip_ploss=0.1)
