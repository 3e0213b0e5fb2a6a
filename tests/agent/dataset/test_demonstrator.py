"""Generated data sets: the files, what they say about themselves, what is refused."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pytest

from agent.dataset import demonstrator, demonstrator_policy
from agent.dataset.demonstrator import SOURCE_FILE, generate_dataset
from agent.dataset.demonstrator_policy import RECIPES, Part, Recipe
from agent.dataset.normalise import denormalise
from agent.dataset.sequence import StitchedSequenceQLearningDataset
from tests.agent.dataset.fake_demonstrator import write_weights

try:
    VERSION = version("mujoco")
except PackageNotFoundError:
    VERSION = ""


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Two shipped policies; "mixed" takes means of one and samples from the other."""
    folder = tmp_path / "demonstrators"
    folder.mkdir()
    monkeypatch.setattr(demonstrator_policy, "DEMONSTRATORS", folder)
    first, second = Part("first.npz"), Part("second.npz")
    mixed = Part("first.npz", 0.25), Part("second.npz", 0.75, stochastic=True)
    for name, parts in (
        ("pendulum", (first,)),
        ("other", (second,)),
        ("mixed", mixed),
        ("lost", (first, Part("lost.npz"))),
    ):
        monkeypatch.setitem(RECIPES, name, Recipe("Pendulum-v1", parts))
    write_weights(second.path, 3, 1, seed=4)
    return write_weights(first.path, 3, 1)


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
    (part,) = source["demonstrators"]
    assert (part["file"], part["share"], part["stochastic"]) == ("first.npz", 1, False)
    assert part["policy"]["return"] == 12.5
    assert part["mean_return"] == source["mean_return"]
    assert len(part["sha256"]) == 64
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


def raw_data(folder):
    """Arrays of a generated data set, states and actions as simulated."""
    data, bounds = (
        dict(np.load(folder / f"{name}.npz")) for name in ("train", "normalization")
    )
    for name, prefix in (("states", "obs"), ("actions", "action")):
        low, high = bounds[f"{prefix}_min"], bounds[f"{prefix}_max"]
        data[name] = denormalise(data[name], low, high)
    return data


def test_parts_have_their_shares_policies_and_ways_to_act(tmp_path, weights):
    source = generate_dataset("mixed", tmp_path / "mixed", n_steps=1600, seed=5)
    first, second = source["demonstrators"]
    assert (first["file"], first["share"]) == ("first.npz", 0.25)
    assert (second["file"], second["share"]) == ("second.npz", 0.75)
    assert (first["steps"], second["steps"], source["steps"]) == (400, 1200, 1600)
    assert (first["stochastic"], second["stochastic"]) == (False, True)
    # What was asked for: a config that asks for the same finds nothing to say.
    assert source["stochastic"] is False
    data = raw_data(tmp_path / "mixed")
    actions, states = data["actions"], data["states"]
    means = np.concatenate(
        [
            demonstrator_policy.Demonstrator(part.path).act(states[rows], None)
            for part, rows in zip(
                RECIPES["mixed"].parts, (slice(400), slice(400, None)), strict=True
            )
        ]
    )
    distance = np.abs(actions - means)[:, 0]
    assert distance[:400].max() < 1e-4 < distance[400:].mean()
    returns = data["rewards"].astype(np.float64).reshape(-1, 200).sum(axis=1)
    assert first["mean_return"] == pytest.approx(returns[:2].mean())
    assert second["mean_return"] == pytest.approx(returns[2:].mean())
    assert source["mean_return"] == pytest.approx(returns.mean())


def test_first_part_is_as_if_alone_and_the_next_starts_elsewhere(tmp_path, weights):
    generate_dataset("mixed", tmp_path / "mixed", n_steps=1600, seed=5)
    generate_dataset("pendulum", tmp_path / "alone", n_steps=400, seed=5)
    generate_dataset("other", tmp_path / "next", n_steps=1200, seed=5, stochastic=True)
    mixed, alone, after = (
        raw_data(tmp_path / name) for name in ("mixed", "alone", "next")
    )
    np.testing.assert_array_equal(mixed["rewards"][:400], alone["rewards"])
    np.testing.assert_allclose(mixed["states"][:400], alone["states"], atol=1e-5)
    assert np.abs(mixed["states"][400] - after["states"][0]).max() > 1e-3


def test_steps_too_few_for_an_episode_are_refused_and_leave_nothing(tmp_path, weights):
    with pytest.raises(ValueError, match="n_steps=150 is too small: no episode of Pen"):
        generate_dataset("pendulum", tmp_path / "data", n_steps=150)
    assert not (tmp_path / "data").exists()
    with pytest.raises(ValueError, match="n_steps=100 is too small.* by first.npz"):
        generate_dataset("mixed", tmp_path / "data", n_steps=400)
    assert not (tmp_path / "data").exists()
    with pytest.raises(ValueError, match="n_steps must be >= 1, got 0"):
        generate_dataset("pendulum", tmp_path / "data", n_steps=0)


def test_task_without_demonstrator_is_refused(tmp_path, weights):
    with pytest.raises(FileNotFoundError, match="'kitchen'.*: mixed, other, pendulum"):
        generate_dataset("kitchen", tmp_path)


def test_data_with_a_policy_that_is_not_there_are_refused(tmp_path, weights):
    with pytest.raises(FileNotFoundError, match="'lost'.*: mixed, other, pendulum"):
        generate_dataset("lost", tmp_path)


def test_other_weights_may_be_given(tmp_path, weights):
    other = write_weights(tmp_path / "mine.npz", 3, 1, seed=9)
    source = generate_dataset(
        "Pendulum-v1", tmp_path / "data", n_steps=200, weights_path=other
    )
    assert source["env_id"] == "Pendulum-v1"
    (part,) = source["demonstrators"]
    assert (part["file"], part["policy"]["seed"]) == ("mine.npz", 9)


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


@pytest.mark.full
@pytest.mark.skipif(VERSION != "3.2.7", reason="recorded with MuJoCo 3.2.7")
@pytest.mark.parametrize(
    ("n_steps", "seed", "stochastic", "digest"),
    [(20_000, 3, False, "40d1f3f77f34126d"), (4000, 0, True, "ae21b0712ac48879")],
)
def test_shipped_hopper_gives_the_data_that_it_gave_when_it_was_alone(
    tmp_path, n_steps, seed, stochastic, digest
):
    generate_dataset("hopper-medium-v2", tmp_path, n_steps, seed, stochastic)
    found = hashlib.sha256()
    for file in ("train.npz", "normalization.npz"):
        arrays = dict(np.load(tmp_path / file))
        for name in sorted(arrays):
            found.update(arrays[name].tobytes())
    assert found.hexdigest()[:16] == digest


@pytest.mark.full
@pytest.mark.parametrize("task", ["walker2d", "halfcheetah"])
def test_shipped_policies_reach_their_levels(tmp_path, task):
    quality = {"walker2d": (2900, 3400), "halfcheetah": (4800, 8500)}
    medium, expert = quality[task]
    both = generate_dataset(f"{task}-medium-expert-v2", tmp_path / "a", n_steps=20_000)
    low, high = (part["mean_return"] for part in both["demonstrators"])
    assert low == pytest.approx(medium, rel=0.15)
    assert high > expert
    replay = generate_dataset(
        f"{task}-medium-replay-v2", tmp_path / "b", n_steps=24_000
    )
    returns = [part["mean_return"] for part in replay["demonstrators"]]
    assert len(returns) == 6
    assert all(part["stochastic"] for part in replay["demonstrators"])
    assert returns[0] < returns[3] < returns[5]
    assert returns[5] < high
