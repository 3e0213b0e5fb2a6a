"""Published files: which link belongs to a config, and what counts as downloaded."""

import io
import json
import os
import socket
import sys
import threading
import time
import types
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from omegaconf import OmegaConf

from script import download_url
from script.download_url import (
    DownloadFailedError,
    fetch_file,
    fetch_folder,
    get_checkpoint_download_url,
    get_dataset_download_url,
    get_normalization_download_url,
    offline_reason,
)
from tests.cfg.fixed import compose_leaf, leaves
from util.torch_file import save_torch_file

DRIVE = "https://drive.google.com"
TABLE = json.loads(Path(download_url.__file__).with_name("downloads.json").read_text())
FILE_URL = f"{DRIVE}/file/d/some-id/view?usp=drive_link"
FOLDER_URL = f"{DRIVE}/drive/u/1/folders/some-id"


def config(**values):
    return OmegaConf.create(values)


@pytest.mark.parametrize(
    ("env", "path", "drive_id"),
    [
        (
            "hopper-medium-v2",
            "/data/gym/hopper-medium-v2/train.npz",
            "18Ti-92XVq3sE24K096WAxjC_SCCngeHd",
        ),
        ("can", "/data/robomimic/can/train.npz", "1J1qSvsDEf40jnMZY9W0r6ww--E3MdmK3"),
        (
            "can",
            "/data/robomimic/can-ph/train.npz",
            "1rpVsdpqWPygL89E-t4SLQmZgwQ3mpNnY",
        ),
        (
            "can",
            "/data/robomimic/can-img/train.npz",
            "1VGp_5xXXb1-GJutdSc6AZSzXNk-6_vRz",
        ),
        (
            "one_leg_low_dim",
            "/data/furniture/one_leg_low/train.npz",
            "1v4LG2D1fS8id5hqE7Jjt7MYNFUEBNyh4",
        ),
    ],
)
@pytest.mark.parametrize("key", ["train_dataset_path", "offline_dataset_path"])
def test_data_set_is_looked_up_by_experiment_and_folder(env, path, drive_id, key):
    url = get_dataset_download_url(config(env=env, **{key: path}))
    assert url.split("?")[0].endswith(drive_id)


@pytest.mark.parametrize("home", ["/home/phil", "/home/img", "/ph/img/alpha-img-ph"])
def test_names_further_up_the_path_do_not_matter(home):
    plain = config(env="can", train_dataset_path=f"{home}/robomimic/can/train.npz")
    url = get_dataset_download_url(plain)
    assert url.endswith("1J1qSvsDEf40jnMZY9W0r6ww--E3MdmK3")
    image = config(
        env_name="can", normalization_path=f"{home}/can-img/normalization.npz"
    )
    assert "1APAB6W10ECaNVVL72F0C2wC6oJhhbjWX" in get_normalization_download_url(image)


def test_simulator_settings_under_env_are_not_an_experiment():
    cfg = config(
        env={"name": "hopper"},
        env_name="hopper-medium-v2",
        normalization_path="/data/gym/hopper-medium-v2/normalization.npz",
    )
    url = get_normalization_download_url(cfg)
    assert (
        url == f"{DRIVE}/file/d/1HHZ2X6r5io6hjG-MHVFFoPMJV2fJ3lis/view?usp=drive_link"
    )


@pytest.mark.parametrize("mode", [None, "d57_r12"])
def test_avoid_data_are_told_apart_by_mode_or_else_by_folder(mode):
    cfg = config(
        env_name="avoiding-m5",
        normalization_path="/data/d3il/avoid_m2/normalization.npz",
        mode=mode,
    )
    assert "1Hoohw8buhsLzXoqivMA6IzKS5Izlj07_" in get_normalization_download_url(cfg)


