"""Draws one metric of several runs: mean and 95 % interval over seeds, PNG and CSV.

    python script/figures.py RUN... [--metric eval_episode_reward] [--x step]
        [--out figure.png] [--group-by name|config]

RUN is a run folder, a folder that holds several (at any depth), a folder under
docs/results, or a `metrics.jsonl` or `result.pkl` itself, also one of the reference.
Runs of one experiment are taken as its seeds. The interval is a bootstrap over them
(util/stats.py); a single run has none. The CSV beside the picture has the columns
group, x, mean, low, high, n_seeds.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    # Started as a file: Python then looks for modules in script/, not beside it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import yaml

from util.metrics_files import (
    RESULT_NAMES,
    extract_curve,
    has_env_steps,
    read_metrics,
    rows_of_results,
)
from util.plotting import Curve, plot_curves
from util.result_pickle import read_results
from util.stats import align_curves, curve_interval
from util.torch_file_writer import open_aside

log = logging.getLogger("figures")

COLUMNS = ("group", "x", "mean", "low", "high", "n_seeds")
_LEVEL = 0.95
_SKIPPED = ("checkpoint", "render", "tensorboard", "wandb")
# Folders that tell seeds of one experiment apart: 2026-01-31_23-59-59_42, seed_3, 7.
_SEED_FOLDER = re.compile(r"\d{4}-\d\d-\d\d_.*|(seed|run)?[_-]?\d+", re.IGNORECASE)
# Root keys of a config in which the seeds of one experiment may differ.
_VOLATILE = ("seed", "logdir", "wandb", "resume", "data", "hydra", "device")
# Gap between the ends of a group's runs, as a share of the longest, to be warned of.
_END_GAP = 0.02


@dataclass(frozen=True)
class Run:
    """The numbers of one run.

    Attributes:
        path: The file that they are from.
        name: Experiment.
        config: Digest of the config without seed and folders, "" if unknown.
        rows: As in `metrics.jsonl`.
    """

    path: Path
    name: str
    config: str
    rows: list[dict[str, Any]]

    def metrics(self) -> set[str]:
        """Names of what can be drawn."""
        names = {name for row in self.rows for name in row}
        return names - {"step", "time", "nonfinite", "total env step"}


@dataclass(frozen=True)
class Group:
    """Runs of one experiment on a common grid.

    Attributes:
        label: Its name.
        x: Shape (points,).
        curves: Shape (seeds, points).
        low: Lower limit of the interval of the mean. Shape (points,).
        high: Upper limit.
    """

    label: str
    x: np.ndarray
    curves: np.ndarray
    low: np.ndarray
    high: np.ndarray


# -- reading runs ----------------------------------------------------------------------


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Returns the runs that are in `paths`, each once.

    Raises:
        FileNotFoundError: If there is none in one of them.
        ValueError: If a file is broken.
    """
    files: dict[Path, list[Path]] = {}
    for path in paths:
        found = list(_find(path))
        if not found:
            raise FileNotFoundError(f"{path}: no metrics*.jsonl or result.pkl in it.")
        for choices in found:
            files.setdefault(choices[0].resolve(), choices)
    return [_load(choices) for choices in files.values()]


def _find(path: Path) -> Iterator[list[Path]]:
    """Files of each run under `path`, the one to prefer first."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.is_file():
        yield [path]
        return
    metrics, results = sorted(path.glob("metrics*.jsonl")), path / "result.pkl"
    if len(metrics) == 1 and results.is_file():
        yield [metrics[0], results]
    elif metrics:
        yield from ([file] for file in metrics)
    elif results.is_file():
        yield [results]
    else:
        for folder in sorted(p for p in path.iterdir() if p.is_dir()):
            if folder.name not in _SKIPPED and not folder.name.startswith("."):
                yield from _find(folder)


def _load(files: list[Path]) -> Run:
    """The run of the first file that has rows."""
    rows: list[dict[str, Any]] = []
    for path in files:
        is_pickle = path.suffix == ".pkl"
        rows = rows_of_results(read_results(path)) if is_pickle else read_metrics(path)
        if rows:
            break
        log.warning("%s is empty.", path)
    name, config = _describe(files[0].resolve().parent)
    return Run(files[0], name, config, rows)


def _describe(folder: Path) -> tuple[str, str]:
    """Name and config digest of the run in `folder`."""
    name, digest = "", ""
    for file in ("run.json", "result.json", "config.yaml", ".hydra/config.yaml"):
        facts = _read_facts(folder / file)
        name = name or str(facts.get("name") or "")
        found = facts.get("digest", facts.get("config_digest", facts.get("config")))
        digest = digest or (found if isinstance(found, str) else "")
        if not digest and file.endswith(".yaml") and facts:
            kept = {k: v for k, v in facts.items() if k not in _VOLATILE}
            text = json.dumps(kept, sort_keys=True, default=str)
            digest = hashlib.sha256(text.encode()).hexdigest()
    is_seed = _SEED_FOLDER.fullmatch(folder.name)
    return name or (folder.parent if is_seed else folder).name, digest


def _read_facts(file: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file; nothing if there is no readable one."""
    try:
        facts = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return facts if isinstance(facts, dict) else {}


