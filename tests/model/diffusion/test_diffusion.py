import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.diffusion import DiffusionModel
from model.diffusion.mlp_diffusion import DiffusionMLP
from tests.model.diffusion.closed_form import (
    alphas_cumprod,
    ddim_step,
    ddim_times,
    ddpm_step,
)
from tests.model.fakes import ConstantPrediction, StepPrediction, normal, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.torch_file_writer import save_torch_file

ROWS, STEPS, WIDTH = 2, 2, 3
SHAPE = (ROWS, STEPS, WIDTH)
SIZES = {"horizon_steps": STEPS, "obs_dim": 2, "action_dim": WIDTH}
COND = states(ROWS)


def model(network=None, steps=5, **options) -> DiffusionModel:
    network = ConstantPrediction(0.3) if network is None else network
    return DiffusionModel(network, **{**SIZES, "denoising_steps": steps, **options})


def ddim(network=None, steps=20, ddim_steps=4, **options) -> DiffusionModel:
    return model(network, steps, use_ddim=True, ddim_steps=ddim_steps, **options)


def rows(*values) -> tf.Tensor:
    return tf.constant(values, tf.int64)


# -- schedules ------------------------------------------------------------------------


def test_ddpm_schedule_is_that_of_the_reference():
    made, at = model(steps=20), [0, 1, 10, 18, 19]
    expected = {
        "ddpm_mu_coef1": [0.9999971, 0.7164648, 0.1890189, 0.116883, 0.07776634],
        "ddpm_mu_coef2": [0, 0.2835139, 0.7961928, 0.492423, 0.03143114],
        "ddpm_logvar_clipped": [
            -46.0517,
            -5.158635,
            -1.99405,
            -0.3080246,
            -0.007072485,
        ],
        "sqrt_recip_alphas_cumprod": [1.00402, 1.014253, 1.549854, 12.84625, 406.2368],
    }
    for name, values in expected.items():
        array = getattr(made, name)
        assert array.dtype == np.float32
        assert array.shape == (20,)
        np.testing.assert_allclose(array[at], values, rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(
        made.alphas_cumprod[[0, -2, -1]], [0.992007, 0.00605964, 6.05957e-6], rtol=1e-5
    )
    assert model(steps=100).alphas_cumprod[99] == pytest.approx(2.42854e-7, rel=1e-4)


def test_ddim_schedule_is_that_of_the_reference():
    made = ddim(steps=100, ddim_steps=5)
    np.testing.assert_array_equal(made.ddim_t, [80, 60, 40, 20, 0])
    alphas = [0.08514620, 0.32611522, 0.63251567, 0.88910311, 0.99936873]
    np.testing.assert_allclose(made.ddim_alphas, alphas, rtol=1e-5)
    np.testing.assert_allclose(made.ddim_alphas_prev, [*alphas[1:], 1.0], rtol=1e-5)
    np.testing.assert_array_equal(made.ddim_sigmas, np.zeros(5))


def test_ddim_steps_need_not_divide_the_denoising_steps():
    made = ddim(steps=100, ddim_steps=8)
    np.testing.assert_array_equal(made.ddim_t, np.arange(84, -1, -12))
    np.testing.assert_array_equal(ddim(steps=3, ddim_steps=3).ddim_t, [2, 1, 0])


def test_sampling_runs_from_the_noisiest_step():
    np.testing.assert_array_equal(model().sampling_t, [4, 3, 2, 1, 0])
    np.testing.assert_array_equal(ddim().sampling_t, [15, 10, 5, 0])


# -- posterior ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_ddpm_posterior_by_closed_form(mode):
    made, x, t = model(StepPrediction(0.1), steps=20), normal(3, 2, 3), [0, 7, 19]
    mean, logvar = in_mode(made.p_mean_var, mode)(tf.constant(x), rows(*t), states(3))
    assert mean.shape == x.shape
    assert logvar.shape == (3, 1, 1)
    abar = alphas_cumprod(20)
    for row, step in enumerate(t):
        expected, std = ddpm_step(x[row], 0.1 * step, step, abar)
        np.testing.assert_allclose(mean[row], expected, rtol=1e-4, atol=1e-5)
        assert np.exp(0.5 * logvar[row, 0, 0]) == pytest.approx(
            max(std, 1e-10), rel=1e-4
        )


@pytest.mark.parametrize("mode", MODES[:2])
def test_ddim_posterior_by_closed_form(mode):
    made, x = ddim(StepPrediction(0.1), eps_clip_value=0.8), normal(4, 2, 3)
    positions, times = [0, 1, 2, 3], ddim_times(4, 20)
    mean, logvar = in_mode(made.p_mean_var, mode)(
        tf.constant(x), rows(*times), states(4), index=rows(*positions)
    )
    abar = alphas_cumprod(20)
    for i in positions:
        expected, _ = ddim_step(x[i], 0.1 * times[i], i, times, abar, eps_clip=0.8)
        np.testing.assert_allclose(mean[i], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(logvar, np.full((4, 1, 1), -np.inf))


@pytest.mark.parametrize("eta", [0.4, 1.0])
def test_ddim_posterior_with_noise_by_closed_form(eta):
    made, x, times = ddim(), normal(4, 2, 3), ddim_times(4, 20)
    prediction = tf.fill(x.shape, 0.3)
    mean, logvar = made.posterior(
        x, prediction, rows(*times), rows(0, 1, 2, 3), tf.fill([4, 1, 1], eta)
    )
    for i in range(4):
        expected, std = ddim_step(x[i], 0.3, i, times, alphas_cumprod(20), eta)
        np.testing.assert_allclose(mean[i], expected, rtol=1e-4, atol=1e-5)
        assert np.exp(0.5 * logvar[i, 0, 0]) == pytest.approx(max(std, 1e-10), rel=1e-3)


def test_ddim_noise_of_the_reference():
    made, alphas = ddim(steps=100, ddim_steps=5), [0.7377548, 0.5139675, 0.2951086]
    zeros = tf.zeros([3, 1, 1])
    _, logvar = made.posterior(
        zeros, zeros, rows(80, 60, 40), rows(0, 1, 2), tf.ones([3, 1, 1])
    )
    np.testing.assert_allclose(np.exp(0.5 * logvar[:, 0, 0]), alphas, rtol=1e-5)


def test_eta_may_differ_between_action_dimensions():
    made, x = ddim(), normal(1, 2, 3)
    eta = tf.constant([[[0.0, 0.5, 1.0]]])
    mean, logvar = made.posterior(x, tf.zeros(x.shape), rows(10), rows(1), eta)
    assert mean.shape == (1, 2, 3)
    assert logvar.shape == (1, 1, 3)
    assert np.all(np.diff(logvar[0, 0]) > 0)


def test_predicted_clean_action_is_clipped():
    x = np.full(SHAPE, 0.5, np.float32)
    for limit, expected in ((0.25, 0.25), (1.0, 1.0), (None, 7.0)):
        made = model(
            ConstantPrediction(7.0), predict_epsilon=False, denoised_clip_value=limit
        )
        mean, _ = made.p_mean_var(x, rows(0, 0), COND)
        # At step 0 the mean is the clean action: the coefficient of x is 0.
        np.testing.assert_allclose(mean, np.full(SHAPE, expected), rtol=1e-4)


def test_clipping_stops_the_gradient():
    made = model(ConstantPrediction(7.0), predict_epsilon=False)
    with tf.GradientTape() as tape:
        mean, _ = made.p_mean_var(tf.zeros(SHAPE), rows(2, 2), COND)
    assert tape.gradient(mean, made.network.value).numpy() == 0.0


def test_ddim_noise_is_clipped_without_changing_the_clean_action():
    x = np.full(SHAPE, 0.1, np.float32)
    means = [
        ddim(
            ConstantPrediction(0.9), denoised_clip_value=None, eps_clip_value=clip
        ).p_mean_var(x, rows(5, 5), COND, index=rows(2, 2))[0]
        for clip in (None, 0.4)
    ]
    prev = alphas_cumprod(20)[0]
    change = np.sqrt(1 - prev) * (0.4 - 0.9)
    np.testing.assert_allclose(means[1] - means[0], np.full(SHAPE, change), rtol=1e-3)


def test_another_network_can_predict():
    made, x = model(ConstantPrediction(0.0)), normal(*SHAPE)
    other = model(ConstantPrediction(0.5))
    mean, _ = made.p_mean_var(x, rows(3, 1), COND, network_override=other.network)
    np.testing.assert_array_equal(mean, other.p_mean_var(x, rows(3, 1), COND)[0])


# -- sampling -------------------------------------------------------------------------


def sampled_by_hand(noise, network, steps, clip=10.0, final=np.inf):
    """DDPM with at least 1e-3 of noise, none in the last step."""
    x, abar = noise[0].astype(np.float64), alphas_cumprod(steps)
    for position, t in enumerate(range(steps - 1, -1, -1)):
        mean, std = ddpm_step(x, network(t), t, abar)
        std = max(std, 1e-3) if t else 0.0
        x = mean + std * np.clip(noise[position + 1], -clip, clip)
    return np.clip(x, -final, final)


@pytest.mark.parametrize("mode", MODES)
def test_ddpm_sample_replays_its_noise(mode):
    made = model(StepPrediction(0.1), final_action_clip_value=0.5, randn_clip_value=0.7)
    noise = [normal(*SHAPE, seed=i) for i in range(6)]
    sample = in_mode(lambda c: made(c, noise=noise), mode)(COND)
    expected = sampled_by_hand(noise, lambda t: 0.1 * t, 5, clip=0.7, final=0.5)
    assert np.abs(expected).max() == 0.5
    np.testing.assert_allclose(sample.trajectories, expected, rtol=1e-4, atol=1e-4)
    assert sample.trajectories.dtype == tf.float32
    assert sample.chains is None


@pytest.mark.parametrize("mode", MODES)
def test_ddim_sample_is_free_of_noise(mode):
    made, times = ddim(StepPrediction(0.02)), ddim_times(4, 20)
    noise = [normal(*SHAPE, seed=i) for i in range(5)]
    sample = in_mode(lambda c: made(c, noise=noise), mode)(COND)
    x, abar = noise[0], alphas_cumprod(20)
    for i in range(4):
        x, _ = ddim_step(x, 0.02 * times[i], i, times, abar)
    np.testing.assert_allclose(sample.trajectories, x, rtol=1e-4, atol=1e-4)


def test_noise_is_at_least_a_thousandth_but_in_the_last_step():
    made = model()
    low = tf.fill([2, 1, 1], -46.0)
    np.testing.assert_allclose(made.sampling_std(low, tf.constant(3), True), 1e-3)
    np.testing.assert_array_equal(made.sampling_std(low, tf.constant(0), True), 0.0)
    high = tf.fill([2, 1, 1], 2 * np.log(0.5).astype(np.float32))
    np.testing.assert_allclose(made.sampling_std(high, tf.constant(3), True), 0.5)
    np.testing.assert_array_equal(ddim().sampling_std(high, tf.constant(3), True), 0.0)


@pytest.mark.parametrize("mode", MODES[:2])
def test_samples_differ_and_follow_the_given_generator(mode):
    made = model()
    made.set_rng(tf.random.Generator.from_seed(1))
    sample = in_mode(lambda c: made(c).trajectories, mode)
    first, second = sample(COND), sample(COND)
    assert not np.array_equal(first, second)
    made.rng.reset_from_seed(1)
    np.testing.assert_array_equal(sample(COND), first)


def test_unknown_batch_size():
    made = model(DiffusionMLP(WIDTH, STEPS, 2, time_dim=4, mlp_dims=[4]), steps=2)
    spec = {"state": tf.TensorSpec([None, 1, 2])}
    function = in_mode(lambda c: made(c).trajectories, "jit", input_signature=[spec])
    for count in (1, 3):
        assert function(states(count)).shape == (count, STEPS, WIDTH)
    assert function.experimental_get_tracing_count() == 1


# -- training -------------------------------------------------------------------------


def test_q_sample_mixes_action_and_noise():
    made, x, noise = model(), normal(*SHAPE), normal(*SHAPE, seed=1)
    abar = alphas_cumprod(5)[[0, 3]].reshape(2, 1, 1)
    expected = np.sqrt(abar) * x + np.sqrt(1 - abar) * noise
    for given in (tf.constant(noise), [noise]):
        out = made.q_sample(tf.constant(x), rows(0, 3), given)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-6)
    drawn = [made.q_sample(tf.constant(x), rows(0, 3)) for _ in range(2)]
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    ("predict_epsilon", "mode"), [*[(True, m) for m in MODES], (False, "eager")]
)
def test_loss_is_the_mean_squared_error_of_the_prediction(predict_epsilon, mode):
    made = model(StepPrediction(0.1), predict_epsilon=predict_epsilon)
    x, noise, t = normal(*SHAPE), normal(*SHAPE, seed=1), np.int64([4, 1])
    loss = in_mode(lambda x, c: made.loss(x, c, noise=[t, noise]), mode)(
        tf.constant(x), COND
    )
    target = noise if predict_epsilon else x
    expected = np.mean((0.1 * t.reshape(2, 1, 1) - target) ** 2)
    assert loss.shape == ()
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_loss_is_taken_at_the_noisy_action():
    class Echo(ConstantPrediction):
        def call(self, x, time, cond, **_):
            return x

    x, noise = normal(*SHAPE), normal(*SHAPE, seed=1)
    made = model(Echo())
    loss = made.p_losses(tf.constant(x), COND, rows(0, 3), noise=[noise])
    noisy = made.q_sample(tf.constant(x), rows(0, 3), tf.constant(noise))
    assert loss.numpy() == pytest.approx(np.mean((noisy - noise) ** 2), rel=1e-5)


