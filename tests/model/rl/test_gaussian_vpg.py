import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp_gaussian import Gaussian_MLP
from model.rl.gaussian_vpg import VPG_Gaussian
from tests.model.fakes import KnownGaussian, MeanCritic, normal, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.torch_file_writer import save_torch_file

ROWS, STEPS, WIDTH = 3, 2, 2
COND = states(ROWS)
NOISE = [normal(ROWS, STEPS * WIDTH, seed=4)]


def log_density(x, mean, std):
    return -((x - mean) ** 2) / (2 * std**2) - np.log(std) - 0.5 * np.log(2 * np.pi)


def model() -> VPG_Gaussian:
    """Trained policy N(0.5, 2), base policy N(-1, 0.5)."""
    made = VPG_Gaussian(KnownGaussian(0.5, 2.0), MeanCritic(), horizon_steps=STEPS)
    made.actor.mean.assign(np.full(4, -1.0))
    made.actor.std.assign(np.full(4, 0.5))
    return made


POLICIES = [(False, 0.5, 2.0), (True, -1.0, 0.5)]


def test_modules_are_saved_in_the_order_of_the_reference():
    names = dict.fromkeys(key.split(".")[0] for key in model().state_dict())
    assert list(names) == ["network", "critic", "actor_ft", "actor"]


def test_network_is_trained_and_its_copy_frozen():
    made = VPG_Gaussian(KnownGaussian(0.5), MeanCritic(), horizon_steps=STEPS)
    assert made.actor_ft is made.network
    assert not any(p.trainable for p in made.actor.parameters())
    assert all(p.trainable for p in made.actor_ft.parameters())
    made.network.mean.assign(np.full(4, 7.0))
    assert made.actor.mean.numpy().tolist() == [0.5] * 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("base", "mean", "std"), POLICIES)
def test_sample_and_its_logprob_by_hand(mode, base, mean, std):
    made = model()

    def sample():
        return made.forward(COND, use_base_policy=base, get_logprob=True, noise=NOISE)

    chunk, logprob = in_mode(sample, mode)()
    expected = mean + std * NOISE[0]
    np.testing.assert_allclose(chunk, expected.reshape(ROWS, STEPS, WIDTH), rtol=1e-5)
    density = log_density(expected, mean, std).mean(-1)
    np.testing.assert_allclose(logprob, density, rtol=1e-5)


def test_deterministic_samples_stay_near_the_mean():
    chunk = model()(COND, deterministic=True, noise=NOISE)
    np.testing.assert_allclose(chunk, np.full((ROWS, STEPS, WIDTH), 0.5), atol=1e-3)


def test_samples_carry_no_gradient():
    made = model()
    with tf.GradientTape() as tape:
        chunk, logprob = made.forward(COND, get_logprob=True)
        total = tf.reduce_sum(chunk) + tf.reduce_sum(logprob)
    assert tape.gradient(total, [made.network.mean.value]) == [None]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("base", "mean", "std"), POLICIES)
def test_logprobs_are_means_over_the_chunk(mode, base, mean, std):
    made, actions = model(), normal(ROWS, STEPS, WIDTH, seed=5)
    score = in_mode(lambda a: made.get_logprobs(COND, a, use_base_policy=base), mode)
    logprob, entropy, deviation = score(tf.constant(actions))
    expected = log_density(actions, mean, std).mean((1, 2))
    np.testing.assert_allclose(logprob, expected, rtol=1e-5)
    assert entropy.numpy() == pytest.approx(
        0.5 + 0.5 * np.log(2 * np.pi) + np.log(std), rel=1e-5
    )
    assert deviation.numpy() == pytest.approx(std)


def test_kept_logprobs_are_those_of_a_second_pass():
    made = VPG_Gaussian(
        Gaussian_MLP(WIDTH, STEPS, 2, mlp_dims=[8]), MeanCritic(), horizon_steps=STEPS
    )
    chunk, logprob = made.forward(COND, get_logprob=True)
    again, *_ = made.get_logprobs(COND, chunk)
    np.testing.assert_allclose(logprob, again, rtol=1e-4, atol=1e-5)


# -- REINFORCE ------------------------------------------------------------------------

ACTIONS = normal(ROWS, STEPS, WIDTH, seed=5)
RETURNS, OLD_VALUES, ADVANTAGES = (normal(ROWS, seed=seed) for seed in (6, 7, 8))


def batch(shift: float = 0.0) -> dict:
    """Chunks whose old log-probabilities are `shift` below the present ones."""
    old = log_density(ACTIONS, 0.5, 2.0).mean((1, 2)) - shift
    arrays = {
        "actions": ACTIONS,
        "returns": RETURNS,
        "oldvalues": OLD_VALUES,
        "advantages": ADVANTAGES,
        "oldlogprobs": np.float32(old),
    }
    return {"obs": COND} | {key: tf.constant(value) for key, value in arrays.items()}


