import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.sampling import cosine_beta_schedule
from model.diffusion.sde_lib import VPSDE, get_score_fn
from tests.model.fakes import normal
from tests.modes import MODES, in_mode
from util.config import compat_scope

STEPS = 5
BETAS = cosine_beta_schedule(STEPS)
ABAR = np.cumprod(1 - np.float64(BETAS))
X, T = tf.constant(normal(3, 2, 2)), tf.constant([0, 2, 4], tf.int64)


def column(values) -> np.ndarray:
    """Values of the rows' steps, (B, 1, 1)."""
    return np.float64(values)[T.numpy()][:, None, None]


@pytest.fixture
def sde() -> VPSDE:
    made = VPSDE(STEPS)
    made.set_betas(BETAS, min_beta=1e-10)
    return made


# -- the equation ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_equation_has_the_speed_of_the_policy(sde, mode):
    drift, diffusion = in_mode(sde.sde, mode)(X, T)
    np.testing.assert_allclose(drift, -0.5 * STEPS * column(BETAS) * X, rtol=1e-5)
    np.testing.assert_allclose(
        diffusion, np.sqrt(STEPS * column(BETAS))[:, 0, 0], rtol=1e-5
    )


def test_equation_is_slower_in_the_reference(sde):
    with compat_scope({"exact_drift_scale": True}):
        drift, diffusion = sde.sde(X, T)
    np.testing.assert_allclose(drift, -0.5 * column(BETAS) * X, rtol=1e-5)
    np.testing.assert_allclose(diffusion, np.sqrt(column(BETAS))[:, 0, 0], rtol=1e-5)


def test_small_betas_are_raised():
    sde = VPSDE(STEPS)
    sde.set_betas(BETAS, min_beta=0.2)
    raised = np.maximum(BETAS, 0.2)
    assert raised[0] > BETAS[0]
    np.testing.assert_allclose(sde.discrete_betas, raised)
    np.testing.assert_allclose(sde.alphas_bar, np.cumprod(1 - raised), rtol=1e-4)


def test_schedule_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"sde\.N must be denoising_steps=5, got 1000"):
        VPSDE().set_betas(BETAS)


def test_marginal_is_that_of_q_sample(sde):
    mean, std = sde.marginal_prob(X, T)
    np.testing.assert_allclose(mean, np.sqrt(column(ABAR)) * X, rtol=1e-4)
    np.testing.assert_allclose(std, np.sqrt(1 - column(ABAR))[:, 0, 0], rtol=1e-4)


def test_prior_is_standard_normal(sde):
    z = sde.prior_sampling([1000, 2, 2], tf.random.Generator.from_seed(0))
    assert np.std(z) == pytest.approx(1.0, abs=0.05)
    densities = -0.5 * np.square(z) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(sde.prior_logp(z), densities.sum((1, 2)), rtol=1e-4)


def test_discrete_step_is_that_of_the_ddpm(sde):
    change, noise = sde.discretize(X, tf.constant([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(
        X + change, np.sqrt(1 - column(BETAS)) * X, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(noise, np.sqrt(column(BETAS))[:, 0, 0], rtol=1e-5)


# -- reversal -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_flow_has_half_the_score_and_no_noise(sde, mode):
    forward, diffusion = sde.sde(X, T)
    squared = np.square(diffusion)[:, None, None]

    def both(x, t):
        equations = [sde.reverse(lambda x, t: 2.0 * x, p) for p in (False, True)]
        return [equation.sde(x, t) for equation in equations]

    reverse, flow = in_mode(both, mode)(X, T)
    np.testing.assert_allclose(reverse[0], forward - squared * 2 * X, rtol=1e-5)
    np.testing.assert_allclose(reverse[1], diffusion)
    np.testing.assert_allclose(flow[0], forward - squared * X, rtol=1e-5)
    assert flow[1] == 0.0


def test_arguments_reach_the_score(sde):
    flow = sde.reverse(lambda x, t, shift: x + shift, probability_flow=True)
    drift = flow.sde(X, T, shift=1.0)[0]
    expected = -0.5 * STEPS * column(BETAS) * (2 * X + 1.0)
    np.testing.assert_allclose(drift, expected, rtol=1e-4, atol=1e-6)
    assert (flow.N, flow.T) == (STEPS, 1.0)


# -- score ----------------------------------------------------------------------------


def score_of_normal_data(deviation: float) -> np.ndarray:
    return -X / (column(ABAR) * deviation**2 + 1 - column(ABAR))


@pytest.mark.parametrize("mode", MODES)
def test_score_of_a_noise_network(sde, mode):
    exact = score_of_normal_data(0.5)
    noise = tf.constant(-np.sqrt(1 - column(ABAR)) * exact, tf.float32)
    score = get_score_fn(sde, lambda x, t: noise, predict_epsilon=True)
    np.testing.assert_allclose(in_mode(score, mode)(X, T), exact, rtol=1e-3)


def test_score_of_a_network_of_clean_actions(sde):
    exact = score_of_normal_data(0.5)
    clean = (X + (1 - column(ABAR)) * exact) / np.sqrt(column(ABAR))
    score = get_score_fn(sde, lambda x, t: tf.constant(clean, tf.float32))
    np.testing.assert_allclose(score(X, T), exact, rtol=1e-3, atol=1e-4)


def test_score_of_clean_actions_has_scales_of_a_step_in_the_reference(sde):
    score = get_score_fn(sde, lambda x, t: tf.ones_like(x))
    with compat_scope({"exact_score_of_clean_action": True}):
        found = score(X, T)
    expected = -(X - np.sqrt(1 - column(BETAS))) / column(BETAS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
