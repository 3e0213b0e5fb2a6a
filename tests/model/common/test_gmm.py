import logging

import numpy as np
import pytest
import tensorflow as tf

from model.common.gmm import GMMModel, Mixture
from model.common.mlp_gmm import GMM_MLP
from tests.model.fakes import KnownMixture, normal, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.config_schema import dead_keys
from util.torch_file_writer import save_torch_file

ROWS, STEPS, WIDTH = 3, 2, 2
MEANS, STDS, WEIGHTS = [-1.0, 0.5], [0.5, 2.0], [0.25, 0.75]


def policy(**options) -> GMMModel:
    return GMMModel(KnownMixture(MEANS, STDS, WEIGHTS), horizon_steps=STEPS, **options)


def log_density(x):
    """Logarithm of the mixture's joint density of chunks (B, Ta, Da), in double."""
    x = np.reshape(x, (len(x), -1)).astype(np.float64)
    modes = [
        w
        * np.exp(-((x - m) ** 2) / (2 * s**2)).prod(-1)
        / (s * np.sqrt(2 * np.pi)) ** 4
        for m, s, w in zip(MEANS, STDS, WEIGHTS, strict=True)
    ]
    return np.log(np.sum(modes, axis=0))


def entropy_of(std):
    return 4 * (0.5 + 0.5 * np.log(2 * np.pi) + np.log(std))


# -- distribution ---------------------------------------------------------------------


def random_mixture(modes=3, log_weights=None) -> Mixture:
    mean, std = normal(ROWS, modes, 4, seed=1), np.exp(normal(ROWS, modes, 4, seed=2))
    logits = normal(ROWS, modes, seed=3) if log_weights is None else log_weights
    return Mixture(*map(tf.constant, (mean, std)), tf.nn.log_softmax(logits))


@pytest.mark.parametrize("mode", MODES)
def test_density_is_the_weighted_sum_of_joint_densities(mode):
    model, chunks = policy(), normal(ROWS, STEPS, WIDTH)
    found = in_mode(lambda c: model.forward_train(states(ROWS)).log_prob(c), mode)(
        tf.constant(chunks)
    )
    np.testing.assert_allclose(found, log_density(chunks), rtol=1e-5)


def test_density_of_a_far_chunk_neither_overflows_nor_stops_learning():
    mixture, far = random_mixture(), tf.fill([ROWS, STEPS, WIDTH], 1e4)
    with tf.GradientTape() as tape:
        tape.watch(mixture.mean)
        logprob = mixture.log_prob(far)
    assert np.isfinite(logprob).all()
    gradient = tape.gradient(logprob, mixture.mean).numpy()
    assert np.isfinite(gradient).all()
    assert (np.abs(gradient).max((1, 2)) > 0).all()


def test_density_learns_by_responsibility():
    mixture, chunks = random_mixture(), tf.constant(normal(ROWS, STEPS, WIDTH))
    with tf.GradientTape() as tape:
        tape.watch(mixture.log_weights)
        logprob = mixture.log_prob(chunks)
    responsibility = tape.gradient(logprob, mixture.log_weights)
    np.testing.assert_allclose(tf.reduce_sum(responsibility, 1), np.ones(ROWS), 1e-5)
    flat = tf.reshape(chunks, [ROWS, 1, 4])
    parts = [
        Mixture(mixture.mean[:, m, None], mixture.std[:, m, None], tf.zeros([ROWS, 1]))
        for m in range(3)
    ]
    alone = np.stack([part.log_prob(flat) for part in parts], axis=1)
    expected = np.exp(mixture.log_weights + alone - logprob[:, None])
    np.testing.assert_allclose(responsibility, expected, rtol=1e-4)


