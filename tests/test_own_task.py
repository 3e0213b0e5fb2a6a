"""docs/own-task.md as a user follows it: its files, its commands, small budgets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from util.config import ROOT
from util.metrics_files import read_metrics
from util.run_folder import read_run

pytestmark = pytest.mark.full

PAGE = ROOT / "docs" / "own-task.md"
# Appended to the command of the stage; everything else is the page's.
BUDGETS = {
    "pretrain": "train.n_epochs=1 train.steps_per_call=5",
    "finetune": "train.n_train_itr=2 train.n_steps=12 train.update_epochs=1 "
    "env.n_envs=4 env.backend=async",
    "eval": "n_steps=12 env.n_envs=4",
}


def blocks(language: str, text: str) -> list[tuple[str | None, str]]:
    """Fenced blocks, each with the file name that the line above it gives."""
    pattern = rf"(?:^`([\w.]+)`:\n\n)?^```{language}\n(.*?)^```$"
    return re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def commands(page) -> list[str]:
    """The page's commands, one a line, those of the launcher with a small budget."""
    lines = [
        line for _, block in blocks("console", page) for line in block.splitlines()
    ]
    for name, budget in BUDGETS.items():
        (at,) = (i for i, line in enumerate(lines) if f"--config-name={name} " in line)
        lines[at] += f" {budget}"
    return [line.replace("<checkout>", str(ROOT)) for line in lines]


@pytest.fixture(scope="module")
def folder(page, commands, tmp_path_factory) -> Path:
    """The folder in which all commands of the page were run, in one shell."""
    folder = tmp_path_factory.mktemp("own_task")
    for language in ("python", "yaml"):
        for name, text in blocks(language, page):
            (folder / name).write_text(text)
    unset = {"DPPO_DATA_DIR", "DPPO_LOG_DIR", "PYTHONPATH"}
    env = {key: value for key, value in os.environ.items() if key not in unset}
    script = ["set -e", f'python() {{ "{sys.executable}" "$@"; }}', *commands]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={**env, "TF_CPP_MIN_LOG_LEVEL": "3", "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (folder / "output.txt").write_text(done.stdout + done.stderr)
    return folder


def test_page_has_the_files_and_commands_it_promises(page, commands):
    files = [name for lang in ("python", "yaml") for name, _ in blocks(lang, page)]
    assert sorted(files) == sorted(
        ["reach_env.py", "make_data.py", "pretrain.yaml", "finetune.yaml", "eval.yaml"]
    )
    assert sum("script/run.py" in line for line in commands) == 3


def test_every_stage_finishes(folder):
    for stage in BUDGETS:
        assert read_run(folder / "log" / stage)["status"] == "finished", stage


def test_every_stage_writes_its_files(folder):
    wanted = {
        "pretrain": ["checkpoint/state_1/DONE", "metrics.jsonl", "run.json"],
        "finetune": ["checkpoint/state_1/DONE", "checkpoint/last/DONE", "result.pkl"],
        "eval": ["result.npz", "metrics.jsonl"],
    }
    for stage, names in wanted.items():
        missing = [n for n in names if not (folder / "log" / stage / n).is_file()]
        assert missing == [], stage


def test_data_are_scaled_and_undone_by_their_ranges(folder):
    train = np.load(folder / "data" / "gym" / "reach" / "train.npz")
    ranges = np.load(folder / "data" / "gym" / "reach" / "normalization.npz")
    assert train["states"].shape == (10000, 4)
    assert train["actions"].shape == (10000, 2)
    assert np.abs(train["states"]).max() <= 1
    np.testing.assert_allclose(ranges["action_max"], 1, atol=1e-6)


def test_fine_tuning_starts_with_an_evaluation_and_then_learns(folder):
    rows = read_metrics(folder / "log" / "finetune" / "metrics.jsonl")
    assert rows[0]["num episode - eval"] == 4
    assert rows[1]["total env step"] == 4 * 12 * 4
    assert np.isfinite(rows[1]["loss"])


def test_environment_that_saves_itself_is_saved(folder):
    assert "cannot be saved" not in (folder / "output.txt").read_text()


def test_evaluation_finishes_whole_episodes_of_the_fine_tuned_policy(folder):
    result = np.load(folder / "log" / "eval" / "result.npz")
    assert result["num_episode"] == 4
    # Demonstrations earn about -12; an idle point about -50 = -48 x 1.04.
    assert -60 < result["eval_episode_reward"] < 0
    used = read_run(folder / "log" / "eval")["data"]["base_policy_path"]["path"]
    assert Path(used) == folder / "log" / "finetune" / "checkpoint" / "state_1"
