"""Preparing data: where they come from, what is said, what is left behind."""

import json
import logging
import multiprocessing
import time
from typing import ClassVar

import numpy as np
import pytest

from script import prepare_files as module
from script.prepare_files import prepare_files
from tests.agent.dataset.fake_demonstrator import write_weights
from tests.script.conftest import put_files

pytestmark = pytest.mark.usefixtures("offline")


class Reads:
    """An agent with offline data."""

    config_keys: ClassVar = frozenset({"offline_dataset_path", "train.n_steps"})


class ReadsToo(Reads):
    """Inherits what its base declares."""

    config_keys: ClassVar = frozenset()


class DoesNotRead:
    """An agent without offline data."""

    config_keys: ClassVar = frozenset({"train.n_steps"})


def test_config_without_files_needs_none(config):
    assert prepare_files(config()) == {}
    cfg = config(train_dataset_path=None, normalization_path=None)
    cfg.base_policy_path = None
    assert prepare_files(cfg) == {}


def test_file_that_is_there_is_used_and_announced(tmp_path, config, caplog):
    folder = put_files(tmp_path, "train.npz")
    cfg = config("train_dataset_path")
    for source in ("auto", "local", "download"):
        cfg.data.source = source
        record = prepare_files(cfg)["train_dataset_path"]
        assert record == {
            "path": str(folder / "train.npz"),
            "source": "local",
            "command": None,
            "seed": None,
            "size": (folder / "train.npz").stat().st_size,
            "normalization_sha256": None,
        }
    line = f"| train_dataset_path: local {folder / 'train.npz'} |"
    assert line in caplog.text
    assert "+" + "-" * (len(line) - 2) + "+" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_missing_data_are_generated_while_offline(
    tmp_path, config, demonstrator, caplog
):
    cfg = config("train_dataset_path", "normalization_path", data={"seed": 7})
    record = prepare_files(cfg)
    folder = tmp_path / "data" / "gym" / "hopper-medium-v2"
    names = {path.name for path in folder.iterdir()}
    assert names == {"train.npz", "normalization.npz", "source.json"}
    for key in ("train_dataset_path", "normalization_path"):
        facts = record[key]
        assert facts["path"] == cfg[key]
        assert (facts["source"], facts["seed"]) == ("generated", 7)
        assert "--n_steps=400 --seed=7" in facts["command"]
        assert facts["size"] == (folder / facts["path"]).stat().st_size
        assert len(facts["normalization_sha256"]) == 64
    assert "generating 400 steps of hopper-medium-v2" in caplog.text
    assert "train_dataset_path: generated" in caplog.text
    json.dumps(record)


def test_data_of_several_policies_are_generated_if_they_were_not_published(
    tmp_path, config, demonstrator, published, caplog
):
    cfg = config("train_dataset_path", env="walker2d-medium-expert-v2")
    with pytest.raises(FileNotFoundError, match="those of: hopper-medium-v2"):
        prepare_files(cfg)
    for name in ("walker2d", "walker2d-expert"):
        path = demonstrator.with_name(f"{name}.npz")
        write_weights(path, 3, 1, meta={"env_id": "Pendulum-v1"})
    first = prepare_files(cfg)
    facts = first["train_dataset_path"]
    assert facts["source"] == "generated"
    assert [part["share"] for part in facts["demonstrators"]] == [0.5, 0.5]
    assert not published
    caplog.clear()
    assert prepare_files(cfg) == first
    assert "ignored" not in caplog.text


def test_generated_data_are_used_again_and_said_to_be_generated(
    config, demonstrator, caplog
):
    cfg = config("train_dataset_path")
    first = prepare_files(cfg)
    cfg.data.source = "generate"
    cfg.data.n_steps = 600
    caplog.clear()
    assert prepare_files(cfg) == first
    assert "generated" in caplog.text
    assert "data.n_steps=600 ignored: delete the folder" in caplog.text


def test_lost_normalisation_is_generated_with_its_data(config, demonstrator, tmp_path):
    cfg = config("train_dataset_path", "normalization_path")
    first = prepare_files(cfg)
    normalization = tmp_path / "data/gym/hopper-medium-v2/normalization.npz"
    normalization.unlink()
    assert prepare_files(cfg) == first


@pytest.mark.parametrize("present", ["train.npz", "normalization.npz"])
def test_nothing_is_generated_beside_files_from_elsewhere(
    tmp_path, config, demonstrator, present
):
    folder = put_files(tmp_path, present)
    cfg = config("train_dataset_path", "normalization_path")
    with pytest.raises(FileNotFoundError, match=f"{present} from elsewhere"):
        prepare_files(cfg)
    assert [path.name for path in folder.iterdir()] == [present]