@pytest.mark.parametrize("leaf", [f for f in leaves() if f.startswith("d3il/")])
def test_files_of_avoid_are_those_of_the_data_set(leaf):
    with mock.patch.dict(os.environ, DPPO_DATA_DIR="/data", DPPO_LOG_DIR="/log"):
        cfg = compose_leaf(leaf)
        OmegaConf.resolve(cfg)
    mode = TABLE["modes"][leaf.split("/")[2].removeprefix("avoid_")]
    assert cfg.mode == mode
    files = TABLE["experiments"]["avoid"][mode]
    for asked in (cfg, OmegaConf.masked_copy(cfg, [k for k in cfg if k != "mode"])):
        if "train_dataset_path" in cfg:
            assert get_dataset_download_url(asked) == files["dataset"]
        else:
            url = get_normalization_download_url(asked)
            assert url == files["normalization"]
    if "base_policy_path" in cfg:
        assert mode in cfg.base_policy_path
        assert get_checkpoint_download_url(cfg) in TABLE["checkpoints"].values()


@pytest.mark.parametrize(
    ("env", "folder"), [("ant-v4", "ant-v4"), ("lift", "lift-ph"), (None, "can")]
)
def test_what_was_not_published_is_refused_with_its_path(env, folder):
    cfg = config(
        env=env,
        train_dataset_path=f"/data/{folder}/train.npz",
        normalization_path=f"/data/{folder}/normalization.npz",
    )
    with pytest.raises(ValueError, match=f"No published dataset for /data/{folder}/tr"):
        get_dataset_download_url(cfg)
    with pytest.raises(ValueError, match=f"normalization for /data/{folder}/norm"):
        get_normalization_download_url(cfg)


def test_checkpoint_is_looked_up_by_run_time_and_step():
    run = "hopper-medium-v2_pre_diffusion_mlp_ta4_td20/2024-06-12_23-10-05"
    path = f"/log/gym-pretrain/{run}/checkpoint/state_3000.pt"
    url = get_checkpoint_download_url(config(base_policy_path=path))
    assert (
        url == f"{DRIVE}/file/d/1uV3beg2YuBRh11t7jnRsyd_M9bsFGOkA/view?usp=drive_link"
    )
    for other in (path.replace("3000", "300"), path.replace("hopper", "my-hopper")):
        assert get_checkpoint_download_url(config(base_policy_path=other)) is None
    assert get_checkpoint_download_url(config()) is None


def test_table_has_every_published_file_once():
    links = [
        link
        for variants in TABLE["experiments"].values()
        for files in variants.values()
        for link in files.values()
    ]
    assert len(links) == 2 * 25
    checkpoints = list(TABLE["checkpoints"].values())
    assert len(checkpoints) == 92
    assert len({*links, *checkpoints}) == len(links) + len(checkpoints)
    assert all(link.startswith(f"{DRIVE}/") for link in links + checkpoints)


@pytest.fixture
def drive(monkeypatch):
    """Stands in for the network: `drive.files` are what a download yields."""
    drive = types.SimpleNamespace(files={}, calls=[], error=None)

    def download(**options):
        drive.calls.append(("file", options))
        if drive.error:
            Path(options["output"]).write_bytes(b"half")
            raise drive.error
        (content,) = drive.files.values()
        Path(options["output"]).write_bytes(content)

    def download_folder(**options):
        drive.calls.append(("folder", options))
        for name, content in drive.files.items():
            Path(options["output"], "inner").mkdir(exist_ok=True)
            Path(options["output"], "inner", name).write_bytes(content)

    fake = types.SimpleNamespace(download=download, download_folder=download_folder)
    monkeypatch.setitem(sys.modules, "gdown", fake)
    monkeypatch.setattr(download_url, "offline_reason", lambda url: None)
    return drive


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **(arrays or {"states": np.arange(1000)}))
    return stream.getvalue()


def test_file_arrives_under_its_name(tmp_path, drive):
    drive.files = {"anything": npz()}
    path = tmp_path / "new" / "normalization.npz"
    fetch_file(FILE_URL, path)
    assert np.load(path)["states"].shape == (1000,)
    assert [p.name for p in path.parent.iterdir()] == ["normalization.npz"]
    ((kind, options),) = drive.calls
    assert (kind, options["id"]) == ("file", "some-id")
    assert options["timeout"] > 0