@pytest.mark.parametrize("mode", MODES)
def test_terms_of_the_loss_by_hand(mode):
    made = model()
    losses = in_mode(lambda data: made.loss(**data), mode)(batch(0.1))
    logprob = log_density(ACTIONS, 0.5, 2.0).mean((1, 2))
    weights = (ADVANTAGES - ADVANTAGES.mean()) / ADVANTAGES.std(ddof=1)
    values = COND["state"].numpy().mean((1, 2))
    expected = {
        "pg_loss": -np.mean(weights * logprob),
        "entropy_loss": -(0.5 + 0.5 * np.log(2 * np.pi) + np.log(2)),
        "v_loss": 0.5 * np.mean((values - RETURNS) ** 2),
        "clipfrac": 0.0,
        "approx_kl": np.exp(0.1) - 1.1,
        "ratio": np.exp(0.1),
        "bc_loss": 0.0,
        "std": 2.0,
    }
    assert list(losses._fields) == list(expected)
    for name, value in expected.items():
        found = float(getattr(losses, name))
        assert found == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_advantages_may_stay_as_they_are_or_be_weighed_before():
    made = VPG_Gaussian(
        KnownGaussian(0.5, 2.0), MeanCritic(), horizon_steps=STEPS, norm_adv=False
    )
    expected = -np.mean(ADVANTAGES * log_density(ACTIONS, 0.5, 2.0).mean((1, 2)))
    losses = made.loss(**batch()), model().loss(**batch(), weighed=True)
    for found in losses:
        assert float(found.pg_loss) == pytest.approx(expected, rel=1e-4)


def test_gradient_is_that_of_the_policy_whatever_it_was():
    gradients = []
    for shift in (0.0, 3.0):
        made = model()
        with tf.GradientTape() as tape:
            loss = made.loss(**batch(shift)).pg_loss
        gradients.append(tape.gradient(loss, made.network.mean.value).numpy())
    # d log N / d mean = (a - mean) / std^2, over 4 elements.
    weights = (ADVANTAGES - ADVANTAGES.mean()) / ADVANTAGES.std(ddof=1)
    slope = (ACTIONS.reshape(ROWS, -1) - 0.5) / 4 / 4
    expected = -np.mean(weights[:, None] * slope, axis=0)
    for gradient in gradients:
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_samples_of_the_base_policy_may_be_imitated():
    made = model()
    losses = made.loss(**batch(), use_bc_loss=True, noise=NOISE)
    chunk = (-1.0 + 0.5 * NOISE[0]).astype(np.float64)
    expected = -np.mean(log_density(chunk, 0.5, 2.0).mean(-1))
    assert float(losses.bc_loss) == pytest.approx(expected, rel=1e-4)


# -- starting from a checkpoint -------------------------------------------------------


def network(**options) -> Gaussian_MLP:
    return Gaussian_MLP(WIDTH, STEPS, 2, mlp_dims=[3], fixed_std=0.1, **options)


def from_file(path, **options) -> VPG_Gaussian:
    critic = MeanCritic(9.0)
    return VPG_Gaussian(
        network(**options), critic, horizon_steps=STEPS, network_path=str(path)
    )


def filled(value: float, *prefixes: str) -> dict[str, np.ndarray]:
    """A network's state under some prefixes, std bounds included."""
    state = network().state_dict()
    return {
        f"{p}.{k}": np.full_like(v, value) for p in prefixes for k, v in state.items()
    }


def tuned_state() -> dict[str, np.ndarray]:
    """As fine-tuning saves it: trained policy 1, base policy 2, critic 3."""
    return {
        **filled(1.0, "network", "actor_ft"),
        **filled(2.0, "actor"),
        "critic.factor": np.array(3.0, np.float32),
    }


def values(made: VPG_Gaussian) -> list[float]:
    biases = [
        m.mlp_mean.moduleList[0].linear_1.bias for m in (made.network, made.actor)
    ]
    return [*(float(b.numpy()[0]) for b in biases), float(made.critic.factor.numpy())]


@pytest.mark.parametrize("own", [True, False])
def test_fine_tuned_file_restores_everything(tmp_path, own):
    path = tmp_path / ("state_1" if own else "state_1.pt")
    content = {"model": tuned_state(), "itr": 1}
    save_state(path, content, {}) if own else save_torch_file(content, path)
    assert values(from_file(path)) == [1.0, 2.0, 3.0]


def test_pretrained_file_starts_both_policies_and_leaves_the_critic(tmp_path):
    content = {"model": filled(1.0, "network"), "ema": filled(5.0, "network")}
    save_torch_file(content, tmp_path / "a.pt")
    assert values(from_file(tmp_path / "a.pt")) == [5.0, 5.0, 9.0]


def test_bounds_of_the_deviation_are_the_configs(tmp_path):
    save_torch_file({"model": tuned_state()}, tmp_path / "a.pt")
    made = from_file(tmp_path / "a.pt", std_max=0.5)
    for module in (made.network, made.actor):
        assert module.logvar_max.numpy() == pytest.approx(np.log(0.25))
    with compat_scope({"checkpoint_std_bounds": True}):
        assert from_file(tmp_path / "a.pt").actor.logvar_max.numpy() == 2.0


def test_file_of_another_critic_is_refused(tmp_path):
    state = {**tuned_state(), "critic.factor": np.zeros(3, np.float32)}
    save_torch_file({"model": state}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt is of another task .*factor"):
        from_file(tmp_path / "a.pt")
