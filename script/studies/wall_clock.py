"""How long an iteration of each diffusion algorithm takes, as table A1 of the paper.

    python script/studies/wall_clock.py [--iterations 3]

Trains each of them on Hopper at the size of its config, after an evaluation and one
iteration in which functions are compiled. Needs a quiet machine for about half an hour.
Writes docs/results/wall_clock.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from script.studies.algorithms import ALGORITHMS, CLONED, COMPARED, clonings  # noqa: E402
from script.studies.runs import Training, start_all  # noqa: E402
from util.config import prepare_environment  # noqa: E402
from util.result_pickle import read_results  # noqa: E402
from util.run_folder import commit, read_run  # noqa: E402

PAPER = {
    "ppo": 16.6,
    "rwr": 11.3,
    "awr": 30.4,
    "dipo": 27.8,
    "idql": 16.3,
    "dql": 20.5,
    "qsm": 64.4,
}
"""Seconds of an iteration on Hopper, on a GPU and 40 processes (table A1)."""


def training(name: str, work: Path, iterations: int) -> Training:
    """A run of so many iterations after the evaluation and the one that compiles."""
    return Training(
        ALGORITHMS[name].config,
        "gym/finetune/hopper-v2",
        work / name,
        (
            f"base_policy_path={work.parent / 'algorithms' / CLONED['diffusion']}",
            f"train.n_train_itr={2 + iterations}",
            "train.val_freq=1000",
            # Steps that an actor does not take yet would not be measured.
            "train.n_critic_warmup_itr=0",
        ),
    )


def seconds_of(folder: Path) -> list[float]:
    """Seconds of the training iterations of a run but the first, which compiles."""
    rows = read_results(folder / "result.pkl")
    return [float(row["time"]) for row in rows if "train_episode_reward" in row][1:]


def summarise(found: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Any]]:
    """Median seconds and their ratio to DPPO's, here and in the paper."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {
        name: {
            "seconds": list(found[name]),
            "median": medians[name],
            "ratio_to_ppo": medians[name] / medians["ppo"],
            "paper_seconds": PAPER[name],
            "paper_ratio_to_ppo": PAPER[name] / PAPER["ppo"],
        }
        for name in found
    }


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown, one row for each algorithm."""
    lines = [
        "| algorithm | s / iteration | ratio to DPPO | paper: s | paper: ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {row['median']:.1f} | {row['ratio_to_ppo']:.2f} | "
        f"{row['paper_seconds']} | {row['paper_ratio_to_ppo']:.2f} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def measure(work: Path, iterations: int) -> dict[str, list[float]]:
    """Seconds of iterations by algorithm, from runs that begin anew."""
    runs = {name: training(name, work, iterations) for name in COMPARED}
    for run in runs.values():
        shutil.rmtree(run.folder, ignore_errors=True)
    if failed := start_all(list(runs.values()), 1):
        raise SystemExit("\n".join(failed))
    return {name: seconds_of(run.folder) for name, run in runs.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the table.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/wall_clock")
    options = parser.parse_args(arguments)
    if options.iterations < 1:
        parser.error(f"--iterations must be >= 1, got {options.iterations}.")
    prepare_environment()
    work = Path(os.environ["DPPO_LOG_DIR"]) / "studies" / "wall_clock"
    work.mkdir(parents=True, exist_ok=True)
    if failed := start_all(clonings(work.parent / "algorithms")[:1], 1):
        raise SystemExit("\n".join(failed))
    rows = summarise(measure(work, options.iterations))
    result = {
        "name": options.out.name,
        "command": f"python script/studies/wall_clock.py "
        f"--iterations={options.iterations}",
        "commit": commit(),
        "machine": f"{os.cpu_count()} CPU cores, no GPU",
        "versions": read_run(work / "ppo")["versions"],
        "task": "hopper-v2",
        "algorithms": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "table.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
