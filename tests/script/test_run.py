from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import types

import pytest
import yaml

from script import run
from tests.script import fake_agent
from util.config import ROOT

CONFIG = """
_target_: tests.script.fake_agent.FakeAgent
name: fake
logdir: ${oc.env:DPPO_LOG_DIR}/${name}/${now:%Y-%m-%d}_${now:%H-%M-%S}_${seed}
seed: 42
device: auto
wandb:
  entity: ${oc.env:DPPO_WANDB_ENTITY}
train:
  n_epochs: 2
  learning_rate: 1e-4
model:
  _target_: tests.script.fake_agent.FakeModel
  width: 3
"""


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A folder with one config, log and data folders, and no files to prepare."""
    monkeypatch.setenv("DPPO_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("DPPO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("DPPO_WANDB_ENTITY", raising=False)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    stub = types.ModuleType("script.prepare_files")
    stub.prepare_files = lambda cfg: {"train": "generated"}
    monkeypatch.setitem(sys.modules, "script.prepare_files", stub)
    monkeypatch.setattr(sys, "argv", ["script/run.py"])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "fake.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    handlers = logging.getLogger().handlers[:]
    yield tmp_path
    logging.getLogger().handlers[:] = handlers


def launch(*arguments: str) -> None:
    run.main(["--config-name=fake", "--config-dir=mine", *arguments])


def folders(root) -> list:
    return sorted(path.parent for path in root.glob("log/fake/*/run.json"))


def facts(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_run_leaves_config_log_and_facts(surroundings):
    launch("seed=7")
    (folder,) = folders(surroundings)
    assert (folder / "result.txt").read_text() == "7"
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert written["logdir"] == str(folder)
    assert written["seed"] == 7
    assert written["wandb"]["entity"] is None
    assert "agent runs with seed 7" in (folder / "run.log").read_text()
    known = facts(folder)
    assert known["status"] == "finished"
    assert known["data"] == {"train": "generated"}
    assert len(known["digest"]) == 16
    assert known["command"].startswith("python script/run.py --config-name=fake")
    assert "hydra" not in known["command"]


def test_numbers_in_e_notation_are_numbers(surroundings):
    launch("train.learning_rate=3e-5")
    written = yaml.safe_load((folders(surroundings)[0] / "config.yaml").read_text())
    assert written["train"]["learning_rate"] == 3e-5
    assert isinstance(written["train"]["learning_rate"], float)


@pytest.mark.parametrize(
    "override", ["model.rate=0.5", "+model.rate=0.5", "++model.rate=0.5"]
)
def test_key_absent_from_the_yaml_can_be_set(surroundings, override):
    launch(override, "cond_steps=2", "wandb=null")
    written = yaml.safe_load((folders(surroundings)[0] / "config.yaml").read_text())
    assert written["model"]["rate"] == 0.5
    assert written["cond_steps"] == 2
    assert written["wandb"] is None


def test_key_can_be_deleted(surroundings):
    launch("~wandb")
    written = yaml.safe_load((folders(surroundings)[0] / "config.yaml").read_text())
    assert "wandb" not in written


def test_misspelt_override_is_one_message_and_code_1(surroundings, capfd):
    with pytest.raises(SystemExit) as stop:
        launch("train.n_epoch=3")
    assert stop.value.code == 1
    printed = capfd.readouterr().err
    assert "Unknown key 'train.n_epoch'" in printed
    assert "on the command line (train.n_epoch=3)" in printed
    assert "Did you mean 'train.n_epochs'?" in printed
    assert "Traceback" not in printed
    assert not (surroundings / "log").exists()


def test_misspelt_key_names_its_file(surroundings, capfd):
    text = CONFIG.replace("  width: 3", "  widht: 3")
    (surroundings / "mine" / "fake.yaml").write_text(text)
    with pytest.raises(SystemExit):
        launch()
    printed = capfd.readouterr().err
    assert "Unknown key 'model.widht' in mine/fake.yaml" in printed
    assert "'model.width'" in printed


def test_full_error_shows_the_cause(surroundings, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(run.RunError) as stop:
        launch("train.n_epoch=3")
    assert isinstance(stop.value.__cause__, ValueError)


def test_agent_that_cannot_be_built_leaves_nothing(surroundings, capfd):
    with pytest.raises(SystemExit) as stop:
        launch("train.n_epochs=0")
    assert stop.value.code == 1
    assert "train.n_epochs must be >= 1, got 0." in capfd.readouterr().err
    assert not (surroundings / "log").exists()


def test_empty_logdir_is_used_and_stays_when_the_agent_cannot_be_built(surroundings):
    (surroundings / "there").mkdir()
    with pytest.raises(SystemExit):
        launch("train.n_epochs=0", "logdir=there")
    assert not list((surroundings / "there").iterdir())
    launch("logdir=there")
    assert (surroundings / "there" / "result.txt").exists()


def test_folder_of_a_resumed_run_survives_a_bad_config(surroundings):
    launch()
    (folder,) = folders(surroundings)
    with pytest.raises(SystemExit):
        launch("train.n_epochs=0", f"resume={folder}")
    assert (folder / "result.txt").exists()


def test_logdir_that_cannot_be_made_is_one_message(surroundings, capfd):
    (surroundings / "locked").touch()
    with pytest.raises(SystemExit) as stop:
        launch("logdir=locked/run")
    assert stop.value.code == 1
    printed = capfd.readouterr().err
    assert "locked" in printed
    assert "Traceback" not in printed


def test_missing_file_is_one_message(surroundings, capfd, monkeypatch):
    def refuse(cfg):
        raise FileNotFoundError("train.npz is missing; make it with X.")

    monkeypatch.setattr(sys.modules["script.prepare_files"], "prepare_files", refuse)
    with pytest.raises(SystemExit) as stop:
        launch()
    assert stop.value.code == 1
    printed = capfd.readouterr().err
    assert "train.npz is missing; make it with X." in printed
    assert "Traceback" not in printed


def test_crash_keeps_its_traceback(surroundings, capfd):
    with pytest.raises(SystemExit) as stop:
        launch("train.ending=crash")
    assert stop.value.code == 1
    assert "agent crashed" in capfd.readouterr().err
    (folder,) = folders(surroundings)
    assert facts(folder)["status"] == "failed"
    assert "RuntimeError: agent crashed" in (folder / "run.log").read_text()


def test_unknown_config_lists_those_there(surroundings, capfd):
    with pytest.raises(SystemExit) as stop:
        run.main(["--config-name=fak", "--config-dir=mine"])
    assert stop.value.code == 1
    assert "configs there: fake" in capfd.readouterr().err


def test_interrupt_exits_130_and_says_how_to_resume(surroundings, capfd):
    with pytest.raises(SystemExit) as stop:
        launch("train.ending=interrupt", "seed=3")
    assert stop.value.code == 130
    (folder,) = folders(surroundings)
    assert facts(folder)["status"] == "interrupted"
    printed = capfd.readouterr().err
    assert f"seed=3 resume={folder}" in printed


def test_taken_logdir_gets_a_suffix(surroundings):
    launch("logdir=log/fake/same")
    launch("logdir=log/fake/same")
    names = [folder.name for folder in folders(surroundings)]
    assert names == ["same", "same_1"]


def test_every_job_of_a_sweep_has_its_folder(surroundings):
    launch("seed=1,2,3", "logdir=log/fake/sweep", "--multirun")
    found = folders(surroundings)
    assert len(found) == 3
    assert {(f / "result.txt").read_text() for f in found} == {"1", "2", "3"}
    assert [f.name for f in found] == ["sweep_0", "sweep_1", "sweep_2"]


def test_other_jobs_of_a_sweep_run_when_one_cannot(surroundings, capfd):
    with pytest.raises(SystemExit) as stop:
        launch("train.n_epochs=0,1,2", "--multirun")
    assert stop.value.code == 1
    assert len(folders(surroundings)) == 2
    assert "got 0" in capfd.readouterr().err


def test_resume_goes_on_in_the_folder_named(surroundings):
    launch()
    (folder,) = folders(surroundings)
    launch(f"resume={folder}")
    assert folders(surroundings) == [folder]


def test_resume_of_another_experiment_is_said(surroundings):
    launch()
    (folder,) = folders(surroundings)
    launch(f"resume={folder}", "seed=9")
    assert facts(folder)["seed"] == 9


def test_resume_of_no_folder_is_refused(surroundings, capfd):
    with pytest.raises(SystemExit):
        launch("resume=log/fake/none")
    assert "resume=log/fake/none: there is no such run" in capfd.readouterr().err


def test_resume_auto_takes_the_unfinished_run_of_equal_digest(surroundings, capfd):
    with pytest.raises(SystemExit):
        launch("train.ending=interrupt")
    (folder,) = folders(surroundings)
    with pytest.raises(SystemExit):
        launch("train.ending=interrupt", "resume=auto")
    assert folders(surroundings) == [folder]
    assert f"resume=auto: continuing {folder}" in capfd.readouterr().out


def test_resume_auto_starts_anew_for_another_config(surroundings, capfd):
    with pytest.raises(SystemExit):
        launch("train.ending=interrupt")
    launch("resume=auto", "train.n_epochs=5")
    assert len(folders(surroundings)) == 2
    assert "starting a new one" in capfd.readouterr().out


def test_run_works_from_another_working_directory(surroundings, monkeypatch):
    (surroundings / "else").mkdir()
    monkeypatch.chdir(surroundings / "else")
    run.main(["--config-name=fake", f"--config-dir={surroundings / 'mine'}"])
    assert len(folders(surroundings)) == 1
    assert not any((surroundings / "else").iterdir())


def test_working_directory_with_its_own_layers(surroundings):
    layer = surroundings / "cfg" / "base" / "own.yaml"
    layer.parent.mkdir(parents=True)
    layer.write_text("# @package _global_\ntrain:\n  n_epochs: 9\n")
    leaf = surroundings / "cfg" / "my" / "fake.yaml"
    leaf.parent.mkdir()
    text = "defaults:\n  - _self_\n  - /base/own\n  - /base/task/gym/hopper\n"
    leaf.write_text(text + CONFIG)
    run.main(["--config-name=fake", "--config-dir=cfg/my"])
    written = yaml.safe_load((folders(surroundings)[0] / "config.yaml").read_text())
    assert written["train"]["n_epochs"] == 9
    assert written["obs_dim"] == 11


def test_switches_of_one_job_end_with_it(surroundings, monkeypatch):
    seen = []
    monkeypatch.setattr(run.config, "apply_compat", lambda cfg: seen.append(dict(cfg)))
    launch("reference=true", "compat.awr_broadcast=false")
    assert seen[0]["reference"] is True
    assert seen[0]["compat"] == {"awr_broadcast": False}


def test_explain_shows_where_a_constructor_failed():
    error = ValueError("width must be >= 1, got 0.")
    error.add_note("Error in call to target 'x'")
    text = run.explain(error)
    assert text == "Error: width must be >= 1, got 0.\n(Error in call to target 'x')"
    assert run.explain(KeyError("a")) == "Error: KeyError: 'a'"


def test_launchers_get_an_importable_function():
    assert run._entry().__module__ == "script.run"


def test_script_as_a_file_finds_the_project(tmp_path):
    (tmp_path / "fake.yaml").write_text(CONFIG.replace("n_epochs", "n_epoch"))
    command = [sys.executable, str(ROOT / "script" / "run.py"), "--config-name=fake"]
    done = subprocess.run(
        [*command, f"--config-dir={tmp_path}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"},
    )
    assert done.returncode == 1
    assert "Unknown key 'train.n_epoch' in fake.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["fake.yaml"]


def test_set_path_exports_answers_and_defaults(tmp_path):
    text = f". {ROOT}/script/set_path.sh >/dev/null; env | grep DPPO_ | sort"
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=tmp_path,
        input="/some/data\n\nme\ny\n",
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert done.stdout.split() == [
        "DPPO_DATA_DIR=/some/data",
        f"DPPO_LOG_DIR={tmp_path}/log",
        "DPPO_WANDB_ENTITY=me",
    ]
    remembered = (tmp_path / ".bashrc").read_text()
    assert 'export DPPO_DATA_DIR="/some/data"' in remembered


def test_several_devices_are_for_agents_that_use_them(
    surroundings, monkeypatch, capsys
):
    devices = ["/GPU:0", "/GPU:1"]
    monkeypatch.setattr(run, "shared_devices", lambda names: devices)
    monkeypatch.setattr(run, "select_device", lambda names: "/CPU:0")
    message = "device must be a single one for FakeAgent, got /GPU:0, /GPU:1"
    with pytest.raises(SystemExit):
        launch("device=[gpu:0,gpu:1]")
    assert message in capsys.readouterr().err
    assert folders(surroundings) == []
    monkeypatch.setattr(fake_agent.FakeAgent, "shares_devices", True, raising=False)
    launch("device=[gpu:0,gpu:1]")
    assert len(folders(surroundings)) == 1