def test_source_that_contradicts_the_files_is_refused(tmp_path, config, demonstrator):
    cfg = config("train_dataset_path")
    prepare_files(cfg)
    cfg.data.source = "download"
    with pytest.raises(ValueError, match="data.source=download, but .* 'generated'"):
        prepare_files(cfg)
    (tmp_path / "data/gym/hopper-medium-v2/source.json").unlink()
    cfg.data.source = "generate"
    with pytest.raises(ValueError, match="data.source=generate, but .* 'local'"):
        prepare_files(cfg)


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("auto", ["download: offline: no net", "generate: No demonstrator for"]),
        ("download", ["download: offline: no net"]),
        ("generate", ["generate: No demonstrator for 'hopper-medium-v2'"]),
        ("local", ["it is not there"]),
    ],
)
def test_file_that_cannot_be_had_stops_with_reasons_and_a_command(
    tmp_path, config, no_demonstrator, source, parts
):
    cfg = config("train_dataset_path", data={"source": source})
    with pytest.raises(FileNotFoundError) as caught:
        prepare_files(cfg)
    message = str(caught.value)
    assert f"{cfg.train_dataset_path} is missing (data.source={source})" in message
    assert all(part in message for part in parts)
    command = "python script/dataset/get_d4rl_dataset.py --env_name=hopper-medium-v2"
    assert command in message
    assert not list(tmp_path.iterdir())


def test_message_points_to_the_demonstrator_if_it_was_not_allowed(config, demonstrator):
    for source in ("local", "download"):
        cfg = config("train_dataset_path", data={"source": source})
        with pytest.raises(FileNotFoundError, match="set data.source=generate"):
            prepare_files(cfg)


def test_unpublished_data_without_demonstrator_name_both_reasons(config):
    cfg = config("normalization_path", env="ant-v9")
    with pytest.raises(FileNotFoundError, match="No published normalization"):
        prepare_files(cfg)


def test_file_of_another_kind_is_not_generated(tmp_path, config, demonstrator):
    cfg = config(normalization_path=str(tmp_path / "new" / "normalization.pth"))
    with pytest.raises(FileNotFoundError, match="pth is not a file that is generated"):
        prepare_files(cfg)


def test_download_comes_before_generating_and_is_remembered(
    config, demonstrator, published
):
    cfg = config("train_dataset_path", "normalization_path")
    record = prepare_files(cfg)
    url = "https://drive.google.com/drive/u/1/folders/18Ti-92XVq3sE24K096WAxjC_SCCngeHd"
    assert published == [(url, "train.npz")]
    assert record["train_dataset_path"]["source"] == "download"
    assert record["train_dataset_path"]["command"] == f"gdown {url}"
    assert prepare_files(cfg) == record


def test_normalisation_alone_is_downloaded_alone(config, demonstrator, published):
    record = prepare_files(config("normalization_path"))
    assert [name for _, name in published] == ["normalization.npz"]
    assert record["normalization_path"]["source"] == "download"


def test_generated_data_never_get_a_downloaded_normalisation(
    tmp_path, config, demonstrator, published
):
    cfg = config("train_dataset_path", "normalization_path")
    cfg.data.source = "generate"
    prepare_files(cfg)
    (tmp_path / "data/gym/hopper-medium-v2/normalization.npz").unlink()
    cfg.data.source = "auto"
    assert prepare_files(cfg)["normalization_path"]["source"] == "generated"
    assert not published


@pytest.mark.parametrize(
    ("agent", "reads"), [("Reads", True), ("ReadsToo", True), ("DoesNotRead", False)]
)
def test_offline_data_are_prepared_only_for_agents_that_read_them(
    config, no_demonstrator, agent, reads
):
    target = f"{__name__}.{agent}"
    cfg = config("offline_dataset_path", _target_=target)
    if reads:
        with pytest.raises(FileNotFoundError, match="offline_dataset_path="):
            prepare_files(cfg)
    else:
        assert prepare_files(cfg) == {}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"source": "magic"}, r"data\.source must be one of .*got 'magic'"),
        ({"n_steps": 0}, r"data\.n_steps must be an integer >= 1, got 0"),
        ({"n_steps": "many"}, r"data\.n_steps must be an integer >= 1, got 'many'"),
    ],
)
def test_impossible_options_are_refused(config, data, match):
    with pytest.raises(ValueError, match=match):
        prepare_files(config("train_dataset_path", data=data))


def test_config_without_data_section_is_automatic(tmp_path, config):
    put_files(tmp_path, "train.npz")
    cfg = config("train_dataset_path")
    del cfg.data
    assert prepare_files(cfg)["train_dataset_path"]["source"] == "local"


def generate_slowly(folder, calls):
    """Stands in for the generator: takes its time and counts how often it runs."""
    with calls.get_lock():
        calls.value += 1
    time.sleep(0.3)
    facts = {"source": "generated", "n_steps": 400, "seed": 0, "stochastic": True}
    (folder / "source.json").write_text(json.dumps(facts))
    np.savez(folder / "normalization.npz", x=np.zeros(1))
    np.savez(folder / "train.npz", x=np.zeros(1))


def test_two_processes_at_once_generate_once(config, demonstrator, monkeypatch):
    context = multiprocessing.get_context("fork")
    calls = context.Value("i", 0)
    monkeypatch.setattr(
        module,
        "generate_dataset",
        lambda env, folder, **_: generate_slowly(folder, calls),
    )
    cfg = config("train_dataset_path")
    workers = [context.Process(target=prepare_files, args=(cfg,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert calls.value == 1