def test_folder_arrives_and_does_not_replace_what_is_there(tmp_path, drive):
    drive.files = {"train.npz": npz(), "normalization.npz": npz(a=np.zeros(3))}
    (tmp_path / "normalization.npz").write_bytes(b"own")
    added = fetch_folder(FOLDER_URL, tmp_path / "train.npz")
    assert [path.name for path in added] == ["train.npz"]
    assert (tmp_path / "normalization.npz").read_bytes() == b"own"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "normalization.npz",
        "train.npz",
    ]
    assert drive.calls[0][1]["id"] == "some-id"


def test_folder_without_the_file_is_refused(tmp_path, drive):
    drive.files = {"other.npz": npz()}
    with pytest.raises(DownloadFailedError, match=r"no train\.npz, only \['other"):
        fetch_folder(FOLDER_URL, tmp_path / "train.npz")
    assert not list(tmp_path.iterdir())


QUOTA_PAGE = b"\n<!DOCTYPE html><html><title>Quota exceeded</title></html>"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("train.npz", QUOTA_PAGE, "web page"),
        ("state_1.pt", QUOTA_PAGE, "web page"),
        ("train.npz", npz()[:-30], "not whole"),
        ("train.npz", npz().replace(bytes(range(1, 3)), b"\7\7", 1), "not whole"),
        ("state_1.pt", b"PK\x03\x04half", "not whole"),
        ("train.npz", b"", "did not arrive"),
    ],
)
def test_what_is_not_the_whole_file_is_refused_and_removed(
    tmp_path, drive, name, content, reason
):
    drive.files = {name: content}
    with pytest.raises(DownloadFailedError, match=reason):
        fetch_file(FILE_URL, tmp_path / name)
    with pytest.raises(DownloadFailedError, match=reason):
        fetch_folder(FOLDER_URL, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_whole_torch_file_is_accepted(tmp_path, drive):
    save_torch_file({"model": {"w": np.zeros(3, np.float32)}}, tmp_path / "made.pt")
    drive.files = {"x": (tmp_path / "made.pt").read_bytes()}
    fetch_file(FILE_URL, tmp_path / "state_1.pt")
    assert zipfile.is_zipfile(tmp_path / "state_1.pt")


def test_interrupted_download_is_reported_and_removed(tmp_path, drive):
    drive.error = RuntimeError("connection\nreset")
    with pytest.raises(DownloadFailedError, match="download failed: connection reset"):
        fetch_file(FILE_URL, tmp_path / "train.npz")
    assert not list(tmp_path.iterdir())


def test_missing_gdown_is_reported(tmp_path, drive, monkeypatch):
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(DownloadFailedError, match="gdown is not installed"):
        fetch_file(FILE_URL, tmp_path / "train.npz")


def test_nothing_is_created_while_offline(tmp_path, drive, monkeypatch):
    monkeypatch.setattr(download_url, "offline_reason", lambda url: f"no way to {url}")
    with pytest.raises(DownloadFailedError, match=f"no way to {DRIVE}$"):
        fetch_file(FILE_URL, tmp_path / "new" / "train.npz")
    assert not list(tmp_path.iterdir())
    assert not drive.calls


@pytest.fixture
def direct(monkeypatch):
    """No proxies, and nothing remembered from other tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    offline_reason.cache_clear()
    yield
    offline_reason.cache_clear()


def test_closed_port_is_offline(direct):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    reason = offline_reason(f"http://127.0.0.1:{port}")
    assert reason.startswith(f"offline: http://127.0.0.1:{port} cannot be reached")


def test_silent_server_is_offline_after_the_time_limit(direct, monkeypatch):
    monkeypatch.setattr(download_url, "OFFLINE_AFTER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        reason = offline_reason(url)
        assert time.monotonic() - start < 5
        assert reason.startswith(f"offline: {url}")
        assert offline_reason(url) is reason


def test_server_that_refuses_is_online(direct):
    answer = b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert offline_reason(f"http://127.0.0.1:{server.getsockname()[1]}") is None
        thread.join()
