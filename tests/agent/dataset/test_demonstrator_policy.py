"""The demonstrator's policy: numbers, bounds, and which files are accepted."""

import numpy as np
import pytest

from agent.dataset import demonstrator_policy
from agent.dataset.demonstrator_policy import (
    DEMONSTRATORS,
    RECIPES,
    Demonstrator,
    available_demonstrators,
    find_recipe,
)
from env.gym_utils.registry import find_env
from model.common.mlp_gaussian import Gaussian_MLP
from tests.agent.dataset.fake_demonstrator import write_weights


@pytest.fixture
def path(tmp_path):
    return write_weights(tmp_path / "fake.npz", 4, 2)


def test_mean_and_deviation_are_those_of_the_network(path):
    policy = Demonstrator(path)
    network = Gaussian_MLP(2, 1, 4, [8, 8], "ReLU", tanh_output=False)
    arrays = dict(np.load(path))
    arrays.pop("meta")
    network.load_state_dict(arrays)
    obs = np.random.default_rng(1).standard_normal((5, 4))
    mean, std = network({"state": obs[:, None].astype(np.float32)})
    np.testing.assert_allclose(policy.act(obs, None), np.tanh(mean), atol=1e-6)
    noise = np.random.default_rng(2).standard_normal((5, 2))
    sampled = policy.act(obs, np.random.default_rng(2))
    np.testing.assert_allclose(sampled, np.tanh(mean + std * noise), atol=1e-6)
    assert (policy.obs_dim, policy.action_dim) == (4, 2)
    assert sampled.dtype == np.float32


def test_rows_do_not_depend_on_each_other(path):
    policy = Demonstrator(path)
    obs = np.random.default_rng(1).standard_normal((64, 4))
    one_by_one = [policy.act(row[None], None)[0] for row in obs]
    np.testing.assert_array_equal(policy.act(obs, None), one_by_one)


def test_noise_is_clipped_if_the_file_says_so(tmp_path):
    meta = {"randn_clip_value": 0.0}
    policy = Demonstrator(write_weights(tmp_path / "fake.npz", 4, 2, meta=meta))
    obs = np.ones((3, 4))
    sampled = policy.act(obs, np.random.default_rng(0))
    np.testing.assert_array_equal(sampled, policy.act(obs, None))


def test_actions_are_clipped_if_the_policy_does_not_squash(tmp_path):
    meta = {"tanh": False}
    policy = Demonstrator(write_weights(tmp_path / "fake.npz", 4, 2, meta=meta))
    actions = policy.act(np.full((3, 4), 1e3), None)
    assert np.abs(actions).max() == 1.0


def test_policy_on_normalised_values_sees_and_returns_them(tmp_path):
    plain = Demonstrator(write_weights(tmp_path / "plain.npz", 4, 2))
    low, high = np.zeros(4), np.full(4, 10.0)
    path = write_weights(
        tmp_path / "scaled.npz",
        4,
        2,
        obs_min=low,
        obs_max=high,
        action_min=np.zeros(2),
        action_max=np.full(2, 4.0),
    )
    raw = np.random.default_rng(0).uniform(0, 10, (6, 4))
    seen = 2 * raw / (10 + 1e-6) - 1
    expected = (plain.act(seen, None) + 1) * 2
    actual = Demonstrator(path).act(raw, None)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_damaged_or_incomplete_file_is_refused(tmp_path, path):
    arrays = dict(np.load(path))
    for name in ("meta", "logvar_min", "mlp_mean.moduleList.0.linear_1.weight"):
        part = {k: v for k, v in arrays.items() if k != name}
        np.savez(tmp_path / "part.npz", **part)
        with pytest.raises(ValueError, match=r"part\.npz"):
            Demonstrator(tmp_path / "part.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"fake\.npz: not a demonstrator's weights"):
        Demonstrator(path)


def test_unknown_activation_is_refused(tmp_path):
    path = write_weights(tmp_path / "fake.npz", 4, 2, meta={"activation": "Sine"})
    with pytest.raises(ValueError, match="Sine"):
        Demonstrator(path)


def test_experiment_without_its_policies_is_refused_with_those_there_are(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(demonstrator_policy, "DEMONSTRATORS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'hopper-medium-v2'.*those of: none"):
        find_recipe("hopper-medium-v2")
    path = write_weights(tmp_path / "hopper.npz", 4, 2)
    write_weights(tmp_path / "walker2d-expert.npz", 4, 2)
    (part,) = find_recipe("hopper-medium-v2").parts
    assert part.path == path
    assert available_demonstrators() == ["hopper-medium-v2", "walker2d-expert-v2"]
    for name in ("hopper-expert-v2", "walker2d-medium-expert-v2", "walker2d-expert"):
        match = f"'{name}'.*those of: hopper-medium-v2, walker2d-expert-v2"
        with pytest.raises(FileNotFoundError, match=match):
            find_recipe(name)


def test_everything_in_the_table_is_shipped_and_sums_to_one():
    assert available_demonstrators() == sorted(RECIPES)
    for name, recipe in RECIPES.items():
        assert sum(part.share for part in recipe.parts) == pytest.approx(1), name
        assert len({part.share for part in recipe.parts}) == 1, name


def test_table_has_the_qualities_of_each_task():
    qualities = ("medium", "expert", "medium-expert", "medium-replay")
    names = {f"{t}-{q}-v2" for t in ("walker2d", "halfcheetah") for q in qualities}
    assert set(RECIPES) == {"hopper-medium-v2", *names}
    for name, recipe in RECIPES.items():
        sampled = {part.stochastic for part in recipe.parts}
        assert sampled == {"replay" in name}, name


def test_environments_are_those_that_the_names_mean():
    assert {n: r.env_id for n, r in RECIPES.items()} == {
        name: find_env(name).id for name in RECIPES
    }


@pytest.mark.parametrize("path", sorted(DEMONSTRATORS.glob("*.npz")), ids=str)
def test_shipped_policy_is_small_and_says_what_it_is(path):
    used = {part.path for recipe in RECIPES.values() for part in recipe.parts}
    assert path in used
    assert path.stat().st_size < 100_000
    policy = Demonstrator(path)
    task = path.stem.partition("-")[0]
    dims = {"hopper": (11, 3), "walker2d": (17, 6), "halfcheetah": (17, 6)}
    assert (policy.obs_dim, policy.action_dim) == dims[task]
    assert f"cfg/gym/scratch/{task}-v2" in policy.meta["command"]
    assert "logdir" not in policy.meta["command"]
    assert policy.meta["episodes"] >= 40
    wanted = {"seed", "step", "mean_return", "std_return"}
    assert wanted <= policy.meta.keys()


@pytest.mark.parametrize("task", ["walker2d", "halfcheetah"])
def test_replay_is_evenly_spaced_in_training(task):
    parts = RECIPES[f"{task}-medium-replay-v2"].parts
    steps = [Demonstrator(part.path).meta["step"] for part in parts]
    assert len(set(np.diff(steps))) == 1
    assert steps[0] == 10_000
