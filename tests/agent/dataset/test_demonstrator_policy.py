"""The demonstrator's policy: numbers, bounds, and which files are accepted."""

import numpy as np
import pytest

from agent.dataset import demonstrator_policy
from agent.dataset.demonstrator_policy import (
    Demonstrator,
    available_demonstrators,
    find_demonstrator,
)
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


def test_files_are_found_by_full_or_short_name(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrator_policy, "DEMONSTRATORS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'hopper-medium-v2'.*there are: none"):
        find_demonstrator("hopper-medium-v2")
    short = write_weights(tmp_path / "hopper.npz", 4, 2)
    assert find_demonstrator("hopper-medium-v2") == short
    full = write_weights(tmp_path / "hopper-medium-v2.npz", 4, 2)
    assert find_demonstrator("hopper-medium-v2") == full
    assert available_demonstrators() == ["hopper", "hopper-medium-v2"]
    with pytest.raises(FileNotFoundError, match="hopper, hopper-medium-v2"):
        find_demonstrator("walker2d-medium-v2")
