"""Generated data sets: the files, what they say about themselves, what is refused."""

import json

import numpy as np
import pytest

from agent.dataset import demonstrator, demonstrator_policy
from agent.dataset.demonstrator import SOURCE_FILE, generate_dataset
from agent.dataset.sequence import StitchedSequenceQLearningDataset
from tests.agent.dataset.fake_demonstrator import write_weights


@pytest.fixture
def weights(tmp_path, monkeypatch):
    folder = tmp_path / "demonstrators"
    folder.mkdir()
    monkeypatch.setattr(demonstrator_policy, "DEMONSTRATORS", folder)
    meta = {"env_id": "Pendulum-v1"}
    return write_weights(folder / "pendulum.npz", 3, 1, meta=meta)


def test_files_can_be_trained_on_and_are_normalised(tmp_path, weights):
    source = generate_dataset("pendulum", tmp_path / "data", n_steps=1100, seed=5)
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == ["normalization.npz", SOURCE_FILE, "train.npz"]
    dataset = StitchedSequenceQLearningDataset(
        tmp_path / "data" / "train.npz", horizon_steps=1
    )
    assert dataset.traj_lengths.tolist() == [200] * 5
    assert source["steps"] == 1000
    for values in (dataset.states, dataset.actions):
        np.testing.assert_allclose(values.min(axis=0), -1, atol=1e-5)
        np.testing.assert_allclose(values.max(axis=0), 1, atol=1e-5)
    bounds = np.load(tmp_path / "data" / "normalization.npz")
    assert bounds["obs_max"].shape == (3,)
    assert (bounds["obs_max"] <= [1, 1, 8]).all()


def test_source_says_how_the_data_came_about(tmp_path, weights):
    source = generate_dataset(
        "pendulum", tmp_path, n_steps=450, seed=5, stochastic=False
    )
    assert json.loads((tmp_path / SOURCE_FILE).read_text()) == source
    assert source["source"] == "generated"
    assert source["command"] == (
        "python -m agent.dataset.demonstrator --env_name=pendulum --n_steps=450 "
        "--seed=5"
    )
    assert (source["seed"], source["episodes"], source["mean_length"]) == (5, 2, 200.0)
    assert source["env_id"] == "Pendulum-v1"
    assert source["demonstrator"]["file"] == "pendulum.npz"
    assert source["demonstrator"]["return"] == 12.5
    assert len(source["demonstrator"]["sha256"]) == 64
    assert source["versions"]["numpy"] == np.__version__
    rewards = np.load(tmp_path / "train.npz")["rewards"].reshape(2, 200).sum(axis=1)
    assert source["mean_return"] == pytest.approx(rewards.mean(), rel=1e-5)
    assert source["std_return"] == pytest.approx(rewards.std(), rel=1e-3)


def test_same_seed_gives_the_same_files(tmp_path, weights):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate_dataset("pendulum", tmp_path / name, n_steps=400, seed=seed)
    for file in ("train.npz", "normalization.npz"):
        first, same, other = (
            dict(np.load(tmp_path / name / file)) for name in ("a", "b", "c")
        )
        assert all(first[k].tobytes() == same[k].tobytes() for k in first)
        assert any(first[k].tobytes() != other[k].tobytes() for k in first)


def test_steps_too_few_for_an_episode_are_refused_and_leave_nothing(tmp_path, weights):
    with pytest.raises(ValueError, match="n_steps=150 is too small: no episode of Pen"):
        generate_dataset("pendulum", tmp_path / "data", n_steps=150)
    assert not (tmp_path / "data").exists()
    with pytest.raises(ValueError, match="n_steps must be >= 1, got 0"):
        generate_dataset("pendulum", tmp_path / "data", n_steps=0)


def test_task_without_demonstrator_is_refused(tmp_path, weights):
    with pytest.raises(FileNotFoundError, match="'kitchen'.*there are: pendulum"):
        generate_dataset("kitchen", tmp_path)


def test_other_weights_may_be_given(tmp_path, weights):
    other = write_weights(tmp_path / "mine.npz", 3, 1, seed=9)
    source = generate_dataset(
        "Pendulum-v1", tmp_path / "data", n_steps=200, weights_path=other
    )
    assert source["env_id"] == "Pendulum-v1"
    assert source["demonstrator"]["seed"] == 9


def test_command_line_generates_what_the_function_does(tmp_path, weights, capsys):
    demonstrator.main(
        ["--env_name=pendulum", f"--save_dir={tmp_path}", "--n_steps=200", "--seed=3"]
    )
    assert json.loads(capsys.readouterr().out)["seed"] == 3
    assert (tmp_path / "train.npz").is_file()


@pytest.mark.full
def test_hopper_is_simulated_with_the_names_of_the_experiments(tmp_path):
    weights = write_weights(tmp_path / "hopper.npz", 11, 3, hidden=(256, 256))
    source = generate_dataset(
        "hopper-medium-v2", tmp_path / "data", n_steps=2000, weights_path=weights
    )
    assert source["env_id"] == "Hopper-v4"
    assert source["episodes"] > 20
    train = np.load(tmp_path / "data" / "train.npz")
    assert train["states"].shape == (source["steps"], 11)
    assert train["actions"].shape == (source["steps"], 3)
    assert train["terminals"].sum() == source["episodes"]
