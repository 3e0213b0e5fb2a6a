import numpy as np
import pytest

from agent.eval.eval_gaussian_agent import EvalGaussianAgent
from agent.finetune.train_ppo_gaussian_agent import TrainPPOGaussianAgent
from agent.pretrain.train_gaussian_agent import TrainGaussianAgent
from tests.agent.tiny import eagerly, tiny_config, weights, write_dataset

NETWORK = "mlp_dims=[16]"
# The scratch leaf's network: other activation, predicted deviation.
TUNED = ("model.network.activation_type=ReLU", "model.network.fixed_std=null")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A pre-trained state, and one trained from scratch."""
    folder = tmp_path_factory.mktemp("checkpoints")
    data = write_dataset(folder / "train.npz")
    with eagerly():
        cfg = tiny_config(
            "pretrain gaussian",
            folder / "pre",
            f"model.network.{NETWORK}",
            f"train_dataset_path={data}",
            "train.n_epochs=1",
            "train.epoch_start_ema=0",
        )
        TrainGaussianAgent(cfg).run()
        cfg = tiny_config(
            "ppo gaussian",
            folder / "ft",
            f"model.actor.{NETWORK}",
            f"model.critic.{NETWORK}",
            "train.n_train_itr=2",
        )
        TrainPPOGaussianAgent(cfg).run()
    states = ("pre/checkpoint/state_1", "ft/checkpoint/state_1")
    return tuple(folder / state for state in states)


def make_agent(tmp_path, path, *overrides):
    options = (f"model.network.{NETWORK}", f"base_policy_path={path}")
    cfg = tiny_config("eval gaussian", tmp_path, *options, *overrides)
    return EvalGaussianAgent(cfg)


def test_compiled_sampler_is_traced_once(tmp_path, checkpoints):
    agent = make_agent(tmp_path, checkpoints[0])
    result = agent.run()
    assert agent._sample.experimental_get_tracing_count() == 1
    # 6 chunks of 2 steps in episodes of at most 6.
    assert result["num_episode"] >= 2
    assert (tmp_path / "result.npz").exists()


def test_evaluation_samples_as_the_trained_policy(tmp_path, checkpoints, eager):
    agent = make_agent(tmp_path, checkpoints[1], *TUNED)
    trained = tiny_config(
        "ppo gaussian",
        tmp_path / "ft",
        f"model.actor.{NETWORK}",
        f"model.critic.{NETWORK}",
        f"model.network_path={checkpoints[1]}",
    )
    model = TrainPPOGaussianAgent(trained).model
    obs = {"state": np.ones((2, 1, 3), np.float32)}
    noise = [np.full((2, 8), 0.3, np.float32)]
    expected = model.forward(obs, deterministic=True, noise=noise)
    found = agent.model.forward(obs, deterministic=True, noise=noise)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    base = model.forward(obs, deterministic=True, use_base_policy=True, noise=noise)
    assert not np.allclose(found, base, rtol=1e-5)


def test_actions_are_whole_chunks_near_the_mean(tmp_path, checkpoints, eager):
    agent = make_agent(tmp_path, checkpoints[0])
    obs = {"state": np.zeros((2, 1, 3))}
    (one, extras), (other, _) = (agent.act(obs, explore=False) for _ in range(2))
    assert one.shape == (2, 4, 2)
    assert extras == {}
    np.testing.assert_allclose(one, other, atol=2e-3)


def test_averaged_weights_are_evaluated_unless_told_otherwise(tmp_path, checkpoints):
    averaged = weights(make_agent(tmp_path / "a", checkpoints[0]).model)
    raw = weights(make_agent(tmp_path / "b", checkpoints[0], "use_ema=false").model)
    assert any(not np.array_equal(averaged[key], raw[key]) for key in raw)


def test_untrained_policy_is_not_evaluated(tmp_path):
    with pytest.raises(ValueError, match=r"base_policy_path must be .*, got null"):
        make_agent(tmp_path, "null")


def test_policy_of_another_network_is_refused(tmp_path, checkpoints):
    with pytest.raises(ValueError, match="activation_type=Mish .this config: ReLU"):
        make_agent(tmp_path, checkpoints[0], "model.network.activation_type=ReLU")


def test_mixture_acts_near_its_modes(tmp_path, eager):
    data = write_dataset(tmp_path / "train.npz")
    cfg = tiny_config(
        "pretrain gmm",
        tmp_path / "pre",
        f"model.network.{NETWORK}",
        f"train_dataset_path={data}",
        "train.n_epochs=1",
    )
    TrainGaussianAgent(cfg).run()
    options = (f"model.network.{NETWORK}", f"base_policy_path={tmp_path / 'pre'}")
    relu = "model.network.activation_type=ReLU"
    cfg = tiny_config("eval gmm", tmp_path / "eval", *options, relu)
    agent = EvalGaussianAgent(cfg)
    obs = {"state": np.zeros((2, 1, 3), np.float32)}
    mean = agent.model.forward_train(obs).mean.numpy().reshape(2, 5, 4, 2)
    actions, _ = agent.act(obs, explore=False)
    away = np.abs(actions[:, None] - mean).max((2, 3))
    assert (away.min(axis=1) < 1e-3).all()
    assert agent.run()["num_episode"] >= 2
