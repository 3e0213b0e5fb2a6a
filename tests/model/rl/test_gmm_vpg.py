import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp_gmm import GMM_MLP
from model.rl.gmm_vpg import VPG_GMM
from tests.model.fakes import KnownMixture, MeanCritic, normal, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.torch_file_writer import save_torch_file

ROWS, STEPS, WIDTH = 3, 2, 2
COND = states(ROWS)
JOINT = {"gmm_joint_logprob_clamp": True}


def model() -> VPG_GMM:
    actor = KnownMixture([-1.0, 0.5], [0.5, 2.0], [0.25, 0.75])
    return VPG_GMM(actor, MeanCritic(), horizon_steps=STEPS)


def joint(chunks):
    """Joint log-density, by the model that pre-training uses."""
    return model().forward_train(COND).log_prob(tf.constant(chunks)).numpy()


def test_modules_are_saved_in_the_order_of_the_reference():
    names = dict.fromkeys(key.split(".")[0] for key in model().state_dict())
    assert list(names) == ["network", "actor_ft", "critic"]


def test_network_is_trained_and_no_copy_is_kept():
    made = model()
    assert made.actor_ft is made.network
    assert all(p.trainable for p in made.network.parameters())
    assert len(made.parameters()) == 3 + 1


@pytest.mark.parametrize("mode", MODES)
def test_logprobs_are_shared_among_the_elements(mode):
    made, chunks = model(), normal(ROWS, STEPS, WIDTH, seed=5)
    score = in_mode(lambda a: made.get_logprobs(COND, a), mode)
    logprob, entropy, deviation = score(tf.constant(chunks))
    np.testing.assert_allclose(logprob, joint(chunks) / 4, rtol=1e-5)
    mixture = made.forward_train(COND)
    assert float(entropy) == pytest.approx(float(mixture.entropy()), rel=1e-6)
    assert float(deviation) == pytest.approx(0.25 * 0.5 + 0.75 * 2.0, rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_logprobs_are_joint_as_in_the_reference(mode):
    made, chunks = model(), normal(ROWS, STEPS, WIDTH, seed=5)
    with compat_scope(JOINT):
        logprob, *_ = in_mode(lambda a: made.get_logprobs(COND, a), mode)(chunks)
        sampled, of_sample = in_mode(lambda: made(COND, get_logprob=True), mode)()
    np.testing.assert_allclose(logprob, joint(chunks), rtol=1e-5)
    np.testing.assert_allclose(of_sample, joint(sampled.numpy()), rtol=1e-4)


def test_one_mode_has_the_logprob_of_a_gaussian():
    actor = KnownMixture([0.5], [2.0], [1.0])
    made = VPG_GMM(actor, MeanCritic(), horizon_steps=STEPS)
    chunks = normal(ROWS, STEPS, WIDTH)
    elements = -((chunks - 0.5) ** 2) / 8 - np.log(2.0) - 0.5 * np.log(2 * np.pi)
    logprob, *_ = made.get_logprobs(COND, tf.constant(chunks))
    np.testing.assert_allclose(logprob, elements.mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_kept_logprobs_are_those_of_a_second_pass(mode):
    network = GMM_MLP(WIDTH, STEPS, 2, mlp_dims=[8])
    made = VPG_GMM(network, MeanCritic(), horizon_steps=STEPS)
    chunk, logprob = in_mode(lambda: made.forward(COND, get_logprob=True), mode)()
    again, *_ = made.get_logprobs(COND, chunk)
    np.testing.assert_allclose(logprob, again, rtol=1e-4, atol=1e-5)


def test_samples_carry_no_gradient():
    made = model()
    with tf.GradientTape() as tape:
        chunk, logprob = made.forward(COND, get_logprob=True)
        total = tf.reduce_sum(chunk) + tf.reduce_sum(logprob)
    assert tape.gradient(total, [made.network.mean.value]) == [None]


def test_chunks_alone_are_the_same_chunks():
    noise = [np.array([0, 1, 1]), normal(ROWS, 2, 4)]
    chunk, _ = model().forward(COND, get_logprob=True, noise=noise)
    np.testing.assert_array_equal(model()(COND, noise=noise), chunk)
    near = model()(COND, deterministic=True, noise=noise).numpy()
    means = np.array([-1.0, 0.5, 0.5])[:, None, None]
    np.testing.assert_allclose(near, np.broadcast_to(means, near.shape), atol=1e-3)


def test_reinforce_raises_the_likelihood_of_good_chunks():
    made, chunks = model(), tf.constant(normal(ROWS, STEPS, WIDTH, seed=5))
    weights = tf.constant([1.0, 0.0, -1.0])
    logprob, *_ = made.get_logprobs(COND, chunks)
    losses = made.loss(COND, chunks, weights, weights, weights, logprob, weighed=True)
    expected = -np.mean(weights * logprob)
    assert float(losses.pg_loss) == pytest.approx(expected, rel=1e-5)


# -- starting from a checkpoint -------------------------------------------------------


def network(**options) -> GMM_MLP:
    return GMM_MLP(WIDTH, STEPS, 2, mlp_dims=[3], fixed_std=0.1, **options)


def from_file(path, **options) -> VPG_GMM:
    critic = MeanCritic(9.0)
    return VPG_GMM(
        network(**options), critic, horizon_steps=STEPS, network_path=str(path)
    )


def filled(value: float, *prefixes: str) -> dict[str, np.ndarray]:
    state = network().state_dict()
    return {
        f"{p}.{k}": np.full_like(v, value) for p in prefixes for k, v in state.items()
    }


def tuned_state() -> dict[str, np.ndarray]:
    """As fine-tuning saves it: policy 1, critic 3."""
    critic = {"critic.factor": np.array(3.0, np.float32)}
    return {**filled(1.0, "network", "actor_ft"), **critic}


def values(made: VPG_GMM) -> list[float]:
    bias = made.network.mlp_weights.moduleList[0].linear_1.bias
    return [float(bias.numpy()[0]), float(made.critic.factor.numpy())]


@pytest.mark.parametrize("own", [True, False])
def test_fine_tuned_file_restores_policy_and_critic(tmp_path, own):
    path = tmp_path / ("state_1" if own else "state_1.pt")
    content = {"model": tuned_state(), "itr": 1}
    save_state(path, content, {}) if own else save_torch_file(content, path)
    assert values(from_file(path)) == [1.0, 3.0]


def test_pretrained_file_leaves_the_critic(tmp_path):
    content = {"model": filled(1.0, "network"), "ema": filled(5.0, "network")}
    save_torch_file(content, tmp_path / "a.pt")
    assert values(from_file(tmp_path / "a.pt")) == [5.0, 9.0]


def test_bounds_of_the_deviation_are_the_configs(tmp_path):
    save_torch_file({"model": tuned_state()}, tmp_path / "a.pt")
    made = from_file(tmp_path / "a.pt", std_max=0.5)
    assert made.network.logvar_max.numpy() == pytest.approx(np.log(0.25))
    with compat_scope({"checkpoint_std_bounds": True}):
        assert from_file(tmp_path / "a.pt").network.logvar_max.numpy() == 1.0
