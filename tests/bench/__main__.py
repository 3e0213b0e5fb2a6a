"""Measures this project against plain PyTorch; `make bench`.

    python -m tests.bench [--only a,b,c,d,e] [--rounds N] [--wait] [--quick] [--out DIR]

A whole run writes `docs/results/bench.json` and `bench.md`; one with `--only` or
`--quick` only prints, unless `--out` is given. `--report` writes `bench.md` again from
`bench.json` and `bench_notes.md`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.harness import Gate
from tests.bench.report import write_report
from tests.bench.session import LETTERS, Session
from util.config import ROOT
from util.run_folder import commit

OUT = ROOT / "docs" / "results"


def arguments(given: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--only", default=",".join(LETTERS), help="e.g. a,c")
    parser.add_argument("--rounds", type=int, default=10, help="(e) takes a third")
    parser.add_argument("--wait", action="store_true", help="until others are done")
    parser.add_argument("--quick", action="store_true", help="less work; not for (e)")
    parser.add_argument("--out", type=Path, help="folder of bench.json and bench.md")
    parser.add_argument("--report", action="store_true", help="only write bench.md")
    args = parser.parse_args(given)
    args.only = args.only.split(",")
    if unknown := set(args.only) - set(LETTERS):
        parser.error(f"--only takes {', '.join(LETTERS)}, got {sorted(unknown)}")
    if args.rounds < 1:
        parser.error(f"--rounds must be >= 1, got {args.rounds}")
    return args


def facts(given: list[str]) -> dict[str, Any]:
    """What was run, of which version, where."""
    changed = subprocess.run(
        ["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "command": shlex.join(["python", "-m", "tests.bench", *given]),
        "commit": commit(),
        "uncommitted changes": bool(changed),
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(),
        "threads": machine.processors(),
        "versions": machine.versions(),
    }


def main(given: list[str]) -> None:
    """Measures and reports."""
    args = arguments(given)
    out = args.out or OUT
    if args.report:
        write_report(json.loads((out / "bench.json").read_text()), out)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory() as folder:
        session = Session(Path(folder), args.quick, Gate(args.wait))
        measured = session.measure(args.only, args.rounds)
    results = {**facts(given), "quick": args.quick, **measured}
    whole = args.only == list(LETTERS) and not args.quick
    print(write_report(results, out if args.out or whole else None))


if __name__ == "__main__":
    main(sys.argv[1:])
