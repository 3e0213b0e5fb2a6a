"""Fixtures of the tests of `script.prepare_files`."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from agent.dataset import demonstrator_policy
from script import download_url
from tests.agent.dataset.fake_demonstrator import write_weights

RUN = "hopper-medium-v2_pre_diffusion_mlp_ta4_td20"
STATE = f"{RUN}/2024-06-12_23-10-05/checkpoint/state_3000.pt"


@pytest.fixture
def offline(monkeypatch):
    """No network, whatever the machine has."""
    monkeypatch.setattr(download_url, "offline_reason", lambda url: "offline: no net")


@pytest.fixture
def demonstrator(tmp_path, monkeypatch):
    """A demonstrator that is shipped for Hopper; it swings a pendulum."""
    folder = tmp_path / "demonstrators"
    folder.mkdir()
    monkeypatch.setattr(demonstrator_policy, "DEMONSTRATORS", folder)
    meta = {"env_id": "Pendulum-v1"}
    return write_weights(folder / "hopper.npz", 3, 1, meta=meta)


@pytest.fixture
def no_demonstrator(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrator_policy, "DEMONSTRATORS", tmp_path / "none")


@pytest.fixture
def config(tmp_path):
    def make(*keys, env="hopper-medium-v2", data=None, **changes):
        folder = tmp_path / "data" / "gym" / "hopper-medium-v2"
        paths = {
            "train_dataset_path": str(folder / "train.npz"),
            "offline_dataset_path": str(folder / "train.npz"),
            "normalization_path": str(folder / "normalization.npz"),
            "base_policy_path": str(tmp_path / "gym-pretrain" / STATE),
        }
        data = {"n_steps": 400} | (data or {})
        values = {key: paths[key] for key in keys} | {"env": env, "data": data}
        return OmegaConf.create(values | changes)

    return make


def put_files(tmp_path, *names):
    folder = tmp_path / "data" / "gym" / "hopper-medium-v2"
    folder.mkdir(parents=True)
    for name in names:
        np.savez(folder / name, obs_min=np.zeros(1))
    return folder


@pytest.fixture
def published(monkeypatch):
    """Replaces downloads by empty archives; returns what was asked for."""
    asked = []

    def fetch_folder(url, path):
        asked.append((url, path.name))
        for name in ("train.npz", "normalization.npz"):
            np.savez(path.with_name(name), x=np.zeros(1))

    def fetch_file(url, path):
        asked.append((url, path.name))
        np.savez(path, x=np.zeros(1))
        path.with_name(f"{path.name}.npz").rename(path) if not path.exists() else None

    monkeypatch.setattr(download_url, "fetch_folder", fetch_folder)
    monkeypatch.setattr(download_url, "fetch_file", fetch_file)
    return asked
