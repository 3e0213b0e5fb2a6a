"""D4RL files become training sets; recorded sets of the reference are reproduced."""

import json
import runpy
import sys

import h5py
import numpy as np
import pytest

from agent.dataset.sequence import StitchedSequenceQLearningDataset
from script.dataset import get_d4rl_dataset
from script.dataset.get_d4rl_dataset import (
    episode_lengths,
    main,
    make_dataset,
    read_d4rl,
)
from tests.parity.case import HERE
from util.compat import reference

PROCESS = HERE / "process"
CASES = sorted(PROCESS.glob("d4rl*.npz"))
COMPAT = "d4rl_drop_nonpositive_returns"


@pytest.fixture
def write(tmp_path):
    """Writes a D4RL file: episodes of 3, 2 and 4 steps, and one step left over."""

    def write_file(**changes):
        rows = np.arange(10)
        arrays = {
            "observations": np.stack([rows, -rows], axis=1).astype(np.float32),
            "actions": np.linspace(-2, 2, 10, dtype=np.float32)[:, None],
            "rewards": np.array([1, 1, 1, -1, -1, 2, 2, 2, 2, 9], np.float32),
            "terminals": np.isin(rows, [2]),
            "timeouts": np.isin(rows, [4, 8]),
            "infos/qpos": np.zeros((10, 3)),
            **changes,
        }
        path = tmp_path / "raw.hdf5"
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                if array is not None:
                    file[name] = array
        return path

    return write_file


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_recorded_set_is_reproduced(path, tmp_path):
    arrays = dict(np.load(path))
    meta = json.loads(str(arrays.pop("meta")))
    with reference():
        make_dataset(
            PROCESS / "data" / meta["file"],
            tmp_path,
            noise=arrays["noise/0"],
            **meta["call"],
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == list(arrays["out/files"])
    for key, expected in arrays.items():
        if key.startswith("out/") and key != "out/files":
            _, file, name = key.split("/")
            made = np.load(tmp_path / f"{file}.npz")[name]
            assert made.dtype == expected.dtype
            np.testing.assert_array_equal(made, expected, err_msg=key)


def test_there_are_recorded_sets():
    assert len(CASES) == 3


def test_whole_episodes_are_kept_and_scaled_by_their_own_range(write, tmp_path):
    files = make_dataset(write(), tmp_path / "out")
    train, bounds = files["train.npz"], files["normalization.npz"]
    assert train["traj_lengths"].tolist() == [3, 2, 4]
    assert train["rewards"].tolist() == [1, 1, 1, -1, -1, 2, 2, 2, 2]
    assert train["terminals"].nonzero()[0].tolist() == [2]
    assert bounds["obs_max"].tolist() == [8, 0]
    assert bounds["obs_min"].tolist() == [0, -8]
    np.testing.assert_allclose(train["states"][[0, 8]], [[-1, 1], [1, -1]], atol=1e-6)
    assert train["states"].dtype == np.float32
    assert files["val.npz"]["states"].shape == (0, 2)
    dataset = StitchedSequenceQLearningDataset(
        tmp_path / "out" / "train.npz", horizon_steps=1
    )
    assert dataset.starts.tolist() == [0, 1, 2, 3, 5, 6, 7]
    saved = np.load(tmp_path / "out" / "normalization.npz")
    assert set(saved) == {"obs_min", "obs_max", "action_min", "action_max"}


def test_split_is_seeded_and_keeps_order(write, tmp_path):
    rows = np.arange(100)
    path = write(
        observations=rows[:, None].astype(np.float32),
        actions=np.zeros((100, 1), np.float32),
        rewards=np.ones(100, np.float32),
        terminals=np.zeros(100, bool),
        timeouts=rows % 5 == 4,
    )
    splits = []
    for seed in (0, 0, 1):
        rng = np.random.default_rng(seed)
        files = make_dataset(path, tmp_path, val_split=0.3, rng=rng)
        train, val = (files[name]["states"][:, 0] for name in ("train.npz", "val.npz"))
        assert (len(train), len(val)) == (70, 30)
        assert (np.diff(train) > 0).all()
        assert len(np.union1d(train, val)) == 100
        splits.append(train.tolist())
    assert splits[0] == splits[1] != splits[2]


def test_only_the_first_episodes_are_taken_and_measured(write, tmp_path):
    files = make_dataset(write(), tmp_path, save_name_prefix="few_", max_episodes=2)
    assert files["few_train.npz"]["traj_lengths"].tolist() == [3, 2]
    assert files["few_normalization.npz"]["obs_max"].tolist() == [4, 0]
    names = {f"few_{name}.npz" for name in ("train", "val", "normalization")}
    assert {p.name for p in tmp_path.iterdir() if p.suffix == ".npz"} == names


def test_step_with_both_flags_ends_one_episode():
    terminals = np.array([0, 0, 1, 0, 0], bool)
    timeouts = np.array([0, 0, 1, 0, 1], bool)
    assert episode_lengths(terminals, timeouts).tolist() == [3, 2]
    with reference():
        assert episode_lengths(terminals, timeouts).tolist() == [3, 0, 2]


def test_file_without_timeouts_ends_episodes_at_terminals(write, tmp_path, caplog):
    files = make_dataset(write(timeouts=None), tmp_path)
    assert files["train.npz"]["traj_lengths"].tolist() == [3]
    assert "no timeouts" in caplog.text


def test_large_arrays_are_read_piece_by_piece(write, monkeypatch):
    path = write()
    whole = read_d4rl(path)
    monkeypatch.setattr(get_d4rl_dataset, "_READ_AT_ONCE", 3)
    for name, array in read_d4rl(path).items():
        np.testing.assert_array_equal(array, whole[name])
        assert array.dtype == (bool if name[0] == "t" else np.float32)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"actions": None}, "array 'actions' is missing, got .*'observations'"),
        ({"rewards": np.zeros((10, 1))}, "'rewards' must be numeric with 1 axes"),
        ({"observations": np.zeros(10)}, "'observations' must be numeric with 2 axes"),
        ({"observations": np.array([[b"a"]] * 10)}, "'observations' must be numeric"),
        ({"actions": np.zeros((9, 1))}, "'actions' must have 10 rows as obs.*got 9"),
        ({"actions": np.full((10, 1), np.nan)}, "'actions' has NaN or infinite"),
        (
            {"terminals": np.zeros(10, bool), "timeouts": np.zeros(10, bool)},
            "no episode comes to an end",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_and_nothing_is_written(
    write, tmp_path, changes, match
):
    with pytest.raises(ValueError, match=rf"raw\.hdf5: .*{match}|{match}"):
        make_dataset(write(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_or_damaged_file_is_refused(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load_path=.*absent\.hdf5"):
        make_dataset(tmp_path / "absent.hdf5", tmp_path)
    path = write()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"raw\.hdf5: not a readable HDF5 file"):
        make_dataset(path, tmp_path)


@pytest.mark.parametrize("val_split", [-0.1, 1.0])
def test_impossible_share_is_refused(write, tmp_path, val_split):
    with pytest.raises(ValueError, match=r"val_split must be in \[0, 1\)"):
        make_dataset(write(), tmp_path, val_split=val_split)


@pytest.mark.parametrize("max_episodes", [0, -2])
def test_impossible_number_of_episodes_is_refused(write, tmp_path, max_episodes):
    with pytest.raises(ValueError, match="max_episodes must be >= 1 or -1"):
        make_dataset(write(), tmp_path, max_episodes=max_episodes)


def test_split_that_leaves_nothing_for_training_is_refused(write, tmp_path):
    with pytest.raises(ValueError, match="no episode is left for training"):
        make_dataset(write(), tmp_path / "out", val_split=0.9)


def test_command_line_writes_and_reports(write, tmp_path, capsys):
    out = tmp_path / "out"
    main([f"--load_path={write()}", f"--save_dir={out}", "--env_name=hopper"])
    printed = capsys.readouterr().out
    assert "hopper train.npz: 3 episodes, 9 steps, return 3.0 +- 4.1" in printed
    assert "hopper val.npz: no episodes" in printed
    main([f"--load_path={write()}", f"--save_dir={out}", "--compat", COMPAT])
    assert np.load(out / "train.npz")["traj_lengths"].tolist() == [3, 4]
    assert np.load(out / "normalization.npz")["obs_max"].tolist() == [9, 0]


def test_script_runs_as_a_file_and_explains_errors(tmp_path, monkeypatch):
    arguments = ["get_d4rl_dataset.py", f"--load_path={tmp_path / 'absent.hdf5'}"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(SystemExit, match=r"Error: load_path=.*absent\.hdf5"):
        runpy.run_path(get_d4rl_dataset.__file__, run_name="__main__")
