"""Runs of a study: begun, continued, kept; several at a time on their own cores."""

import os
import sys
import threading

import pytest

from script.studies import runs as module
from script.studies.runs import Training
from util.run_folder import write_run


@pytest.fixture
def commands(monkeypatch):
    """Arguments of each command that was to be run, its log and its core."""
    given = []
    monkeypatch.setattr(module, "run", lambda *args: given.append(args))
    return given


def folder_of_run(folder, status):
    folder.mkdir()
    write_run(folder, status=status)
    return folder


def test_what_is_finished_is_not_done_again(tmp_path, commands):
    Training("c", "g", folder_of_run(tmp_path / "run", "finished")).start()
    assert commands == []


def test_what_has_a_checkpoint_is_continued(tmp_path, commands):
    folder = folder_of_run(tmp_path / "run", "interrupted")
    (folder / "checkpoint").mkdir()
    Training("c", "g", folder, ("seed=1",)).start()
    ((command, *_),) = commands
    assert command[-2:] == ["seed=1", f"resume={folder}"]
    assert (folder / "run.json").exists()


def test_what_has_no_checkpoint_is_begun_in_an_empty_folder(tmp_path, commands):
    folder = folder_of_run(tmp_path / "run", "interrupted")
    Training("c", "g", folder).start()
    ((command, *_),) = commands
    assert command[0] == "script/run.py"
    assert f"logdir={folder}" in command
    assert "--config-dir=cfg/g" in command
    assert not any(word.startswith("resume") for word in command)
    assert not folder.exists()


def test_commands_run_in_the_project_on_one_core(tmp_path):
    code = "import os; print(os.getcwd(), len(os.sched_getaffinity(0)))"
    for _ in range(2):
        module.run(["-c", code], tmp_path / "log", core=min(os.sched_getaffinity(0)))
    assert (tmp_path / "log").read_text() == 2 * f"{module.ROOT} 1\n"


def test_a_failure_names_status_and_log(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(SystemExit, match=rf"failed with status 3; see {log}\."):
        module.run(["-c", "raise SystemExit(3)"], log)


def test_all_are_done_though_one_fails(tmp_path, monkeypatch):
    done = []

    def run(command, log, core):
        done.append(command)
        if "seed=1" in command:
            raise SystemExit("broken.")

    monkeypatch.setattr(module, "run", run)
    all_runs = [Training("c", "g", tmp_path / str(i), (f"seed={i}",)) for i in range(3)]
    assert module.start_all(all_runs, 1) == ["1: broken."]
    assert len(done) == 3


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_two_at_a_time_have_a_core_and_a_log_each(tmp_path, monkeypatch):
    together, cores, logs = threading.Barrier(2, timeout=20), [], []

    def run(command, log, core):
        together.wait()
        cores.append(core)
        logs.append(log)

    monkeypatch.setattr(module, "run", run)
    both = [Training("c", "g", tmp_path / name) for name in "ab"]
    assert module.start_all(both, 2) == []
    assert set(cores) == set(sorted(os.sched_getaffinity(0))[:2])
    assert set(logs) == {tmp_path / "a.out", tmp_path / "b.out"}


def test_more_jobs_than_cores_are_refused():
    with pytest.raises(SystemExit, match="--jobs must be <="):
        module.start_all([], 10_000)


def test_python_is_this_one(tmp_path):
    module.run(["-c", "import sys; print(sys.executable)"], tmp_path / "log")
    assert (tmp_path / "log").read_text().strip() == sys.executable