def test_loss_gradient_by_hand():
    made, noise = model(ConstantPrediction(0.3)), normal(*SHAPE)
    with tf.GradientTape() as tape:
        loss = made.p_losses(tf.zeros(SHAPE), COND, rows(1, 2), noise=[noise])
    gradient = tape.gradient(loss, made.network.value)
    assert gradient.numpy() == pytest.approx(2 * np.mean(0.3 - noise), rel=1e-4)


@pytest.mark.parametrize("mode", MODES[1:])
def test_loss_draws_every_step_and_fresh_noise(mode):
    made, seen = model(StepPrediction(1.0)), set()
    # A noise-free target of zero makes the error of a row the square of its step.
    zeros = tf.zeros([1, STEPS, WIDTH])
    made.predict_epsilon = False
    loss = in_mode(lambda: made.loss(zeros, states(1)), mode)
    for _ in range(60):
        seen.add(round(float(np.sqrt(loss().numpy()))))
    assert seen == {0, 1, 2, 3, 4}


# -- construction ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ddim_discretize": "quad"}, "ddim_discretize must be 'uniform', got 'quad'"),
        ({"predict_epsilon": False}, "use_ddim needs predict_epsilon=True"),
        ({"ddim_steps": None}, r"must be in 1..denoising_steps=20, got None"),
        ({"ddim_steps": 0}, r"must be in 1..denoising_steps=20, got 0"),
        ({"ddim_steps": 21}, r"must be in 1..denoising_steps=20, got 21"),
    ],
)
def test_impossible_ddim_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ddim(**options)


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="denoising_step'"):
        model(denoising_step=5)


