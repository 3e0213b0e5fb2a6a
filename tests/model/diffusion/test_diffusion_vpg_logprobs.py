import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.eta import EtaAction
from tests.model.diffusion.closed_form import (
    alphas_cumprod,
    ddim_step,
    ddim_times,
    ddpm_step,
    log_density,
)
from tests.model.diffusion.two_policies import (
    BASE,
    COND,
    ROWS,
    STEPS,
    TUNED,
    WIDTH,
    ddim,
    model,
)
from tests.model.fakes import normal
from tests.modes import MODES, in_mode

# -- log-probabilities ----------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_ddpm_logprobs_by_closed_form(mode):
    made = model(min_logprob_denoising_std=0.3)
    chains = tf.constant(normal(ROWS, 3, STEPS, WIDTH))
    logprob, eta = in_mode(lambda c, x: made.get_logprobs(c, x, get_ent=True), mode)(
        COND, chains
    )
    assert logprob.shape == (ROWS * 2, STEPS, WIDTH)
    np.testing.assert_array_equal(eta, np.ones((ROWS * 2, STEPS, WIDTH)))
    for row in range(ROWS):
        for k, t in enumerate([1, 0]):
            mean, std = ddpm_step(chains[row, k], TUNED, t, alphas_cumprod(5))
            expected = log_density(chains[row, k + 1], mean, max(std, 0.3))
            actual = logprob[row * 2 + k]
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_ddim_logprobs_by_closed_form():
    made, times = ddim(tuned=3), ddim_times(4, 20)
    chains = tf.constant(normal(ROWS, 4, STEPS, WIDTH))
    logprob, eta = made.get_logprobs(COND, chains, get_ent=True)
    np.testing.assert_allclose(eta, np.full((ROWS * 3, 1, 1), 0.7), rtol=1e-6)
    for row in range(ROWS):
        for k in range(3):
            mean, std = ddim_step(
                chains[row, k], TUNED, k + 1, times, alphas_cumprod(20), 0.7
            )
            expected = log_density(chains[row, k + 1], mean, max(std, 0.1))
            actual = logprob[row * 3 + k]
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("build", [model, ddim])
def test_single_steps_have_the_logprobs_of_their_chain(build, mode):
    made, chains = build(), normal(ROWS, 3, STEPS, WIDTH)
    every = made.get_logprobs(COND, tf.constant(chains)).numpy()
    picked = [(1, 1), (0, 0), (1, 0)]
    row, k = np.array(picked).T
    logprob = in_mode(made.get_logprobs_subsample, mode)(
        {"state": tf.gather(COND["state"], row)},
        tf.constant(chains[row, k]),
        tf.constant(chains[row, k + 1]),
        tf.constant(k),
    )
    np.testing.assert_allclose(logprob, every[row * 2 + k], rtol=1e-5, atol=1e-6)


def test_base_policy_can_score():
    made, chains = model(), tf.constant(normal(ROWS, 3, STEPS, WIDTH))
    before = made.get_logprobs(COND, chains, use_base_policy=True)
    made.actor_ft.value.assign(BASE)
    np.testing.assert_allclose(made.get_logprobs(COND, chains), before, rtol=1e-6)


def test_likelihood_teaches_the_fine_tuned_policy_only():
    made, chains = model(), tf.constant(normal(ROWS, 3, STEPS, WIDTH))
    with tf.GradientTape(persistent=True) as tape:
        tuned = tf.reduce_sum(made.get_logprobs(COND, chains))
        base = tf.reduce_sum(made.get_logprobs(COND, chains, use_base_policy=True))
    variables = [made.actor.value, made.actor_ft.value]
    frozen, trained = tape.gradient(tuned, variables)
    assert frozen is None
    assert trained.numpy() != 0
    assert tape.gradient(base, variables) == [None, None]


def test_learned_eta_gets_a_gradient_and_a_frozen_one_does_not():
    chains = tf.constant(normal(ROWS, 3, STEPS, WIDTH))
    for learn in (True, False):
        made = ddim(eta=EtaAction(WIDTH, 0.7), learn_eta=learn)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(made.get_logprobs(COND, chains))
        gradient = tape.gradient(total, made.eta.eta_logit)
        assert (gradient is not None and bool(np.all(gradient != 0))) is learn
