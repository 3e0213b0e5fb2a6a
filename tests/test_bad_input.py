"""What a user may get wrong: one clear message, exit code 1, nothing left behind.

Each case goes through the launcher with a real leaf.
"""

from __future__ import annotations

import logging
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import absl.logging
import numpy as np
import pytest

from script import run
from tests.agent.tiny import LEAVES, OVERRIDES, eagerly, tiny_config, write_dataset
from util.checkpoint import load_policy
from util.config import ROOT, resolve_target
from util.torch_file import save_torch_file

NETWORK = "mlp_dims=[16]"
SMALL = ("data.source=local", "train.n_train_itr=2", "train.n_steps=2")
PPO = (*SMALL, f"model.actor.{NETWORK}", f"model.critic.{NETWORK}")


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """A pre-trained state folder and the same as a `.pt` file."""
    folder = tmp_path_factory.mktemp("policies")
    data = write_dataset(folder / "train.npz")
    options = (f"model.network.{NETWORK}", f"train_dataset_path={data}")
    cfg = tiny_config("pretrain", folder / "run", *options, "train.n_epochs=1")
    with eagerly():
        resolve_target(cfg._target_)(cfg).run()
    state = folder / "run" / "checkpoint" / "state_1"
    policy = load_policy(state)
    save_torch_file({"model": policy.weights, "ema": policy.ema}, folder / "policy.pt")
    return state, folder / "policy.pt"


