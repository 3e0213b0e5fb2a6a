import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_ppo_exact import PPOExactDiffusion
from model.diffusion.mlp_diffusion import DiffusionMLP
from model.diffusion.sde_lib import VPSDE
from tests.model.fakes import MeanCritic, normal, states
from tests.model.rl.transitions import parts_of_state, trained_parts
from tests.modes import MODES, in_mode

ROWS, STEPS, WIDTH, TOTAL = 6, 2, 2, 4
OBS = states(ROWS)
SAMPLES = tf.constant(np.tanh(normal(ROWS, STEPS, WIDTH)))
PROBES = [np.random.default_rng(0).integers(0, 2, (ROWS, STEPS, WIDTH))]


def model(**options) -> PPOExactDiffusion:
    defaults = {
        "sde": VPSDE(TOTAL),
        "sde_probability_flow": True,
        "clip_ploss_coef": 0.02,
        "ft_denoising_steps": 2,
        "denoising_steps": TOTAL,
    }
    return PPOExactDiffusion(
        actor=DiffusionMLP(WIDTH, STEPS, 2, 4, [8], activation_type="Mish"),
        critic=MeanCritic(2.0),
        horizon_steps=STEPS,
        obs_dim=2,
        action_dim=WIDTH,
        **{**defaults, **options},
    )


def batch(made: PPOExactDiffusion, shift: np.ndarray | float = 0.0) -> dict:
    """A minibatch whose old log-probabilities are `shift` below the new ones."""
    draw = normal(3, ROWS, seed=1)
    return {
        "obs": OBS,
        "samples": SAMPLES,
        "returns": tf.constant(draw[0]),
        "oldvalues": tf.constant(draw[1]),
        "advantages": tf.constant(draw[2]),
        "oldlogprobs": made.get_exact_logprobs(OBS, SAMPLES, PROBES) - shift,
        "noise": PROBES,
    }


@pytest.mark.parametrize("mode", MODES)
def test_all_terms_by_closed_form(mode):
    made = model(clip_vloss_coef=0.2)
    shift = 0.03 * normal(ROWS, seed=5)
    data = batch(made, shift)
    losses = in_mode(lambda data: made.loss(**data), mode)(data)

    new = made.get_exact_logprobs(OBS, SAMPLES, PROBES).numpy()
    logratio = np.clip(new, -5, 2) - np.clip(new - shift, -5, 2)
    ratio, advantages = np.exp(logratio), data["advantages"].numpy()
    weights = (advantages - advantages.mean()) / advantages.std(ddof=1)
    value = 2.0 * np.mean(OBS["state"], axis=(1, 2))
    old, returns = data["oldvalues"].numpy(), data["returns"].numpy()
    near = old + np.clip(value - old, -0.2, 0.2)
    errors = np.maximum((value - returns) ** 2, (near - returns) ** 2)
    expected = {
        "pg_loss": np.mean(
            np.maximum(-weights * ratio, -weights * np.clip(ratio, 0.98, 1.02))
        ),
        "v_loss": 0.5 * np.mean(errors),
        "clipfrac": np.mean(np.abs(ratio - 1) > 0.02),
        "approx_kl": np.mean(ratio - 1 - logratio),
        "ratio": np.mean(ratio),
        "bc_loss": 0.0,
    }
    assert list(losses._fields) == list(expected)
    assert 0 < expected["clipfrac"] < 1
    for name, number in expected.items():
        actual = getattr(losses, name).numpy()
        assert actual == pytest.approx(number, rel=2e-3, abs=1e-5), name


def test_unchanged_policy_has_ratio_one_with_equal_probes_only():
    made = model()
    data = batch(made)
    assert made.loss(**data).ratio.numpy() == pytest.approx(1.0, abs=1e-6)
    ratio = made.loss(**{**data, "noise": None}).ratio.numpy()
    assert abs(ratio - 1.0) > 1e-4


def test_policy_gradient_raises_the_likelihood_of_good_actions():
    made = model(norm_adv=False)
    data = batch(made)
    data["advantages"] = tf.constant([1.0, 0, 0, 0, 0, 0])
    parameters = made.actor_ft.parameters()
    with tf.GradientTape() as tape:
        loss = made.loss(**data).pg_loss
    for parameter, slope in zip(parameters, tape.gradient(loss, parameters), strict=1):
        parameter.assign_sub(1e-3 * slope)
    change = made.get_exact_logprobs(OBS, SAMPLES, PROBES) - data["oldlogprobs"]
    assert change[0] > 1e-6


def test_each_term_teaches_its_own_part():
    made = model()
    data = batch(made)
    assert trained_parts(made, lambda: made.loss(**data).pg_loss) == {"actor_ft"}
    assert trained_parts(made, lambda: made.loss(**data).v_loss) == {"critic"}


def test_advantages_may_be_weighed_before():
    made = model()
    data = batch(made, 0.01)
    weighed = {**data, "advantages": made.weigh_advantages(data["advantages"])}
    expected = made.loss(**data).pg_loss.numpy()
    assert made.loss(**weighed, weighed=True).pg_loss.numpy() == pytest.approx(expected)


def test_options_reach_the_likelihood():
    made = model(
        sde_hutchinson_type="Gaussian",
        sde_eps=1e-3,
        sde_step_size=0.1,
        sde_num_epsilon=3,
        sde_min_beta=0.3,
        predict_epsilon=False,
    )
    found = made.likelihood
    assert (found.hutchinson_type, found.eps, found.step_size) == (
        "Gaussian",
        1e-3,
        0.1,
    )
    assert (found.num_epsilon, found.predict_epsilon) == (3, False)
    assert found.sde.discrete_betas.min() == np.float32(0.3)


def test_impossible_options_are_refused():
    made = model()
    with pytest.raises(ValueError, match="use_bc_loss must be false"):
        made.loss(**batch(made), use_bc_loss=True)
    with pytest.raises(ValueError, match="use_ddim must be false"):
        model(use_ddim=True, ddim_steps=2)
    with pytest.raises(ValueError, match=r"sde\.N must be denoising_steps=4, got 5"):
        model(sde=VPSDE(5))


def test_keys_of_adaptive_solvers_are_dead():
    assert {"rtol", "atol"} <= set(PPOExactDiffusion.dead_config_keys)


def test_modules_are_saved_in_the_order_of_the_reference():
    assert parts_of_state(model()) == ["network", "actor", "actor_ft", "critic"]
