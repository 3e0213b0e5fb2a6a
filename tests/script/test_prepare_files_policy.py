"""Preparing a policy's checkpoint: given, downloaded, or an own run's."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from script import download_url
from script.download_url import DownloadFailedError
from script.prepare_files import prepare_files
from tests.script.conftest import RUN, STATE
from util.checkpoint import save_state
from util.run_folder import write_run

pytestmark = pytest.mark.usefixtures("offline")


def make_run(tmp_path, **changes):
    """An own pre-training run with one state."""
    folder = tmp_path / "gym-pretrain" / RUN / "2025-01-01_10-00-00_42"
    save_state(folder / "checkpoint" / "state_200", {"w": np.zeros(1)}, {})
    values = {"denoising_steps": 20, "horizon_steps": 4} | changes
    OmegaConf.save(OmegaConf.create(values), folder / "config.yaml")
    write_run(folder, status="finished", command="python script/run.py x", seed=42)
    return folder


def put_policy(tmp_path):
    path = tmp_path / "gym-pretrain" / STATE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"policy")
    return path


def test_policy_that_is_there_is_used(tmp_path, config, caplog):
    path = put_policy(tmp_path)
    cfg = config("base_policy_path")
    record = prepare_files(cfg)["base_policy_path"]
    assert record == {
        "path": str(path),
        "source": "local",
        "command": None,
        "seed": None,
        "size": 6,
    }
    assert cfg.base_policy_path == str(path)
    assert f"| base_policy_path: local {path} |" in caplog.text


@pytest.mark.parametrize("part", ["", "checkpoint", "checkpoint/state_200"])
def test_policy_may_be_given_as_a_folder(tmp_path, config, part):
    run = make_run(tmp_path)
    cfg = config(base_policy_path=str(run / part))
    record = prepare_files(cfg)["base_policy_path"]
    assert record["path"] == cfg.base_policy_path
    assert record["path"] == str(run / "checkpoint" / "state_200")
    assert (record["source"], record["seed"]) == ("local", 42)


def test_own_run_stands_in_for_a_missing_policy_everywhere(tmp_path, config, caplog):
    run = make_run(tmp_path)
    cfg = config("base_policy_path")
    cfg.model = {"network_path": "${base_policy_path}", "other": 3}
    cfg.resolved = [{"network_path": cfg.base_policy_path}, None, "x"]
    cfg.nothing = None
    OmegaConf.set_struct(cfg, True)
    record = prepare_files(cfg)["base_policy_path"]
    state = str(run / "checkpoint" / "state_200")
    assert (record["path"], record["source"]) == (state, "own run")
    assert record["command"] == "python script/run.py x"
    assert record["size"] > 0
    assert cfg.base_policy_path == cfg.model.network_path == state
    assert cfg.resolved[0].network_path == state
    assert f"base_policy_path: own run {state}" in caplog.text


def test_missing_policy_stops_with_the_command_and_why_not_downloaded(config):
    cfg = config("base_policy_path")
    with pytest.raises(FileNotFoundError) as caught:
        prepare_files(cfg)
    message = str(caught.value)
    command = "--config-name=pre_diffusion_mlp --config-dir=cfg/gym/pretrain/hopper"
    assert command in message
    assert message.endswith("(not downloaded: offline: no net)")


def test_published_policy_is_downloaded_before_own_runs_are_searched(
    tmp_path, config, published
):
    make_run(tmp_path)
    cfg = config("base_policy_path")
    record = prepare_files(cfg)["base_policy_path"]
    ((url, name),) = published
    assert name == "state_3000.pt"
    assert (record["source"], record["command"]) == ("download", f"gdown {url}")
    assert record["path"] == cfg.base_policy_path


@pytest.mark.parametrize("source", ["generate", "local"])
def test_policy_is_not_downloaded_if_downloads_are_off(
    tmp_path, config, published, source
):
    make_run(tmp_path)
    cfg = config("base_policy_path", data={"source": source})
    assert prepare_files(cfg)["base_policy_path"]["source"] == "own run"
    assert not published


def test_generated_data_take_an_own_run_and_no_published_policy(
    tmp_path, config, demonstrator, published
):
    cfg = config("normalization_path", "base_policy_path")
    cfg.data.source = "generate"
    make_run(tmp_path)
    prepare_files(cfg)
    cfg = config("normalization_path", "base_policy_path")
    assert prepare_files(cfg)["base_policy_path"]["source"] == "own run"
    assert not published


def test_policy_of_others_on_generated_data_is_warned_about(
    tmp_path, config, demonstrator, caplog
):
    path = put_policy(tmp_path)
    prepare_files(config("normalization_path", "base_policy_path"))
    assert f"{path} was not trained on the generated data" in caplog.text


def test_file_of_a_run_with_another_number_of_steps_is_not_used(
    tmp_path, config, published, caplog
):
    put_policy(tmp_path)
    cfg = config("base_policy_path", denoising_steps=100)
    with pytest.raises(FileNotFoundError) as caught:
        prepare_files(cfg)
    assert "hopper-medium-v2_pre_diffusion_mlp_ta4_td100 " in caplog.text.replace(
        ".", " "
    )
    assert "denoising_steps=100" in str(caught.value)
    assert "no such checkpoint was published" in str(caught.value)
    assert not published


def test_failed_download_leaves_the_log_folder_as_it_was(tmp_path, config, monkeypatch):
    def fail(url, path):
        raise DownloadFailedError("quota")

    monkeypatch.setattr(download_url, "fetch_file", fail)
    with pytest.raises(FileNotFoundError, match=r"\(not downloaded: quota\)"):
        prepare_files(config("base_policy_path"))
    assert not list(tmp_path.iterdir())
