import numpy as np
import pytest
import tensorflow as tf

from model.common.gaussian import GaussianModel, cast_cond
from model.common.mlp_gaussian import Gaussian_MLP
from tests.model.fakes import KnownGaussian, normal, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.torch_file_writer import save_torch_file

ROWS, STEPS, WIDTH = 3, 2, 2


def policy(mean=0.0, std=1.0, **options) -> GaussianModel:
    return GaussianModel(KnownGaussian(mean, std), horizon_steps=STEPS, **options)


def log_density(x, mean, std):
    return -((x - mean) ** 2) / (2 * std**2) - np.log(std) - 0.5 * np.log(2 * np.pi)


# -- distribution and loss ------------------------------------------------------------


def test_deterministic_means_a_tiny_deviation():
    mean, std = policy(0.3, 2.0).forward_train(states(ROWS), deterministic=True)
    np.testing.assert_allclose(mean, np.full((ROWS, 4), 0.3), rtol=1e-6)
    np.testing.assert_allclose(std, np.full((ROWS, 4), 1e-4), rtol=1e-6)


def test_another_network_can_stand_in():
    model, other = policy(), KnownGaussian(5.0, 0.1)
    mean, std = model.forward_train(states(1), network_override=other)
    assert mean.numpy()[0, 0] == 5.0
    assert std.numpy()[0, 0] == np.float32(0.1)
    actions = model(states(1), network_override=other, noise=[np.zeros((1, 4))])
    assert actions.numpy()[0, 0, 0] == 5.0


@pytest.mark.parametrize("mode", MODES)
def test_loss_is_the_mean_over_elements_minus_the_entropy_bonus(mode):
    model, action = policy(0.5, 2.0), normal(ROWS, STEPS, WIDTH)
    loss, infos = in_mode(lambda a, c: model.loss(a, c, ent_coef=0.1), mode)(
        tf.constant(action), states(ROWS)
    )
    entropy = 0.5 + 0.5 * np.log(2 * np.pi) + np.log(2.0)
    expected = -np.mean(log_density(action, 0.5, 2.0)) - 0.1 * entropy
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)
    assert infos["entropy"].numpy() == pytest.approx(entropy, rel=1e-6)


def test_loss_gradient_by_hand():
    model, action = policy(0.5, 2.0), normal(ROWS, STEPS, WIDTH)
    with tf.GradientTape() as tape:
        loss, _ = model.loss(tf.constant(action), states(ROWS), ent_coef=0.0)
    by_mean, by_std = tape.gradient(loss, [model.network.mean, model.network.std])
    error = action.reshape(ROWS, 4) - 0.5
    np.testing.assert_allclose(by_mean, -error.sum(0) / 4 / 12, rtol=1e-4, atol=1e-6)
    expected = (1 / 2 - error**2 / 8).sum(0) / 12
    np.testing.assert_allclose(by_std, expected, rtol=1e-4, atol=1e-6)


# -- sampling -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_sample_replays_its_noise_within_the_clip(mode):
    model = policy(0.5, 2.0, randn_clip_value=1.5)
    noise = np.float32([[0, 1, -1, 3], [1.5, 2, -2, 0], [-9, 9, 0, 0]])
    actions = in_mode(lambda c: model(c, noise=[noise]), mode)(states(ROWS))
    assert actions.shape == (ROWS, STEPS, WIDTH)
    assert actions.dtype == tf.float32
    expected = 0.5 + 2.0 * np.clip(noise, -1.5, 1.5)
    np.testing.assert_allclose(actions, expected.reshape(3, 2, 2), rtol=1e-6)


