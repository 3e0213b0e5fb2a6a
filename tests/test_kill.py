"""A run that is killed again and again ends as an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.agent.tiny import LEAVES, OVERRIDES
from tests.test_battery import assert_equal_runs
from util.checkpoint import find_complete, is_complete, load_state
from util.config import ROOT
from util.run_folder import read_run

pytestmark = pytest.mark.full

ITERATIONS = 120
KILLS = 5
OPTIONS = (
    f"train.n_train_itr={ITERATIONS}",
    "train.n_steps=2",
    "train.val_freq=10",
    "train.save_model_freq=7",
    "model.actor.mlp_dims=[16]",
    "model.critic.mlp_dims=[16]",
)


def start(logdir: Path, *overrides: str) -> subprocess.Popen:
    """The launcher in a process of its own, on the toy environment."""
    folder, name = LEAVES["scratch"]
    given = (*OVERRIDES["scratch"], *OPTIONS, f"logdir={logdir}", *overrides)
    command = [sys.executable, "script/run.py", f"--config-name={name}"]
    return subprocess.Popen(
        [*command, f"--config-dir=cfg/{folder}", *dict.fromkeys(given)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={
            **os.environ,
            "DPPO_LOG_DIR": str(logdir.parent),
            "DPPO_DATA_DIR": str(logdir.parent),
            "OMP_NUM_THREADS": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
        },
    )


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output.decode()[-3000:]


def logged(run: Path) -> int:
    """Lines of the run's metrics; a killed run may leave half a line."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(process: subprocess.Popen, run: Path, rows: int, delay: float) -> None:
    """Kills once there are so many rows more than now, and some seconds later."""
    wanted, deadline = logged(run) + rows, time.monotonic() + 300
    while logged(run) < wanted and process.poll() is None:
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.01)
    time.sleep(delay)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_runs_end_as_an_undisturbed_one(tmp_path):
    straight, run = tmp_path / "straight" / "run", tmp_path / "killed" / "run"
    undisturbed = start(straight)
    chance = random.Random(0)
    for number in range(KILLS):
        process = start(run, "resume=auto")
        # While it starts, before it has a folder; then some time after an iteration.
        rows = chance.randrange(1, 8) if number else 0
        kill_after(process, run, rows, chance.uniform(0.0, 0.15 if number else 1.0))
        if number:
            # No more is lost than the iteration that was going on.
            state, meta = load_state(run / "checkpoint" / "last")
            assert meta["itr"] >= logged(run) - 1
            assert state["run"]["loop"]["itr"] == meta["itr"]
    finish(start(run, "resume=auto"))
    finish(undisturbed)
    assert read_run(run)["status"] == "finished"
    assert_equal_runs(run, straight)
    assert load_state(run / "checkpoint" / "last")[1]["itr"] == ITERATIONS


def test_nothing_half_written_is_left(tmp_path):
    run = tmp_path / "run"
    kill_after(start(run), run, rows=3, delay=0.05)
    finish(start(run, "resume=auto"))
    names = {path.name for path in (run / "checkpoint").iterdir()}
    expected = {f"state_{n}" for n in [*range(0, ITERATIONS, 7), ITERATIONS - 1]}
    assert names == expected | {"last"}
    for name in names:
        folder = run / "checkpoint" / name
        assert is_complete(folder)
        assert find_complete(folder) == folder
    hidden = [path for path in run.rglob(".*") if not path.is_dir()]
    assert hidden == []
