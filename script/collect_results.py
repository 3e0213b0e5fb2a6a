"""Turns finished runs into a committed result: docs/results/<name>/.

    python script/collect_results.py NAME RUN... [--metric M] [--last 3] [--note TEXT]

Each run is one seed. Raw metrics are copied whole; `result.json` says how the runs
were made, what they start and end with, and the interval of the improvement; the
picture is drawn by script/figures.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from script.figures import main as draw_figure  # noqa: E402
from util.metrics_files import extract_curve, read_metrics  # noqa: E402
from util.run_folder import read_run  # noqa: E402

METRIC = "avg episode reward - eval"


def without_paths(text: str, run: Path) -> str:
    """A command without folders of this machine."""
    for folder, name in (
        (str(run.resolve().parent), "RUNS"),
        (os.environ.get("DPPO_LOG_DIR") or str(ROOT / "log"), "$DPPO_LOG_DIR"),
        (os.environ.get("DPPO_DATA_DIR") or str(ROOT / "data"), "$DPPO_DATA_DIR"),
        (str(ROOT), "."),
    ):
        text = text.replace(folder, name)
    return text


def evaluations(run: Path, metric: str) -> np.ndarray:
    """All evaluations of a run."""
    return np.asarray(extract_curve(read_metrics(run / "metrics.jsonl"), metric)[1])


def describe(run: Path, metric: str, last: int) -> dict[str, Any]:
    """How a run was made, its start, and the mean of its last evaluations."""
    facts = read_run(run)
    rows = read_metrics(run / "metrics.jsonl")
    values = evaluations(run, metric)
    source = facts.get("data", {})
    return {
        "seed": facts["seed"],
        "command": without_paths(facts["command"], run),
        "commit": facts["commit"],
        "config_digest": facts["digest"],
        "status": facts["status"],
        "versions": facts["versions"],
        "data": json.loads(without_paths(json.dumps(source), run)),
        "evaluations": len(values),
        "start": float(values[0]),
        "end": float(np.mean(values[-last:])),
        "hours": round(sum(row["time"] for row in rows[-1:]) / 3600, 3),
    }


def improvement(curves: Sequence[np.ndarray], n_boot: int = 10_000) -> dict[str, float]:
    """Mean of the last fifth of evaluations minus the first, and its 95 % interval.

    The bootstrap resamples runs, and within each the evaluations of its last fifth.

    Args:
        curves: Evaluations of each run, the first one before any learning.
        n_boot: Number of resamples.
    """
    rng = np.random.default_rng(0)
    gains = [curve[-max(1, math.ceil(len(curve) / 5)) :] - curve[0] for curve in curves]
    resampled = [
        np.mean(
            [
                rng.choice(gains[i], len(gains[i])).mean()
                for i in rng.integers(len(gains), size=len(gains))
            ]
        )
        for _ in range(n_boot)
    ]
    low, high = np.percentile(resampled, [2.5, 97.5])
    mean = np.mean([gain.mean() for gain in gains])
    return {"mean": float(mean), "low": float(low), "high": float(high)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--metric", default=METRIC)
    parser.add_argument("--last", type=int, default=3, help="evaluations in `end`")
    parser.add_argument("--note", default="")
    options = parser.parse_args(arguments)
    folder = ROOT / "docs" / "results" / options.name
    folder.mkdir(parents=True, exist_ok=True)
    runs = [describe(run, options.metric, options.last) for run in options.runs]
    for run, facts in zip(options.runs, runs, strict=True):
        target = folder / f"seed_{facts['seed']}"
        target.mkdir(exist_ok=True)
        shutil.copy(run / "metrics.jsonl", target)
        config = yaml.safe_load(without_paths((run / "config.yaml").read_text(), run))
        (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    result = {
        "name": options.name,
        "metric": options.metric,
        "start": float(np.mean([run["start"] for run in runs])),
        "end": float(np.mean([run["end"] for run in runs])),
        "end_is_mean_of_last": options.last,
        "improvement": improvement(
            [evaluations(run, options.metric) for run in options.runs]
        ),
        "note": options.note,
        "machine": f"{os.cpu_count()} CPU cores, no GPU",
        "runs": runs,
    }
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    picture = folder / "curve.png"
    draw_figure([str(folder), "--metric", options.metric, "--out", str(picture)])
    print(f"{folder}: start {result['start']:.1f}, end {result['end']:.1f}")


if __name__ == "__main__":
    main()