# -- grouping --------------------------------------------------------------------------


def group_runs(runs: Sequence[Run], group_by: str) -> dict[str, list[Run]]:
    """Returns the runs by name, or by name and config digest.

    Args:
        runs: Runs.
        group_by: "name" or "config".
    """
    by_key: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        key = (run.name, run.config if group_by == "config" else "")
        by_key.setdefault(key, []).append(run)
    names = [name for name, _ in by_key]
    return {
        name if names.count(name) == 1 else f"{name} ({config[:8] or 'unknown'})": runs
        for (name, config), runs in by_key.items()
    }


def summarise(label: str, runs: Sequence[Run], metric: str, x: str) -> Group | None:
    """Returns mean and interval over the runs that have the metric, None if none has.

    Raises:
        ValueError: If the runs have no range of x in common.
    """
    curves, ends = [], {}
    for run in runs:
        curve = extract_curve(run.rows, metric, x)
        if len(curve[0]):
            curves.append(curve)
            ends[run.path] = float(curve[0].max())
        else:
            log.warning("%s has no %r and is left out.", run.path, metric)
    if not curves:
        return None
    shortest = min(ends, key=lambda path: ends[path])
    if max(ends.values()) - ends[shortest] > _END_GAP * abs(max(ends.values())):
        log.warning(
            "%s is drawn up to x=%g, where %s ends; another run goes on to %g.",
            label,
            ends[shortest],
            shortest,
            max(ends.values()),
        )
    try:
        grid, values = align_curves(curves)
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from error
    # A fixed seed: the same runs give the same picture.
    low, high = curve_interval(values, _LEVEL, rng=np.random.default_rng(0))
    return Group(label, grid, values, low, high)


# -- writing ---------------------------------------------------------------------------


def write_csv(groups: Sequence[Group], path: Path) -> None:
    """Writes one row for each group and point, replacing the file at once."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for group in groups:
        columns = (group.x, group.curves.mean(axis=0), group.low, group.high)
        for numbers in zip(*columns, strict=True):
            shown = (f"{number:.10g}" for number in numbers)
            writer.writerow((group.label, *shown, len(group.curves)))
    with open_aside(path) as stream:
        stream.write(text.getvalue().encode())


def draw(groups: Sequence[Group], path: Path, xlabel: str, ylabel: str) -> None:
    """Draws mean lines and intervals; the legend tells the number of seeds."""
    curves = []
    for group in groups:
        n = len(group.curves)
        band = (group.low, group.high) if n > 1 else ()
        label = f"{group.label} ({n} seed{'s' if n > 1 else ''})"
        curves.append(Curve(label, group.x, group.curves.mean(axis=0), *band))
    plot_curves(curves, path, xlabel, ylabel)


def make_figure(
    paths: Sequence[Path], metric: str, x: str, out: Path, group_by: str
) -> None:
    """Reads the runs, writes the picture and the CSV.

    Args:
        paths: Runs, or folders with runs.
        metric: Name in `metrics.jsonl` or `result.pkl`.
        x: "step", "itr" or "time".
        out: The picture, `.png`; the CSV has the same name.
        group_by: "name" or "config".

    Raises:
        OSError: If files are missing or cannot be written.
        ValueError: If no run has the metric (names those there are), or a file is
            broken.
    """
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out must end in .png, got {out}.")
    runs = load_runs(paths)
    by_label = group_runs(runs, group_by)
    made = [summarise(name, group, metric, x) for name, group in by_label.items()]
    groups = [group for group in made if group is not None]
    if not groups:
        raise ValueError(f"no run has the metric {metric!r}; {_available(runs)}")
    counted = [run for run in runs if len(extract_curve(run.rows, metric, x)[0])]
    write_csv(groups, out.with_suffix(".csv"))
    draw(groups, out, _xlabel(counted, x), RESULT_NAMES.get(metric, metric))


def _available(runs: Sequence[Run]) -> str:
    """What may be asked for instead."""
    names = sorted(set().union(*(run.metrics() for run in runs)))
    short = [key for key, name in RESULT_NAMES.items() if name in names]
    return f"available: {', '.join([*short, *names]) or 'none'}."


def _xlabel(runs: Sequence[Run], x: str) -> str:
    if x == "time":
        return "time (h)"
    in_env_steps = x == "step" and all(has_env_steps(run.rows) for run in runs)
    return "env steps" if in_env_steps else "iteration or epoch"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for.

    Args:
        arguments: Command line without the program's name; default `sys.argv[1:]`.

    Raises:
        SystemExit: With a message if the figure cannot be made.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--metric", default="eval_episode_reward")
    parser.add_argument("--x", choices=("step", "itr", "time"), default="step")
    parser.add_argument("--out", type=Path, default=Path("figure.png"))
    parser.add_argument("--group-by", choices=("name", "config"), default="name")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        make_figure(given.runs, given.metric, given.x, given.out, given.group_by)
    except (OSError, ValueError) as error:
        raise SystemExit(f"Error: {error}") from error
    print(f"wrote {given.out} and {given.out.with_suffix('.csv')}")


if __name__ == "__main__":
    main()
