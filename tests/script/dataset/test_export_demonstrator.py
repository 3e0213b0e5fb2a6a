"""Exporting a demonstrator: which checkpoint is taken, and what is written."""

import sys

import numpy as np
import pytest
import yaml

from agent.dataset.demonstrator_policy import Demonstrator
from script.dataset import export_demonstrator as module
from tests.agent.dataset.fake_demonstrator import write_weights
from util.checkpoint import save_state


@pytest.fixture
def run(tmp_path):
    """A run with three checkpoints of an actor for the pendulum."""
    config = {
        "seed": 5,
        "env_name": "Pendulum-v1",
        "model": {
            "tanh_output": True,
            "randn_clip_value": 10,
            "actor": {"activation_type": "ReLU"},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    weights = dict(np.load(write_weights(tmp_path / "fake.npz", 3, 1)))
    weights.pop("meta")
    actor = {f"network.{key}": value for key, value in weights.items()}
    critic = {"critic.Q1.weight": np.zeros(2, np.float32)}
    for step in (0, 10, 20):
        folder = tmp_path / "checkpoint" / f"state_{step}"
        save_state(folder, {"model": actor | critic}, {"itr": step})
    return tmp_path


def test_checkpoint_nearest_the_target_is_written(run, monkeypatch):
    returns = iter([-900.0, -500.0, -100.0])
    found = {"episodes": 2, "std_return": 1.0}
    monkeypatch.setattr(
        module, "measure", lambda *_: {**found, "mean_return": next(returns)}
    )
    out = run / "out.npz"
    arguments = [str(run), "--target", "-450", "--command", "train", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    module.main()
    policy = Demonstrator(out)
    assert (policy.obs_dim, policy.action_dim) == (3, 1)
    assert policy.meta["step"] == 10
    assert policy.meta["mean_return"] == -500.0
    assert (policy.meta["command"], policy.meta["seed"]) == ("train", 5)
    assert "critic.Q1.weight" not in policy.weights


def test_run_without_checkpoints_is_refused(run, monkeypatch):
    arguments = [str(run), "--first", "30", "--command", "x", "--out", "x.npz"]
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    with pytest.raises(SystemExit, match="no checkpoint from iteration 30"):
        module.main()


def test_other_policies_are_refused(tmp_path):
    state = {"model": {"network.mlp.weight": np.zeros(1, np.float32)}}
    save_state(tmp_path / "state_1", state, {"itr": 1})
    with pytest.raises(ValueError, match="not a SAC actor"):
        module.write_actor(tmp_path / "state_1", tmp_path / "out.npz", {})


def test_measured_data_are_those_of_the_weights(tmp_path):
    weights = write_weights(tmp_path / "fake.npz", 3, 1)
    found = module.measure(weights, "Pendulum-v1", 400, seed=0)
    assert found["episodes"] == 2
    assert found["mean_return"] < 0
