import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion_vpg import VPGDiffusion
from tests.model.diffusion.closed_form import (
    alphas_cumprod,
    ddim_step,
    ddim_times,
    ddpm_step,
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
    noise,
)
from tests.model.fakes import ConstantPrediction, MeanCritic, normal, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.torch_file_writer import save_torch_file

# -- construction ---------------------------------------------------------------------


def test_modules_are_saved_in_the_order_of_the_reference():
    made = ddim()
    assert list(made.state_dict()) == [
        "network.value",
        "eta.eta_logit",
        "actor.value",
        "actor_ft.value",
        "critic.factor",
    ]
    names = [name for name, _ in made.named_parameters()]
    assert names == [
        "network.value",
        "eta.eta_logit",
        "actor_ft.value",
        "critic.factor",
    ]


def test_base_policy_is_frozen_and_the_copy_is_trained():
    made = ddim()
    trained = {name: p.requires_grad for name, p in made.named_parameters()}
    assert trained == {
        "network.value": False,
        "eta.eta_logit": False,
        "actor_ft.value": True,
        "critic.factor": True,
    }
    assert ddim(learn_eta=True).eta.eta_logit.requires_grad


def test_copy_starts_equal_and_is_independent():
    actor = ConstantPrediction(0.3)
    actor.value.assign(0.45)
    made = VPGDiffusion(
        actor, MeanCritic(), 2, horizon_steps=2, obs_dim=2, action_dim=3
    )
    assert made.actor is made.network is actor
    assert made.actor_ft.value.numpy() == np.float32(0.45)
    made.actor_ft.value.assign(1.0)
    assert made.actor.value.numpy() == np.float32(0.45)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: model(5, 6), "must be in 0..denoising_steps=5, got 6"),
        (lambda: model(5, -1), "must be in 0..denoising_steps=5, got -1"),
        (lambda: ddim(5), "must be in 0..ddim_steps=4, got 5"),
        (lambda: model(learn_eta=True), "learn_eta needs use_ddim=True"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="min_sampling_std"):
        model(min_sampling_std=0.1)


