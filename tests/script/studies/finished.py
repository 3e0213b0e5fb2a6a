"""Folders of finished runs that never ran."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from script.collect_results import METRIC
from util.run_folder import write_run


def finish(folder: Path, values: Sequence[float], metric: str = METRIC) -> None:
    """Writes what a finished run leaves.

    Args:
        folder: The run's folder.
        values: The metric, from iteration 1 on.
        metric: Its name.
    """
    folder.mkdir(parents=True)
    facts = {"name": folder.name, "seed": 42, "digest": "d", "status": "finished"}
    if folder.name[-2:].isdigit():
        facts["seed"] = int(folder.name[-2:])
    write_run(folder, command=f"x logdir={folder}", commit="c", versions={}, **facts)
    (folder / "config.yaml").write_text(yaml.safe_dump({"logdir": str(folder)}))
    rows = [
        {"step": number, "time": number, metric: value}
        for number, value in enumerate(values, 1)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