@pytest.fixture
def folder(tmp_path, monkeypatch, eager):
    """A folder to work in, with data; logs and data of other runs are elsewhere."""
    monkeypatch.setenv("DPPO_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("DPPO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DPPO_WANDB_ENTITY", raising=False)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "argv", ["script/run.py"])
    monkeypatch.chdir(tmp_path)
    # Hydra sets logging up anew, at which TensorFlow's handler closes its stream.
    stream = absl.logging.get_absl_handler().python_handler
    monkeypatch.setattr(stream, "stream", sys.__stderr__)
    write_dataset(tmp_path / "train.npz")
    handlers = logging.getLogger().handlers[:]
    yield tmp_path
    logging.getLogger().handlers[:] = handlers


@pytest.fixture
def eager():
    with eagerly():
        yield


def launch(kind: str, *overrides: str) -> None:
    """Runs a leaf with tiny sizes; later overrides win."""
    place, name = LEAVES[kind]
    options = [f"--config-name={name}", f"--config-dir={ROOT / 'cfg' / place}"]
    given = {o.partition("=")[0]: o for o in (*OVERRIDES[kind], *overrides)}
    run.main([*options, *given.values()])


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file, and every folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        found[str(path.relative_to(folder))] = (
            (status.st_size, status.st_mtime_ns) if path.is_file() else (0, 0)
        )
    return found


def refuse(folder: Path, capfd, kind: str, *overrides: str) -> str:
    """The message with which the launcher refuses; checks that it left no trace."""
    before = snapshot(folder)
    with pytest.raises(SystemExit) as stop:
        launch(kind, *overrides)
    assert stop.value.code == 1
    assert snapshot(folder) == before
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    assert printed.count("Error: ") == 1
    return printed


# -- training data -------------------------------------------------------------------


def spoil(path: Path, **arrays: np.ndarray) -> None:
    """Replaces arrays of an npz."""
    with np.load(path) as file:
        content = {key: file[key] for key in file.files}
    np.savez(path, **{**content, **arrays})


ARRAYS = {
    "fewer actions than states": (
        {"actions": np.zeros((39, 2))},
        ["'actions' has 39 rows", "traj_lengths sum to 40"],
    ),
    "states of one dimension": (
        {"states": np.zeros(40)},
        ["'states' must be numeric of shape (N, Do)", "(40,)"],
    ),
    "actions of text": (
        {"actions": np.full((40, 2), "x")},
        ["'actions' must be numeric", "<U1"],
    ),
    "states with NaN": (
        {"states": np.full((40, 3), np.nan)},
        ["'states' has NaN or infinite values in 40 of 40 rows"],
    ),
    "states of another task": (
        {"states": np.zeros((40, 11))},
        ["states have 11 columns, but obs_dim=3"],
    ),
    "actions of another task": (
        {"actions": np.zeros((40, 6))},
        ["actions have 6 columns, but action_dim=2"],
    ),
    "episodes shorter than a chunk": (
        {"traj_lengths": np.full(20, 2)},
        ["no episode is long enough for horizon_steps=4"],
    ),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_training_arrays_of_wrong_shape(folder, capfd, case):
    arrays, words = ARRAYS[case]
    spoil(folder / "train.npz", **arrays)
    path = folder / "train.npz"
    printed = refuse(folder, capfd, "pretrain", f"train_dataset_path={path}")
    for word in (str(path), *words):
        assert word in printed


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_training_file(folder, capfd, share):
    path = folder / "train.npz"
    cut(path, share)
    printed = refuse(folder, capfd, "pretrain", f"train_dataset_path={path}")
    assert f"{path}: not a complete npz archive" in printed
    assert "Delete it to have it downloaded or generated anew." in printed


def test_training_file_that_is_not_there(folder, capfd):
    printed = refuse(
        folder,
        capfd,
        "pretrain",
        f"train_dataset_path={folder / 'none' / 'train.npz'}",
        "data.source=local",
    )
    assert f"train_dataset_path={folder / 'none' / 'train.npz'} is missing" in printed
    assert "data.source=generate" in printed


# -- checkpoints ---------------------------------------------------------------------


def spoiled(policies, folder: Path, which: int) -> Path:
    """A copy of a policy, to be damaged."""
    source = policies[which]
    if source.is_file():
        return Path(shutil.copy(source, folder / source.name))
    return Path(shutil.copytree(source, folder / "state_1"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_pt_file(folder, capfd, policies, share):
    path = spoiled(policies, folder, 1)
    cut(path, share)
    printed = refuse(folder, capfd, "ppo", *PPO, f"base_policy_path={path}")
    assert str(path) in printed


@pytest.mark.parametrize("name", ["arrays.npz", "manifest.json"])
def test_truncated_state_folder(folder, capfd, policies, name):
    path = spoiled(policies, folder, 0)
    cut(path / name, 0.5)
    printed = refuse(folder, capfd, "ppo", *PPO, f"base_policy_path={path}")
    assert f"checkpoint {path} is corrupt" in printed


def test_state_folder_without_its_done_marker(folder, capfd, policies):
    path = spoiled(policies, folder, 0)
    (path / "DONE").unlink()
    printed = refuse(folder, capfd, "ppo", *PPO, f"base_policy_path={path}")
    assert str(path) in printed


class Hostile:
    """Unpickled by Python, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_pt_file_is_not_executed(folder, capfd, zipped):
    path, target = folder / "policy.pt", folder / "executed"
    data = pickle.dumps({"model": Hostile(target)}, protocol=2)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("policy/data.pkl", data)
            archive.writestr("policy/version", "3\n")
    else:
        path.write_bytes(data)
    printed = refuse(folder, capfd, "ppo", *PPO, f"base_policy_path={path}")
    assert str(path) in printed
    assert not target.exists()
    pickle.loads(data)
    assert target.exists()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("overrides", "word"),
    [
        (["obs_dim=4", "env.specific.obs_size=4"], "obs_dim"),
        (["model.actor.mlp_dims=[8]"], "mlp_dims"),
    ],
)
def test_checkpoint_of_another_task_or_network(
    folder, capfd, policies, which, overrides, word
):
    path = policies[which]
    given = (*PPO, f"base_policy_path={path}", *overrides)
    printed = refuse(folder, capfd, "ppo", *given)
    assert str(path) in printed
    # Our own folders say what they hold; of a .pt file only the shapes are known.
    assert (word if which == 0 else "has shape") in printed


def test_checkpoint_that_is_not_there(folder, capfd):
    path = folder / "none.pt"
    printed = refuse(folder, capfd, "ppo", *PPO, f"base_policy_path={path}")
    assert f"base_policy_path={path}: no such checkpoint" in printed


# -- normalisation -------------------------------------------------------------------


def test_missing_normalisation(folder, capfd):
    path = folder / "none" / "normalization.npz"
    printed = refuse(folder, capfd, "ppo", *PPO, f"normalization_path={path}")
    assert f"normalization_path={path} is missing" in printed
    assert "data.source=generate" in printed


def test_normalisation_of_another_task(folder, capfd):
    path = folder / "normalization.npz"
    bounds = {
        f"{part}_{end}": np.zeros(7)
        for part in ("obs", "action")
        for end in ("min", "max")
    }
    np.savez(path, **bounds)
    printed = refuse(folder, capfd, "ppo", *PPO, f"normalization_path={path}")
    assert str(path) in printed


def test_truncated_normalisation(folder, capfd):
    path = folder / "normalization.npz"
    np.savez(path, obs_min=np.zeros(3))
    cut(path, 0.5)
    printed = refuse(folder, capfd, "ppo", *PPO, f"normalization_path={path}")
    assert str(path) in printed


# -- sizes ---------------------------------------------------------------------------

SIZES = {
    "act_steps=5": "act_steps must be <= horizon_steps=4, got 5.",
    "act_steps=0": "act_steps must be >= 1, got 0.",
    "horizon_steps=0": "horizon_steps must be >= 1, got 0.",
    "cond_steps=0": "cond_steps must be >= 1, got 0.",
    "ft_denoising_steps=0": "ft_denoising_steps must be >= 1 to fine-tune, got 0.",
    "ft_denoising_steps=5": (
        "ft_denoising_steps must be in 0..denoising_steps=4, got 5."
    ),
    "ft_denoising_steps=-1": (
        "ft_denoising_steps must be in 0..denoising_steps=4, got -1."
    ),
    "env.n_envs=0": "env.n_envs must be >= 1, got 0.",
    "obs_dim=4": "obs_dim must be 3, as the environment has, got 4.",
    "train.batch_size=0": "train.batch_size must be >= 1, got 0",
    "train.n_steps=0": "train.n_steps must be >= 1, got 0",
    "env.name=Nowhere-v0": "env.name='Nowhere-v0' is not known",
    "device=abacus": "device must be auto, cpu, gpu, gpu:<n> or cuda:<n>",
    "seed=-1": "seed must be >= 0, got -1.",
}


@pytest.mark.parametrize("override", SIZES)
def test_impossible_sizes(folder, capfd, override):
    assert SIZES[override] in refuse(folder, capfd, "ppo", *PPO, override)


@pytest.mark.parametrize("override", ["horizon_steps=0", "train.batch_size=0"])
def test_impossible_sizes_of_pre_training(folder, capfd, override):
    path = f"train_dataset_path={folder / 'train.npz'}"
    printed = refuse(folder, capfd, "pretrain", path, override)
    assert f"{override.partition('=')[0]} must be >= 1, got 0" in printed


def test_single_fine_tuned_step_works(folder):
    launch("ppo", *PPO, "ft_denoising_steps=1", "logdir=run")
    assert (folder / "run" / "checkpoint" / "last" / "DONE").exists()


# -- log folder ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pretrain", "ppo", "sac", "eval"])
def test_log_folder_that_cannot_be_made(folder, capfd, kind, policies):
    (folder / "file").touch()
    options = {
        "pretrain": (f"train_dataset_path={folder / 'train.npz'}",),
        "ppo": PPO,
        "sac": (),
        "eval": (f"base_policy_path={policies[0]}", f"model.network.{NETWORK}"),
    }[kind]
    logdir = folder / "file" / "run"
    printed = refuse(folder, capfd, kind, *options, f"logdir={logdir}")
    assert f"logdir={logdir} cannot be made: Not a directory" in printed
    assert "Set logdir or DPPO_LOG_DIR" in printed


# -- evaluation ----------------------------------------------------------------------


def test_evaluation_with_fine_tuned_steps_of_a_pre_trained_policy(
    folder, capfd, policies
):
    options = (f"base_policy_path={policies[0]}", f"model.network.{NETWORK}")
    printed = refuse(folder, capfd, "eval", *options, "ft_denoising_steps=2")
    assert f"{policies[0]} is a pre-trained checkpoint without actor_ft" in printed