# -- posterior ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("use_base_policy", [False, True])
def test_network_is_chosen_row_by_row_ddpm(use_base_policy, mode):
    made, x, t = model(tuned=2), normal(4, 2, 3), [4, 2, 1, 0]
    mean, _, eta = in_mode(
        lambda x, t: made.p_mean_var(x, t, states(4), use_base_policy=use_base_policy),
        mode,
    )(tf.constant(x), tf.constant(t, tf.int64))
    for row, step in enumerate(t):
        tuned = step < 2 and not use_base_policy
        expected, _ = ddpm_step(
            x[row], TUNED if tuned else BASE, step, alphas_cumprod(5)
        )
        np.testing.assert_allclose(mean[row], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(eta, np.ones((4, 2, 3)))


@pytest.mark.parametrize(("deterministic", "eta"), [(False, 0.7), (True, 0.0)])
def test_network_is_chosen_row_by_row_ddim(deterministic, eta):
    made, x, times = ddim(tuned=1), normal(4, 2, 3), ddim_times(4, 20)
    mean, logvar, used = made.p_mean_var(
        tf.constant(x),
        tf.constant(times, tf.int64),
        states(4),
        index=tf.constant([0, 1, 2, 3], tf.int64),
        deterministic=deterministic,
    )
    np.testing.assert_allclose(used, np.full((4, 1, 1), eta), rtol=1e-6)
    for i in range(4):
        value = TUNED if i == 3 else BASE
        expected, std = ddim_step(x[i], value, i, times, alphas_cumprod(20), eta)
        np.testing.assert_allclose(mean[i], expected, rtol=1e-4, atol=1e-5)
        std = max(std, 1e-10)
        assert np.exp(logvar[i, 0, 0] / 2) == pytest.approx(std, rel=1e-3)


def test_exploring_ddim_needs_an_eta():
    made = ddim(eta=None)
    assert made(COND, deterministic=True).chains.shape == (ROWS, 3, STEPS, WIDTH)
    with pytest.raises(ValueError, match="DDIM with exploration needs model.eta"):
        made(COND)


# -- sampling -------------------------------------------------------------------------


def chain_by_hand(z, steps=5, tuned=2, floor=0.1, deterministic=False, base=False):
    """Every action of the DDPM sampler, the first `tuned` + 1 from the end."""
    x, abar = z[0], alphas_cumprod(steps)
    kept = [x]
    for position, t in enumerate(range(steps - 1, -1, -1)):
        value = TUNED if t < tuned and not base else BASE
        mean, std = ddpm_step(x, value, t, abar)
        std = max(std, 1e-3 if deterministic else floor)
        x = mean + (0.0 if deterministic and t == 0 else std) * z[position + 1]
        kept.append(x)
    return np.stack(kept[-tuned - 1 :], axis=1)


@pytest.mark.parametrize(
    ("deterministic", "mode"), [*[(False, m) for m in MODES], (True, "eager")]
)
def test_ddpm_chain_replays_its_noise(deterministic, mode):
    made, z = model(min_sampling_denoising_std=0.2), noise(6)
    sample = in_mode(lambda c: made(c, deterministic, noise=z), mode)(COND)
    expected = chain_by_hand(z, floor=0.2, deterministic=deterministic)
    assert sample.chains.shape == (ROWS, 3, STEPS, WIDTH)
    np.testing.assert_allclose(sample.chains, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(sample.trajectories, sample.chains[:, -1])


@pytest.mark.parametrize("tuned", [0, 1, 5])
def test_chain_holds_the_fine_tuned_steps(tuned):
    z = noise(6)
    sample = model(tuned=tuned)(COND, noise=z)
    expected = chain_by_hand(z, tuned=tuned)
    assert sample.chains.shape == (ROWS, tuned + 1, STEPS, WIDTH)
    np.testing.assert_allclose(sample.chains, expected, rtol=1e-4, atol=1e-4)


def test_base_policy_can_sample_every_step():
    z = noise(6)
    sample = model()(COND, use_base_policy=True, noise=z)
    expected = chain_by_hand(z, base=True)
    np.testing.assert_allclose(sample.chains, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tuned", [2, 5])
def test_chain_can_be_left_out(tuned):
    made, z = model(tuned=tuned), noise(6)
    sample = made(COND, return_chain=False, noise=z)
    assert sample.chains is None
    np.testing.assert_array_equal(sample.trajectories, made(COND, noise=z).trajectories)


@pytest.mark.parametrize(
    ("deterministic", "mode"), [*[(False, m) for m in MODES], (True, "eager")]
)
def test_ddim_chain_replays_its_noise(deterministic, mode):
    made, z, times = ddim(min_sampling_denoising_std=0.05), noise(5), ddim_times(4, 20)
    sample = in_mode(lambda c: made(c, deterministic, noise=z), mode)(COND)
    x, eta, kept = z[0], 0.0 if deterministic else 0.7, []
    for i in range(4):
        value = TUNED if i >= 2 else BASE
        mean, std = ddim_step(x, value, i, times, alphas_cumprod(20), eta)
        x = mean + (0.0 if deterministic else max(std, 0.05)) * z[i + 1]
        kept.append(x)
    expected = np.stack(kept[-3:], axis=1)
    np.testing.assert_allclose(sample.chains, expected, rtol=1e-4, atol=1e-4)


# -- annealing ------------------------------------------------------------------------


class Falling:
    """A floor of the exploration noise that halves at each step."""

    def __init__(self):
        self.value = 0.8

    def __call__(self):
        return self.value

    def step(self):
        self.value /= 2


@pytest.mark.parametrize("mode", MODES)
def test_scheduled_noise_reaches_compiled_code(mode):
    made, z = model(min_sampling_denoising_std=Falling()), noise(6)
    sample = in_mode(lambda c: made(c, noise=z).chains, mode)
    for floor in (0.8, 0.4, 0.2):
        assert made.get_min_sampling_denoising_std() == floor
        expected = chain_by_hand(z, floor=floor)
        np.testing.assert_allclose(sample(COND), expected, rtol=1e-4, atol=1e-4)
        assert made.step() is False


@pytest.mark.parametrize("floor", [1, 0.25])
def test_constant_noise_may_be_a_whole_number(floor):
    made = model(min_sampling_denoising_std=floor)
    made.step()
    assert made.get_min_sampling_denoising_std() == float(floor)
    assert made.sampling_floor.numpy() == floor


def test_fewer_fine_tuned_steps_after_each_interval():
    made = model(tuned=3, ft_denoising_steps_d=2, ft_denoising_steps_t=2)
    changes = [made.step() for _ in range(6)]
    assert changes == [False, True, False, True, False, False]
    assert made.ft_denoising_steps == 0


def test_annealing_makes_the_fine_tuned_policy_the_base():
    made = model(tuned=3, ft_denoising_steps_d=1, ft_denoising_steps_t=1)
    trained = made.actor_ft.value
    assert made.step() is True
    assert made.actor.value.numpy() == made.network.value.numpy() == np.float32(TUNED)
    assert not made.actor.value.requires_grad
    # The optimizer goes on with the variable it has.
    assert made.actor_ft.value is trained
    assert trained.requires_grad
    trained.assign(0.9)
    assert made.actor.value.numpy() == np.float32(TUNED)


@pytest.mark.parametrize(("fewer", "every"), [(0, 1), (1, 0)])
def test_no_annealing_by_default(fewer, every):
    made = model(ft_denoising_steps_d=fewer, ft_denoising_steps_t=every)
    assert not any(made.step() for _ in range(3))
    assert made.ft_denoising_steps == 2
    assert made.actor.value.numpy() == np.float32(BASE)


# -- REINFORCE ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_reinforce_by_closed_form(mode):
    made = model(steps=3, tuned=3)
    chains, reward = (
        tf.constant(normal(ROWS, 4, STEPS, WIDTH)),
        tf.constant([1.0, -2.0]),
    )
    actor, critic, eta = in_mode(made.loss, mode)(COND, chains, reward)
    value = np.mean(COND["state"], axis=(1, 2))
    logprob = made.get_logprobs(COND, chains).numpy().reshape(ROWS, 3, STEPS, WIDTH)
    joint = logprob.sum(-1).mean(axis=(1, 2))
    assert actor.numpy() == pytest.approx(np.mean(-joint * (reward - value)), rel=1e-4)
    assert critic.numpy() == pytest.approx(np.mean((value - reward) ** 2), rel=1e-5)
    assert eta.shape == (ROWS * 3, STEPS, WIDTH)


def test_reinforce_keeps_actor_and_critic_apart():
    made, chains = model(steps=3, tuned=3), tf.constant(normal(ROWS, 4, STEPS, WIDTH))
    with tf.GradientTape(persistent=True) as tape:
        actor, critic, _ = made.loss(COND, chains, tf.constant([1.0, -2.0]))
    variables = [made.actor_ft.value, made.critic.factor]
    given = [
        [g is not None for g in tape.gradient(x, variables)] for x in (actor, critic)
    ]
    assert given == [[True, False], [False, True]]


def test_reinforce_needs_all_steps():
    chains = tf.zeros([ROWS, 3, STEPS, WIDTH])
    with pytest.raises(ValueError, match="equal to all 5 steps, got 2"):
        model().loss(COND, chains, tf.zeros([ROWS]))


# -- starting from a checkpoint -------------------------------------------------------


def tuned_state() -> dict[str, np.ndarray]:
    """Each entry has a value of its own."""
    keys = ("network.value", "actor.value", "actor_ft.value", "critic.factor")
    return {key: np.array(i + 1, np.float32) for i, key in enumerate(keys)}


def values(made: VPGDiffusion) -> list[float]:
    parts = (made.actor.value, made.actor_ft.value, made.critic.factor)
    return [float(v.numpy()) for v in parts]


def from_file(path) -> VPGDiffusion:
    return VPGDiffusion(
        ConstantPrediction(BASE),
        MeanCritic(9.0),
        2,
        network_path=str(path),
        horizon_steps=STEPS,
        obs_dim=2,
        action_dim=WIDTH,
    )


@pytest.mark.parametrize("own", [True, False])
def test_fine_tuned_file_restores_everything(tmp_path, own):
    path = tmp_path / ("state_1" if own else "state_1.pt")
    content = {"model": tuned_state(), "itr": 1}
    save_state(path, content, {}) if own else save_torch_file(content, path)
    # actor is read after network and is the same variable.
    assert values(from_file(path)) == [2.0, 3.0, 4.0]


def test_pretrained_file_starts_both_policies_and_leaves_the_critic(tmp_path):
    average = {"network.value": np.array(5.0, np.float32)}
    save_torch_file({"model": tuned_state(), "ema": average}, tmp_path / "a.pt")
    assert values(from_file(tmp_path / "a.pt")) == [5.0, 5.0, 9.0]


def test_file_of_another_critic_is_refused(tmp_path):
    state = {**tuned_state(), "critic.factor": np.zeros(3, np.float32)}
    save_torch_file({"model": state}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt is of another task .*critic.factor"):
        from_file(tmp_path / "a.pt")
