"""Runs of a study: commands of this project, done once and continued if cut off."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from util.config_files import ROOT
from util.run_folder import read_run


@dataclass(frozen=True)
class Training:
    """A run of the launcher that trains something.

    Attributes:
        config: Name of the config.
        group: Its folder below `cfg`.
        folder: The run's own folder.
        overrides: `key=value` besides `logdir` and `wandb`.
    """

    config: str
    group: str
    folder: Path
    overrides: tuple[str, ...] = ()

    def is_finished(self) -> bool:
        """Whether an earlier attempt went to its end."""
        return read_run(self.folder).get("status") == "finished"

    def command(self) -> list[str]:
        """The launcher's arguments; goes on where an earlier attempt ended."""
        is_begun = (self.folder / "checkpoint").is_dir()
        return [
            "script/run.py",
            f"--config-name={self.config}",
            f"--config-dir=cfg/{self.group}",
            "wandb=null",
            f"logdir={self.folder}",
            *self.overrides,
            *([f"resume={self.folder}"] if is_begun else []),
        ]

    def start(self, log: Path | None = None, core: int | None = None) -> None:
        """Trains unless that is done; see `run`."""
        if self.is_finished():
            return
        if not (self.folder / "checkpoint").is_dir():
            # It has nothing to go on from, and a new run needs the name.
            shutil.rmtree(self.folder, ignore_errors=True)
        run(self.command(), log, core)


def run(
    arguments: Sequence[str], log: Path | None = None, core: int | None = None
) -> None:
    """Prints and runs a command of this project.

    Args:
        arguments: Of Python, in the project's folder.
        log: File that what it prints is appended to; None leaves it on the screen.
        core: The only core it may use; None for all.

    Raises:
        SystemExit: It failed.
    """
    print(f"\n$ python {' '.join(arguments)}\n", flush=True)
    pin = [] if core is None else ["taskset", "--cpu-list", str(core)]
    command = [*pin, sys.executable, *arguments]
    if log is None:
        status = subprocess.run(command, cwd=ROOT).returncode
    else:
        with log.open("ab") as stream:
            status = subprocess.run(
                command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT
            ).returncode
    if status:
        where = f"; see {log}" if log else ""
        raise SystemExit(f"that failed with status {status}{where}.")


def start_all(trainings: Sequence[Training], jobs: int) -> list[str]:
    """Trains several at a time, each on a core of its own; returns what failed.

    Args:
        trainings: In the order in which they are begun.
        jobs: How many at a time; one alone may use all cores.
    """
    if jobs > (cores := len(os.sched_getaffinity(0))):
        raise SystemExit(f"--jobs must be <= {cores}, the number of cores, got {jobs}.")
    free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for core in sorted(os.sched_getaffinity(0))[:jobs] if jobs > 1 else [None]:
        free.put(core)

    def start(training: Training) -> None:
        core = free.get()
        try:
            log = training.folder.with_suffix(".out") if jobs > 1 else None
            training.start(log, core)
        finally:
            free.put(core)

    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(start, training): training for training in trainings}
        for number, future in enumerate(as_completed(waiting), 1):
            name = waiting[future].folder.name
            error = future.exception()
            if error is not None:
                failed.append(f"{name}: {error}")
            state = "failed" if error else "done"
            print(f"[{number}/{len(waiting)}] {name} {state}", flush=True)
    return failed
