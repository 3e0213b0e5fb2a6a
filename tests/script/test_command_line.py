from __future__ import annotations

import sys

import pytest

from script import command_line
from util.config import ROOT


def test_option_is_read_in_both_forms():
    assert command_line.option(["--config-dir", "a"], "--config-dir") == "a"
    assert command_line.option(["--config-dir=b"], "--config-dir") == "b"
    assert command_line.option(["-cd"], "-cd") is None
    assert command_line.option([], "-cd") is None


def test_hydra_settings_of_the_user_win():
    got = command_line.hydra_arguments(["hydra.sweep.dir=x", "seed=1"], [ROOT])
    assert [a for a in got if a.startswith("hydra.sweep.dir")] == ["hydra.sweep.dir=x"]
    assert "++seed=1" in got


def test_overrides_follow_options_and_may_be_mixed():
    given = ["a=1", "--config-name", "x=y", "b=2", "--multirun", "~c", "-cd=e"]
    options, overrides = command_line.split(given)
    assert options == ["--config-name", "x=y", "--multirun", "-cd=e"]
    assert overrides == ["a=1", "b=2", "~c"]


def test_further_layers_are_put_on_the_search_path(tmp_path):
    got = command_line.hydra_arguments([], [tmp_path, ROOT / "cfg"])
    assert f"hydra.searchpath=[file://{ROOT / 'cfg'}]" in got
    got = command_line.hydra_arguments(["hydra.searchpath=[a]"], [tmp_path, ROOT])
    assert [a for a in got if "searchpath" in a] == ["hydra.searchpath=[a]"]


def test_config_that_is_there_passes_and_another_exits(tmp_path, capsys):
    (tmp_path / "here.yaml").touch()
    given = [f"--config-dir={tmp_path}", "--config-name"]
    command_line.check_command([*given, "here"], [])
    command_line.check_command(["--config-name=x"], [])
    with pytest.raises(SystemExit) as stop:
        command_line.check_command([*given, "there"], [])
    assert stop.value.code == 1
    assert "no config 'there'" in capsys.readouterr().err


def test_command_is_what_the_user_gave(monkeypatch, tmp_path):
    given = ["--config-name=x", "seed=1", "resume=auto", "a='b c'"]
    full = command_line.hydra_arguments(given, [ROOT / "cfg", tmp_path])
    monkeypatch.setattr(sys, "argv", ["script/run.py", *full])
    shown = command_line.command()
    assert shown.startswith("python script/run.py --config-name=x seed=1 ")
    assert "hydra" not in shown
    assert "resume" not in shown