def test_schedules_are_not_saved():
    assert list(ddim().state_dict()) == ["network.value"]


def mlp(**options) -> DiffusionMLP:
    return DiffusionMLP(WIDTH, STEPS, 2, **{"mlp_dims": [4], **options})


def weights(value: float, **options) -> dict[str, np.ndarray]:
    state = mlp(**options).state_dict()
    return {f"network.{k}": np.full_like(v, value) for k, v in state.items()}


def first_weight(made: DiffusionModel) -> float:
    return float(made.network.parameters()[0].numpy().flat[0])


@pytest.mark.parametrize(("use_ema", "value"), [(True, 2.0), (False, 1.0)])
def test_starts_from_averaged_weights_by_default(tmp_path, use_ema, value):
    content = {"model": weights(1.0), "ema": weights(2.0)}
    save_state(tmp_path / "state_9", content, {})
    save_torch_file({"epoch": 9, **content}, tmp_path / "b.pt")
    for name in ("state_9", "b.pt"):
        made = model(mlp(), network_path=str(tmp_path / name), use_ema=use_ema)
        assert first_weight(made) == value
    by_default = model(mlp(), network_path=str(tmp_path / "b.pt"))
    assert first_weight(by_default) == 2.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"time_dim": 8}, r"a.pt is of another task .*has shape"),
        ({"mlp_dims": [4, 4, 4]}, r"a.pt .*another task"),
        ({"cond_mlp_dims": [3, 2]}, r"a.pt .*unexpected .*cond_mlp.*another task"),
    ],
)
def test_checkpoint_of_another_network_is_refused(tmp_path, other, message):
    save_torch_file({"ema": weights(1.0, **other)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        model(mlp(), network_path=str(tmp_path / "a.pt"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("denoising_steps", 7), ("predict_epsilon", False), ("obs_dim", 3)],
)
def test_own_checkpoint_made_with_other_settings_is_refused(tmp_path, setting, value):
    made = model(mlp())
    meta = {**made.description(), setting: value}
    save_state(tmp_path / "state_9", {"model": made.state_dict()}, meta)
    with pytest.raises(ValueError, match=f"state_9 does not fit .*{setting}={value}"):
        model(mlp(), network_path=str(tmp_path / "state_9"))


def test_own_checkpoint_may_be_run_with_another_sampler(tmp_path):
    made = model(mlp())
    meta = made.description()
    save_state(tmp_path / "state_9", {"model": made.state_dict()}, meta)
    again = ddim(mlp(), 5, 5, network_path=str(tmp_path / "state_9"))
    assert first_weight(again) == first_weight(made)