def test_one_source_of_draws_serves_several_samples():
    model, cond = policy(mean=1.0), states(3)
    first, second = normal(3, 4, seed=1), normal(3, 4, seed=2)
    draws = model.draws([first, second])
    for noise in (first, second):
        sample = model(cond, noise=draws)
        np.testing.assert_allclose(sample, 1 + noise.reshape(3, 2, 2), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_samples_differ_and_follow_the_given_generator(mode):
    model = policy()
    sample = in_mode(lambda c: model(c), mode)
    model.set_rng(tf.random.Generator.from_seed(1))
    first, second = sample(states(ROWS)), sample(states(ROWS))
    assert not np.array_equal(first, second)
    model.rng.reset_from_seed(1)
    np.testing.assert_array_equal(sample(states(ROWS)), first)


def test_unknown_batch_size_keeps_the_chunk_shape():
    model = policy()
    spec = {"state": tf.TensorSpec([None, 1, 2])}
    function = in_mode(lambda c: model(c), "graph").get_concrete_function(spec)
    assert function.outputs[0].shape.as_list() == [None, STEPS, WIDTH]


def test_deterministic_samples_stay_near_the_mean():
    actions = policy(0.5, 2.0)(states(100), deterministic=True).numpy()
    assert 1e-5 < actions.std() < 2e-4
    assert np.abs(actions - 0.5).max() < 1e-3


@pytest.mark.parametrize("mode", MODES)
def test_logprob_is_the_joint_one_of_the_clipped_sample(mode):
    model = policy(0.5, 2.0, randn_clip_value=1.5)
    noise = normal(ROWS, 4) * 2
    _, logprob = in_mode(lambda c: model(c, get_logprob=True, noise=[noise]), mode)(
        states(ROWS)
    )
    expected = log_density(np.clip(noise, -1.5, 1.5), 0, 1).sum(1) - 4 * np.log(2.0)
    assert logprob.shape == (ROWS,)
    np.testing.assert_allclose(logprob, expected, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_squashed_logprob_is_corrected_also_near_saturation(mode):
    model = policy(0.0, 3.0, tanh_output=True)
    noise = np.float32([[0, 0.1, -0.5, 1], [2.5, 3, -3, -2.8], [-2, 2, 0, 0]])
    actions, logprob = in_mode(
        lambda c: model(c, get_logprob=True, noise=[noise]), mode
    )(states(ROWS))
    squashed = np.tanh(3.0 * noise.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(actions, squashed.reshape(3, 2, 2), rtol=1e-6)
    slope = 1 - squashed.astype(np.float64) ** 2 + 1e-6
    expected = (log_density(3.0 * noise, 0, 3.0) - np.log(slope)).sum(1)
    np.testing.assert_allclose(logprob, expected, rtol=1e-4)


def gradients(**options):
    """Gradients of the sample and of its log-probability by mean and deviation."""
    model, noise = policy(0.5, 2.0), np.ones((1, 4), np.float32)
    with tf.GradientTape(persistent=True) as tape:
        actions, logprob = model(states(1), get_logprob=True, noise=[noise], **options)
    variables = [model.network.mean, model.network.std]
    return tape.gradient(actions, variables), tape.gradient(logprob, variables)


def test_reparameterised_sample_carries_gradients():
    by_action, by_logprob = gradients(reparameterize=True)
    # a = mean + std z with z = 1, and log N(a) = -z^2 / 2 - log std + constant.
    np.testing.assert_allclose(by_action[0], np.ones(4))
    np.testing.assert_allclose(by_action[1], np.ones(4))
    np.testing.assert_allclose(by_logprob[0], np.zeros(4), atol=1e-6)
    np.testing.assert_allclose(by_logprob[1], np.full(4, -0.5), rtol=1e-6)


def test_plain_sample_is_constant_but_its_logprob_learns():
    by_action, by_logprob = gradients()
    # d log N / d mean = z / std, d log N / d std = (z^2 - 1) / std.
    np.testing.assert_array_equal(by_action[0], np.zeros(4))
    np.testing.assert_allclose(by_logprob[0], np.full(4, 0.5), rtol=1e-6)
    np.testing.assert_allclose(by_logprob[1], np.zeros(4), atol=1e-6)


# -- starting from a checkpoint -------------------------------------------------------

SIZES = {"action_dim": WIDTH, "horizon_steps": STEPS, "cond_dim": 2, "mlp_dims": [3]}


def network(**options) -> Gaussian_MLP:
    return Gaussian_MLP(**{**SIZES, "fixed_std": 0.1, **options})


def from_file(path, *, network_options=None, **options) -> GaussianModel:
    module = network(**(network_options or {}))
    return GaussianModel(module, STEPS, network_path=str(path), **options)


def weights(value: float, **options) -> dict[str, np.ndarray]:
    """State of a model whose network is filled with one value, std bounds too."""
    state = network(**options).state_dict()
    return {f"network.{k}": np.full_like(v, value) for k, v in state.items()}


@pytest.fixture(params=["own", "torch"])
def checkpoint(request, tmp_path):
    content = {"epoch": 3, "model": weights(1.0), "ema": weights(2.0)}
    if request.param == "own":
        save_state(tmp_path / "state_3", content, {})
        return tmp_path / "state_3"
    save_torch_file(content, tmp_path / "state_3.pt")
    return tmp_path / "state_3.pt"


def first_bias(model) -> float:
    return float(model.network.state_dict()["mlp_mean.moduleList.0.linear_1.bias"][0])


def test_averaged_weights_are_preferred(checkpoint):
    assert first_bias(from_file(checkpoint)) == 2.0
    assert first_bias(from_file(checkpoint, use_ema=False)) == 1.0


def test_raw_weights_as_in_the_reference(checkpoint):
    with compat_scope({"raw_weights": True}):
        assert first_bias(from_file(checkpoint)) == 1.0
        assert first_bias(from_file(checkpoint, use_ema=True)) == 2.0


@pytest.mark.parametrize("entry", ["model", "ema"])
def test_the_only_entry_is_used(tmp_path, entry):
    save_torch_file({entry: weights(4.0)}, tmp_path / "a.pt")
    for use_ema in (True, False):
        assert first_bias(from_file(tmp_path / "a.pt", use_ema=use_ema)) == 4.0


def test_bounds_of_the_config_apply(checkpoint):
    bounds = {"std_min": 0.05, "std_max": 0.5}
    own = from_file(checkpoint, network_options=bounds).network
    assert own.logvar_min.numpy() == pytest.approx(np.log(0.05**2))
    assert own.logvar_max.numpy() == pytest.approx(np.log(0.5**2))


def test_bounds_of_the_checkpoint_apply_as_in_the_reference(checkpoint):
    with compat_scope({"checkpoint_std_bounds": True}):
        assert from_file(checkpoint).network.logvar_min.numpy() == 2.0


def test_checkpoint_without_bounds_fits(tmp_path):
    state = {k: v for k, v in weights(4.0).items() if "logvar_m" not in k}
    save_torch_file({"model": state}, tmp_path / "a.pt")
    assert first_bias(from_file(tmp_path / "a.pt")) == 4.0


def test_constant_deviation_may_become_a_learned_one(tmp_path):
    model = GaussianModel(network(), STEPS)
    state = model.state_dict()
    save_state(tmp_path / "state_1", {"model": state}, model.description())
    options = {"fixed_std": 0.2, "learn_fixed_std": True, "std_max": 0.5}
    tuned = from_file(tmp_path / "state_1", network_options=options).network
    np.testing.assert_allclose(tuned(states(1))[1], np.full((1, 4), 0.2), rtol=1e-5)
    for key, value in tuned.mlp_mean.state_dict().items():
        np.testing.assert_array_equal(value, state[f"network.mlp_mean.{key}"])


def test_learned_deviation_may_become_a_constant_one(tmp_path):
    save_torch_file({"model": weights(4.0, learn_fixed_std=True)}, tmp_path / "a.pt")
    model = from_file(tmp_path / "a.pt", network_options={"fixed_std": 0.3})
    assert first_bias(model) == 4.0
    np.testing.assert_allclose(model.network(states(1))[1], np.full((1, 4), 0.3))


def test_augmentation_and_dropout_may_differ_from_those_of_the_checkpoint(tmp_path):
    model = GaussianModel(network(dropout=0.3), STEPS)
    meta = model.description()
    meta["network"]["augment"] = True
    save_state(tmp_path / "state_1", {"model": model.state_dict()}, meta)
    copy = from_file(tmp_path / "state_1", network_options={"dropout": 0.0})
    assert first_bias(copy) == first_bias(model)


def test_other_entries_of_a_fine_tuned_model_are_ignored(tmp_path):
    state = {**weights(4.0), "critic.Q1.weight": np.zeros(3, np.float32)}
    save_torch_file({"model": state}, tmp_path / "a.pt")
    assert first_bias(from_file(tmp_path / "a.pt")) == 4.0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"cond_dim": 5}, r"a.pt is of another task .* \(3, 5\), expected \(3, 2\)"),
        ({"fixed_std": None}, "a.pt is of another task or network: .*shape"),
    ],
)
def test_checkpoint_of_another_task_is_refused(tmp_path, other, message):
    save_torch_file({"model": weights(1.0, **other)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        from_file(tmp_path / "a.pt")


def test_checkpoint_without_policy_is_refused(tmp_path):
    state = {"critic.weight": np.zeros(3, np.float32)}
    save_torch_file({"model": state}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="missing .*mlp_mean"):
        from_file(tmp_path / "a.pt")


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="state_7"):
        from_file(tmp_path / "state_7.pt")


def test_own_checkpoint_describes_its_policy(tmp_path):
    model = GaussianModel(network(), STEPS)
    model.network.requires_grad_(True)
    save_state(tmp_path / "state_1", {"model": model.state_dict()}, model.description())
    copy = from_file(tmp_path / "state_1")
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(copy.state_dict()[key], value)


def test_own_checkpoint_made_with_other_settings_is_refused(tmp_path):
    model = GaussianModel(network(), STEPS)
    meta = {**model.description(), "horizon_steps": 7}
    save_state(tmp_path / "state_1", {"model": model.state_dict()}, meta)
    with pytest.raises(ValueError, match=r"horizon_steps=7 \(this config: 2\)"):
        from_file(tmp_path / "state_1")
    with pytest.raises(ValueError, match=r"network.activation_type=Mish \(this .*ReLU"):
        from_file(tmp_path / "state_1", network_options={"activation_type": "ReLU"})


# -- odds and ends --------------------------------------------------------------------


def test_state_dict_has_the_prefix_of_the_reference():
    assert list(policy().state_dict()) == ["network.mean", "network.std"]


def test_parts_that_draw_take_the_generator_of_the_model():
    model = GaussianModel(network(dropout=0.5, mlp_dims=[8, 8]), STEPS)
    draws = []
    for seed in (3, 3, 4):
        model.set_rng(tf.random.Generator.from_seed(seed, alg="philox"))
        draws.append(model.network(states(5))[0].numpy())
    assert (draws[0] == draws[1]).all()
    assert (draws[0] != draws[2]).any()


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="horizon_step'"):
        GaussianModel(KnownGaussian(), 2, horizon_step=2)


def test_cast_cond_keeps_images_and_makes_states_float():
    cond = cast_cond({"state": np.zeros((1, 1, 2)), "rgb": np.zeros((1, 3), np.uint8)})
    assert cond["state"].dtype == tf.float32
    assert cond["rgb"].dtype == tf.uint8
