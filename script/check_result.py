"""Runs the first iterations of a committed result again and compares the numbers.

    python script/check_result.py NAME [--seed 42] [--iterations 2] [--tolerance 0.25]

What the run needs is made again from the commands that result.json names: the data are
generated, the policy is pre-trained. The numbers are equal bit for bit on a machine
like the one that made them; elsewhere sums are rounded differently and the trajectories
of a simulation part ways, so they are compared within a tolerance. Exit status 1 means
that a number lies outside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from util.metrics_files import read_metrics  # noqa: E402

TIMES = ("step", "time")
# What an iteration amounts to; losses of single minibatches say less and vary more.
COMPARED = (
    "avg episode reward - eval",
    "avg episode reward - train",
    "num episode - train",
    "value loss",
    "loss - train",
    "ratio",
    "total env step",
)
BUDGETS = ("train.n_train_itr", "train.n_epochs")


def shortened(command: str, runs: Path, iterations: int) -> list[str]:
    """The arguments of a run that stops after so many iterations.

    Args:
        command: As result.json has it, with `RUNS` for the folder of the runs.
        runs: Folder that takes the place of `RUNS`.
        iterations: Iterations or epochs.

    Raises:
        ValueError: If the command is not one of the launcher.
    """
    words = shlex.split(command)
    if words[:2] != ["python", "script/run.py"]:
        raise ValueError(f"the result was not made by script/run.py but by {command!r}")
    pretrains = any(word.startswith("--config-name=pre_") for word in words)
    key = BUDGETS[1] if pretrains else BUDGETS[0]
    kept = [word for word in words[2:] if not word.startswith(f"{key}=")]
    return [*_placed(kept, runs), f"{key}={iterations}", "resume=null"]


def _placed(words: Sequence[str], runs: Path) -> list[str]:
    return [word.replace("RUNS/", f"{runs}/") for word in words]


def needed(facts: dict[str, Any], runs: Path) -> list[list[str]]:
    """Commands of the runs that this one starts from, unless they are there."""
    base = facts.get("data", {}).get("base_policy_path", {})
    if not base.get("command") or not base["path"].startswith("RUNS/"):
        return []
    if (runs / base["path"].removeprefix("RUNS/")).exists():
        return []
    return [_placed(shlex.split(base["command"])[2:], runs)]


def compare(
    then: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]], tolerance: float
) -> tuple[list[str], bool]:
    """A line for each number of each iteration, and whether all are close.

    Close means |a - b| <= tolerance * max(|a|, |b|, 0.01).

    Args:
        then: Rows of the committed run.
        now: Rows of the same iterations, made now.
        tolerance: Relative.
    """
    lines, close = [], len(now) >= len(then) > 0
    for before, after in zip(then, now, strict=False):
        for name in COMPARED:
            if name not in before:
                continue
            a, b = before[name], after.get(name)
            if b is None:
                verdict = "missing"
            elif a == b:
                verdict = "equal"
            elif abs(a - b) <= tolerance * max(abs(a), abs(b), 0.01):
                verdict = "close"
            else:
                verdict = "DIFFERENT"
            close = close and verdict in ("equal", "close")
            lines.append(
                f"{before['step']:>6}  {name:<28} {a!r:>24} {b!r:>24}  {verdict}"
            )
    return lines, close


def run(arguments: Sequence[str], data: Path) -> None:
    """Runs the launcher; its failure ends the check."""
    print("$ python script/run.py", shlex.join(arguments), flush=True)
    command = [sys.executable, "script/run.py", *arguments]
    environment = os.environ | {"DPPO_DATA_DIR": str(data)}
    status = subprocess.run(command, cwd=ROOT, env=environment).returncode
    if status:
        sys.exit(f"Error: the run ended with status {status}.")


def check(
    folder: Path, work: Path, seed: int | None, iterations: int, tolerance: float
) -> bool:
    """Whether a result's first iterations come out again; prints both.

    Args:
        folder: Of the result.
        work: Where data and runs go; what is there is used again.
        seed: Which run; None for the first.
        iterations: How many.
        tolerance: Relative.
    """
    if not (folder / "result.json").is_file():
        names = ", ".join(
            sorted(f.parent.name for f in folder.parent.glob("*/result.json"))
        )
        sys.exit(f"Error: {folder.name} is no result; there are: {names}.")
    facts = json.loads((folder / "result.json").read_text())
    if "runs" not in facts:
        sys.exit(f"Error: {folder.name} is a study; made again by: {facts['command']}")
    found = [r for r in facts["runs"] if seed is None or r["seed"] == seed]
    if not found:
        seeds = ", ".join(str(r["seed"]) for r in facts["runs"])
        sys.exit(f"Error: {folder.name} has no seed {seed}; it has {seeds}.")
    facts, runs = found[0], work / "runs"
    for arguments in needed(facts, runs):
        run(arguments, work / "data")
    logdir = work / f"again_{facts['seed']}"
    shutil.rmtree(logdir, ignore_errors=True)
    arguments = shortened(facts["command"], runs, iterations)
    kept = [word for word in arguments if not word.startswith("logdir=")]
    run([*kept, f"logdir={logdir}"], work / "data")
    now = read_metrics(logdir / "metrics.jsonl")
    then = read_metrics(folder / f"seed_{facts['seed']}" / "metrics.jsonl")
    lines, close = compare(then[: len(now)], now, tolerance)
    print(f"{'step':>6}  {'number':<28} {'committed':>24} {'now':>24}")
    print("\n".join(lines))
    print(
        f"{folder.name}: {'comes out again' if close else 'does NOT come out again'}."
    )
    return close


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="folder under docs/results")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=0.25)
    parser.add_argument("--work", type=Path, help="folder for data and runs")
    options = parser.parse_args()
    work = options.work or ROOT / "log" / "results-check" / options.name
    close = check(
        ROOT / "docs" / "results" / options.name,
        work.absolute(),
        options.seed,
        options.iterations,
        options.tolerance,
    )
    sys.exit(0 if close else 1)


if __name__ == "__main__":
    main()