def test_mode_without_probability_adds_nothing():
    mixture = random_mixture(log_weights=np.float32([[0.0, -np.inf, 0.0]] * ROWS))
    chunks = tf.constant(normal(ROWS, STEPS, WIDTH))
    others = Mixture(*(tf.gather(part, [0, 2], axis=1) for part in mixture))
    np.testing.assert_allclose(mixture.log_prob(chunks), others.log_prob(chunks), 1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_entropy_and_deviation_are_weighted_means_of_the_modes(mode):
    model = policy()

    def both():
        mixture = model.forward_train(states(ROWS))
        return mixture.entropy(), mixture.mean_std()

    entropy, deviation = in_mode(both, mode)()
    expected = np.dot(WEIGHTS, entropy_of(np.array(STDS)))
    assert float(entropy) == pytest.approx(expected, rel=1e-5)
    assert float(deviation) == pytest.approx(np.dot(WEIGHTS, STDS), rel=1e-5)


def test_deterministic_means_a_tiny_deviation_of_each_mode():
    mixture = policy().forward_train(states(ROWS), deterministic=True)
    np.testing.assert_allclose(mixture.std, np.full((ROWS, 2, 4), 1e-4), rtol=1e-6)
    np.testing.assert_allclose(tf.exp(mixture.log_weights), [WEIGHTS] * ROWS, rtol=1e-5)


# -- loss -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_loss_is_the_mean_negative_log_density(mode):
    model, action = policy(), normal(ROWS, STEPS, WIDTH)
    loss, infos = in_mode(lambda a, c: model.loss(a, c), mode)(
        tf.constant(action), states(ROWS)
    )
    assert float(loss) == pytest.approx(-log_density(action).mean(), rel=1e-5)
    expected = np.dot(WEIGHTS, entropy_of(np.array(STDS)))
    assert float(infos["entropy"]) == pytest.approx(expected, rel=1e-5)


def test_entropy_bonus_has_no_effect_and_that_is_said(caplog):
    model, action = policy(), tf.constant(normal(ROWS, STEPS, WIDTH))
    with caplog.at_level(logging.WARNING):
        plain, _ = model.loss(action, states(ROWS))
        assert caplog.messages == []
        other, _ = model.loss(action, states(ROWS), ent_coef=0.5)
    assert caplog.messages == ["ent_coef=0.5 has no effect on a mixture."]
    assert float(plain) == float(other)


def test_cloning_two_ways_keeps_both_of_them():
    """Chunks of -0.5 and of 0.5, which one Gaussian would average."""
    network = GMM_MLP(WIDTH, STEPS, 2, mlp_dims=[8], num_modes=2, fixed_std=0.2)
    model, cond = GMMModel(network, STEPS), states(64)
    sign = np.where(np.arange(64) % 2, 0.5, -0.5).astype(np.float32)
    action = tf.constant(np.tile(sign[:, None, None], (1, STEPS, WIDTH)))
    trained = [p.value for p in network.parameters() if p.trainable]

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss, _ = model.loss(action, cond)
        for value, gradient in zip(trained, tape.gradient(loss, trained), strict=True):
            value.assign_sub(0.02 * gradient)
        return loss

    losses = [float(step()) for _ in range(300)]
    mixture = model.forward_train(cond)
    means = np.sort(mixture.mean.numpy().mean((0, 2)))
    np.testing.assert_allclose(means, [-0.5, 0.5], atol=0.1)
    assert losses[-1] < losses[0] - 3.0


# -- sampling -------------------------------------------------------------------------

DRAWN = np.array([[1], [0], [1]])
NOISE = [DRAWN, normal(ROWS, 2, 4, seed=5)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("deterministic", [True, False])
def test_sample_replays_its_noise(mode, deterministic):
    model = policy()
    actions = in_mode(
        lambda c: model(c, deterministic=deterministic, noise=NOISE), mode
    )(states(ROWS))
    assert actions.shape == (ROWS, STEPS, WIDTH)
    assert actions.dtype == tf.float32
    chosen = DRAWN[:, 0]
    std = np.full(ROWS, 1e-4) if deterministic else np.array(STDS)[chosen]
    noise = NOISE[1][np.arange(ROWS), chosen]
    expected = np.array(MEANS)[chosen][:, None] + std[:, None] * noise
    np.testing.assert_allclose(actions, expected.reshape(actions.shape), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_samples_differ_and_follow_the_given_generator(mode):
    model = policy()
    sample = in_mode(lambda c: model(c), mode)
    model.set_rng(tf.random.Generator.from_seed(1))
    first, second = sample(states(ROWS)), sample(states(ROWS))
    assert not np.array_equal(first, second)
    model.rng.reset_from_seed(1)
    np.testing.assert_array_equal(sample(states(ROWS)), first)


@pytest.mark.parametrize("mode", MODES)
def test_samples_have_the_distribution(mode):
    model = policy()
    model.set_rng(tf.random.Generator.from_seed(2))
    actions = in_mode(lambda c: model(c, deterministic=True), mode)(states(4000))
    means = actions.numpy().mean((1, 2))
    assert (means > 0).mean() == pytest.approx(0.75, abs=0.03)
    spread = in_mode(lambda c: model(c), mode)(states(4000)).numpy()
    expected = np.dot(WEIGHTS, np.square(STDS) + np.square(MEANS))
    assert (spread**2).mean() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("mode", MODES)
def test_logprob_is_that_of_the_sample(mode):
    model = policy()
    chunk, logprob = in_mode(lambda c: model(c, get_logprob=True, noise=NOISE), mode)(
        states(ROWS)
    )
    np.testing.assert_allclose(logprob, log_density(chunk.numpy()), rtol=1e-4)


def test_samples_carry_no_gradient():
    model = policy()
    with tf.GradientTape() as tape:
        chunk, logprob = model(states(ROWS), get_logprob=True)
        total = tf.reduce_sum(chunk) + tf.reduce_sum(logprob)
    assert tape.gradient(total, [model.network.mean.value]) == [None]


def test_unknown_batch_size_keeps_the_chunk_shape():
    model = policy()
    spec = {"state": tf.TensorSpec([None, 1, 2])}
    function = in_mode(lambda c: model(c), "graph").get_concrete_function(spec)
    assert function.outputs[0].shape.as_list() == [None, STEPS, WIDTH]


# -- starting from a checkpoint -------------------------------------------------------


def network(**options) -> GMM_MLP:
    sizes = {"action_dim": WIDTH, "horizon_steps": STEPS, "cond_dim": 2}
    return GMM_MLP(**{**sizes, "mlp_dims": [3], "fixed_std": 0.1, **options})


def from_file(path, *, network_options=None, **options) -> GMMModel:
    module = network(**(network_options or {}))
    return GMMModel(module, STEPS, network_path=str(path), **options)


@pytest.fixture
def checkpoint(tmp_path):
    """Raw weights are 1, averaged ones 2, bounds of the deviation included."""
    state = network().state_dict()
    entries = {
        name: {f"network.{k}": np.full_like(v, value) for k, v in state.items()}
        for name, value in (("model", 1.0), ("ema", 2.0))
    }
    save_torch_file({"epoch": 3, **entries}, tmp_path / "state_3.pt")
    return tmp_path / "state_3.pt"


def first_bias(model) -> float:
    key = "mlp_weights.moduleList.0.linear_1.bias"
    return float(model.network.state_dict()[key][0])


def test_averaged_weights_are_preferred(checkpoint):
    assert first_bias(from_file(checkpoint)) == 2.0
    assert first_bias(from_file(checkpoint, use_ema=False)) == 1.0


def test_raw_weights_as_in_the_reference(checkpoint):
    with compat_scope({"raw_weights": True}):
        assert first_bias(from_file(checkpoint)) == 1.0


def test_bounds_of_the_config_apply(checkpoint):
    own = from_file(checkpoint, network_options={"std_max": 0.5}).network
    assert own.logvar_max.numpy() == pytest.approx(np.log(0.5**2))


def test_bounds_of_the_checkpoint_apply_as_in_the_reference(checkpoint):
    with compat_scope({"checkpoint_std_bounds": True}):
        assert from_file(checkpoint).network.logvar_max.numpy() == 2.0


def test_checkpoint_with_other_modes_is_refused(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="is of another task or network"):
        from_file(checkpoint, network_options={"num_modes": 3})
    model = GMMModel(network(), STEPS)
    save_state(tmp_path / "state_1", {"model": model.state_dict()}, model.description())
    with pytest.raises(ValueError, match=r"num_modes=5 \(this config: 3\)"):
        from_file(tmp_path / "state_1", network_options={"num_modes": 3})


def test_clip_of_samples_is_a_key_without_effect():
    assert "randn_clip_value" in dead_keys(GMMModel)
    with pytest.raises(TypeError, match="randn_clip_value"):
        policy(randn_clip_value=3)
