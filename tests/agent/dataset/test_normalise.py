"""Scaling to [-1, 1] and writing files together."""

import json

import numpy as np
import pytest

from agent.dataset import normalise as module
from agent.dataset.normalise import bounds_of, denormalise, normalise, write_together


def test_smallest_becomes_minus_one_and_largest_nearly_one():
    values = np.array([[0.0, 5.0], [2.0, 5.0], [1.0, 5.0]], np.float32)
    scaled = normalise(values, values.min(axis=0), values.max(axis=0))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:, 0], [-1.0, 1.0, 0.0], atol=2e-6)
    np.testing.assert_array_equal(scaled[:, 1], [-1.0, -1.0, -1.0])


def test_denormalise_undoes_normalise():
    rng = np.random.default_rng(0)
    values = rng.uniform(-3, 7, (50, 4))
    low, high = values.min(axis=0), values.max(axis=0)
    back = denormalise(normalise(values, low, high), low, high)
    np.testing.assert_allclose(back, values, atol=2e-6)


def test_bounds_are_those_of_each_column():
    bounds = bounds_of(np.array([[1, 5], [3, 2]]), np.array([[4], [-4]]))
    assert {name: value.tolist() for name, value in bounds.items()} == {
        "obs_min": [1, 2],
        "obs_max": [3, 5],
        "action_min": [-4],
        "action_max": [4],
    }


@pytest.mark.parametrize("compress", [False, True])
def test_files_are_written_into_a_new_folder(tmp_path, compress):
    files = {"a.npz": {"x": np.zeros(1000)}, "b.json": {"y": 1}}
    write_together(tmp_path / "new" / "folder", files, compress=compress)
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["a.npz", "b.json"]
    assert np.load(folder / "a.npz")["x"].shape == (1000,)
    assert json.loads((folder / "b.json").read_text()) == {"y": 1}
    assert ((folder / "a.npz").stat().st_size < 1000) == compress


def test_failure_leaves_old_files_and_no_new_ones(tmp_path):
    (tmp_path / "a.npz").write_text("old")
    with pytest.raises(TypeError):
        write_together(tmp_path, {"a.npz": {"x": 1}, "b.json": {"y": object()}})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert (tmp_path / "a.npz").read_text() == "old"


def test_unfinished_files_lie_in_folders_with_a_known_prefix(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        module.np, "savez", lambda path, **_: seen.append(path) or path.touch()
    )
    write_together(tmp_path, {"a.npz": {}})
    assert seen[0].parent.name.startswith(module.ASIDE_PREFIX)
    assert seen[0].parent.parent == tmp_path
