"""Exporting a demonstrator: which checkpoint is taken, and what is written."""

import numpy as np
import pytest
import yaml

from agent.dataset.demonstrator_policy import Demonstrator
from script.dataset import export_demonstrator as module
from tests.agent.dataset.fake_demonstrator import write_weights
from util.checkpoint import save_state
from util.run_folder import write_run


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


@pytest.fixture
def export(run, monkeypatch):
    """Exports with given returns of the checkpoints; returns the policy."""
    reached = {0: -900.0, 10: -100.0, 20: -500.0}
    measured = []

    def write_and_note(state, out, meta):
        measured.append(int(state.name.removeprefix("state_")))
        write_actor(state, out, meta)

    def measure(*_):
        found = {"episodes": 2, "std_return": 1.0}
        return {**found, "mean_return": reached[measured[-1]]}

    write_actor = module.write_actor
    monkeypatch.setattr(module, "write_actor", write_and_note)
    monkeypatch.setattr(module, "measure", measure)

    def export(*arguments):
        module.main([str(run), "--out", str(run / "out.npz"), *arguments])
        return Demonstrator(run / "out.npz"), measured[:-1]

    return export


def test_checkpoint_nearest_the_target_is_written(export):
    policy, measured = export("--target", "-450")
    assert measured == [0, 10, 20]
    assert (policy.obs_dim, policy.action_dim) == (3, 1)
    assert policy.meta["step"] == 20
    assert policy.meta["mean_return"] == -500.0
    assert policy.meta["seed"] == 5
    assert "critic.Q1.weight" not in policy.weights


def test_without_a_target_the_best_checkpoint_is_written(export):
    policy, _ = export()
    assert (policy.meta["step"], policy.meta["mean_return"]) == (10, -100.0)


def test_only_checkpoints_of_the_range_are_rolled_out(export):
    policy, measured = export("--first", "20", "--last", "20")
    assert measured == [20]
    assert policy.meta["step"] == 20


def test_command_is_that_of_the_run_without_its_folder(run, export):
    write_run(run, command="python script/run.py seed=5 logdir=/x/y 'a=[1,2]'")
    policy, _ = export()
    assert policy.meta["command"] == "python script/run.py seed=5 'a=[1,2]'"


def test_run_without_checkpoints_is_refused(run):
    arguments = [str(run), "--first", "30", "--out", "x.npz"]
    with pytest.raises(SystemExit, match="no checkpoint from iteration 30"):
        module.main(arguments)


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
