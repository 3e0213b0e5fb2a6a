from __future__ import annotations

import subprocess
import sys
import types

import pytest

from util.metrics_sinks import TensorBoardSink, WandbSink, wandb_mode

OPTIONS = {"entity": "me", "project": "dppo", "run": "hopper"}


# -- TensorBoard ------------------------------------------------------------------


def read_events(folder):
    from tensorboard.backend.event_processing.event_file_loader import (
        LegacyEventFileLoader,
    )

    events = []
    for path in sorted(folder.iterdir()):
        events += list(LegacyEventFileLoader(str(path)).Load())
    return events


def test_scalars_are_read_back_by_tensorboard(tmp_path):
    sink = TensorBoardSink(tmp_path / "events")
    sink.log(4, {"loss - train": 0.5, "a/b": 2})
    first, second = read_events(tmp_path / "events")
    assert first.file_version == "brain.Event:2"
    assert second.step == 4
    values = {value.tag: value.simple_value for value in second.summary.value}
    assert values == {"loss - train": 0.5, "a/b": 2.0}
    sink.close()
    sink.close()


def test_a_resumed_run_purges_later_steps(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoardSink(tmp_path)
    for step in range(4):
        sink.log(step, {"loss": step})
    sink.close()
    resumed = TensorBoardSink(tmp_path)
    resumed.purge(2)
    resumed.log(2, {"loss": 20})
    resumed.close()
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    points = [(e.step, e.value) for e in accumulator.Scalars("loss")]
    assert points == [(0, 0.0), (1, 1.0), (2, 20.0)]


def test_nothing_is_made_before_the_first_scalars(tmp_path):
    TensorBoardSink(tmp_path / "events").close()
    assert not (tmp_path / "events").exists()


def test_without_the_package_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    sink = TensorBoardSink(tmp_path / "events")
    sink.log(0, {"loss": 1.0})
    sink.log(1, {"loss": 1.0})
    assert not (tmp_path / "events").exists()


def test_tensorflow_is_not_imported(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from util.metrics_sinks import TensorBoardSink\n"
        "TensorBoardSink(pathlib.Path(sys.argv[1])).log(0, {'loss': 1.0})\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 0
    assert len(list(tmp_path.iterdir())) == 1


# -- wandb ------------------------------------------------------------------------


class FakeRun:
    def __init__(self, options, broken):
        self.options, self.broken = options, broken
        self.logged, self.exit_codes = [], []

    def log(self, scalars, step, commit):
        if self.broken:
            raise RuntimeError("the service died")
        self.logged.append((step, scalars, commit))

    def finish(self, exit_code):
        self.exit_codes.append(exit_code)
        if self.broken:
            raise RuntimeError("the service died")


class FakeWandb(types.ModuleType):
    def __init__(self):
        super().__init__("wandb")
        self.runs, self.teardowns = [], 0
        self.failing_modes, self.broken = (), False

    class Settings:
        model_fields = ("console", "init_timeout")

        def __init__(self, **options):
            self.options = options

    def init(self, **options):
        if options["mode"] in self.failing_modes:
            raise RuntimeError("no network")
        self.runs.append(FakeRun(options, self.broken))
        return self.runs[-1]

    def teardown(self):
        self.teardowns += 1


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """A fake package, and a user without a login."""
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_ENTITY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return module


def messages(caplog):
    return [record.getMessage() for record in caplog.records]


def test_no_options_mean_no_wandb(wandb, tmp_path):
    sink = WandbSink(tmp_path, None, {})
    sink.log(0, {"loss": 1.0}, commit=True)
    sink.close()
    assert wandb.runs == []


def test_without_a_login_the_run_is_offline_and_says_so_once(wandb, tmp_path, caplog):
    sink = WandbSink(tmp_path, OPTIONS, {"a": 1})
    assert wandb.runs == []
    sink.log(0, {"reward": 1.0}, commit=False)
    sink.log(1, {"loss": 2.0}, commit=True)
    (run,) = wandb.runs
    assert run.options["mode"] == "offline"
    assert run.options["entity"] == "me"
    assert run.options["project"] == "dppo"
    assert run.options["name"] == "hopper"
    assert run.options["config"] == {"a": 1}
    assert run.options["dir"] == str(tmp_path)
    assert run.options["settings"].options == {"console": "off", "init_timeout": 30}
    assert run.logged == [(0, {"reward": 1.0}, False), (1, {"loss": 2.0}, True)]
    assert len(messages(caplog)) == 1
    assert "there is no wandb login" in caplog.text


def test_with_entity_and_login_the_run_is_online(wandb, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_API_KEY", "k")
    WandbSink(tmp_path, OPTIONS, {}).log(0, {}, commit=True)
    assert wandb.runs[0].options["mode"] == "online"
    assert messages(caplog) == []


def test_without_a_network_the_same_run_goes_on_offline(
    wandb, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("WANDB_API_KEY", "k")
    wandb.failing_modes = ("online",)
    sink = WandbSink(tmp_path, OPTIONS, {})
    sink.log(0, {"loss": 1.0}, commit=True)
    (run,) = wandb.runs
    assert run.options["mode"] == "offline"
    assert run.options["id"] == sink.run_id
    assert wandb.teardowns == 1
    assert run.logged == [(0, {"loss": 1.0}, True)]
    assert "cannot be reached" in caplog.text


def test_wandb_that_cannot_start_is_given_up(wandb, tmp_path, caplog):
    wandb.failing_modes = ("online", "offline")
    sink = WandbSink(tmp_path, OPTIONS, {})
    sink.log(0, {"loss": 1.0}, commit=True)
    count = len(messages(caplog))
    sink.log(1, {"loss": 1.0}, commit=True)
    assert wandb.runs == []
    assert len(messages(caplog)) == count


def test_without_the_package_it_is_said_once(wandb, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setenv("WANDB_MODE", "offline")
    sink = WandbSink(tmp_path, OPTIONS, {})
    sink.log(0, {"loss": 1.0}, commit=True)
    sink.log(1, {"loss": 1.0}, commit=True)
    assert messages(caplog) == ["wandb is not installed; nothing is sent to it."]


def test_disabled_mode_does_not_start_wandb(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    WandbSink(tmp_path, OPTIONS, {}).log(0, {"loss": 1.0}, commit=True)
    assert wandb.runs == []


def test_a_resumed_run_keeps_its_id(wandb, tmp_path):
    first = WandbSink(tmp_path, OPTIONS, {})
    first.log(0, {}, commit=True)
    second = WandbSink(tmp_path, OPTIONS, {})
    second.run_id = first.run_id
    second.log(1, {}, commit=True)
    assert wandb.runs[0].options["id"] == wandb.runs[1].options["id"] == first.run_id
    assert wandb.runs[1].options["resume"] == "allow"


def test_failures_of_wandb_do_not_end_the_training(wandb, tmp_path, caplog):
    wandb.broken = True
    sink = WandbSink(tmp_path, OPTIONS, {})
    sink.log(0, {"loss": 1.0}, commit=True)
    sink.log(1, {"loss": 1.0}, commit=True)
    sink.close()
    assert "switched off: the service died" in caplog.text


def test_close_ends_the_run_once_with_its_result(wandb, tmp_path):
    sink = WandbSink(tmp_path, OPTIONS, {})
    sink.log(0, {}, commit=True)
    sink.close(failed=True)
    sink.close()
    assert wandb.runs[0].exit_codes == [1]


def test_a_failing_end_of_wandb_is_only_said(wandb, tmp_path, caplog):
    sink = WandbSink(tmp_path, OPTIONS, {})
    sink.log(0, {}, commit=True)
    wandb.runs[0].broken = True
    sink.close()
    assert "did not end well" in caplog.text


KEY = {"WANDB_API_KEY": "k"}


@pytest.mark.parametrize(
    ("options", "environ", "mode"),
    [
        (OPTIONS, {}, "offline"),
        (OPTIONS, KEY, "online"),
        (OPTIONS, {"WANDB_IDENTITY_TOKEN_FILE": "f"}, "online"),
        ({"entity": None}, KEY, "offline"),
        ({}, KEY, "offline"),
        ({"entity": None}, {**KEY, "WANDB_ENTITY": "me"}, "online"),
        ({"entity": None}, {**KEY, "WANDB_MODE": "online"}, "online"),
        (OPTIONS, {"WANDB_MODE": "online"}, "offline"),
        (OPTIONS, {**KEY, "WANDB_MODE": "offline"}, "offline"),
        (OPTIONS, {**KEY, "WANDB_MODE": "dryrun"}, "offline"),
        (OPTIONS, {**KEY, "WANDB_MODE": "disabled"}, "disabled"),
    ],
)
def test_mode_follows_login_entity_and_wandb_mode(tmp_path, options, environ, mode):
    assert wandb_mode(options, {"HOME": str(tmp_path), **environ}) == mode


def test_a_netrc_file_counts_as_a_login(tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine api.wandb.ai\n  login user\n  password k\n")
    home = {"HOME": str(tmp_path)}
    assert wandb_mode(OPTIONS, home) == "online"
    assert wandb_mode(OPTIONS, {"HOME": "nowhere", "NETRC": str(netrc)}) == "online"
    other = {**home, "WANDB_BASE_URL": "https://wandb.example.org"}
    assert wandb_mode(OPTIONS, other) == "offline"
    netrc.write_text("machine wandb.example.org\n  login user\n  password k\n")
    assert wandb_mode(OPTIONS, other) == "online"


def test_a_broken_netrc_file_is_no_login(tmp_path):
    (tmp_path / ".netrc").write_text("machine")
    assert wandb_mode(OPTIONS, {"HOME": str(tmp_path)}) == "offline"


@pytest.mark.full
def test_the_real_package_keeps_an_offline_run(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    sink = WandbSink(tmp_path, OPTIONS, {"a": 1})
    sink.log(0, {"loss": 1.0}, commit=True)
    sink.close()
    wandb.teardown()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert sink.run_id in file.name
