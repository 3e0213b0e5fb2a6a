"""The folder of one run: its name, what it says about the run, finding it again.

A run folder is claimed by creating `run.json` in it, which one process alone can do;
so two runs started in the same second never share a folder. `run.json` records what
was run and how it ended; `resume=auto` reads it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from util.config_files import ROOT

RUN_FILE = "run.json"


def claim(wanted: str | Path) -> Path:
    """Creates the folder of a new run and returns it.

    Args:
        wanted: The folder asked for. If it is taken (not empty), `_1`, `_2`, ... is
            added to its name.

    Raises:
        OSError: If the folder cannot be written.
    """
    wanted = Path(wanted).absolute()
    number = 0
    while True:
        folder = wanted.with_name(f"{wanted.name}_{number}") if number else wanted
        if _claim_one(folder):
            return folder
        number += 1


def _claim_one(folder: Path) -> bool:
    """Takes `folder` unless it holds anything already."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        return False
    try:
        (folder / RUN_FILE).open("x").close()
    except FileExistsError:
        return False
    return True


def absent_folders(folder: Path) -> list[Path]:
    """Returns those of a folder and its parents that do not exist, itself first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def discard(folder: Path, made: Sequence[Path]) -> None:
    """Empties the folder of a run that could not be built.

    Args:
        folder: A folder that this process claimed, so all in it is this run's.
        made: Folders to remove too if they are empty then, innermost first.
    """
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    with contextlib.suppress(OSError):  # Not empty: another run has moved in.
        for path in made:
            path.rmdir()


def write_run(folder: Path, **facts: Any) -> None:
    """Adds facts about the run to its `run.json`, replacing the file at once.

    The process and host that write are noted, so that a run that is still going on
    is not taken for an interrupted one.
    """
    owner = {
        "pid": os.getpid(),
        "pid_start": _process_start(os.getpid()),
        "host": socket.gethostname(),
    }
    text = json.dumps({**read_run(folder), **owner, **facts}, indent=2, default=str)
    aside = folder / f".{RUN_FILE}.{os.getpid()}"
    aside.write_text(text + "\n")
    aside.replace(folder / RUN_FILE)


def read_run(folder: Path) -> dict[str, Any]:
    """Returns the facts in `run.json`, or nothing if there is no readable one."""
    try:
        facts = json.loads((folder / RUN_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def find_unfinished(parent: Path, wanted: Mapping[str, Any]) -> Path | None:
    """Returns the newest unfinished run in `parent`, or None.

    Args:
        parent: Folder whose subfolders are runs.
        wanted: Facts that the run's `run.json` must have with equal values, such as
            name, seed and digest.
    """
    candidates = sorted(parent.glob(f"*/{RUN_FILE}"), key=_age)
    for file in reversed(candidates):
        facts = read_run(file.parent)
        is_equal = all(facts.get(key) == value for key, value in wanted.items())
        if is_equal and _is_resumable(file.parent, facts):
            return file.parent
    return None


def _is_resumable(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Whether a run ended early, has a checkpoint, and nobody is running it."""
    checkpoints = (folder / "checkpoint").glob("*")
    has_checkpoint = any(c.name.startswith(("state_", "last")) for c in checkpoints)
    unfinished = facts.get("status") != "finished"
    return unfinished and has_checkpoint and not _is_running(facts)


def _age(file: Path) -> tuple[str, float]:
    """Sorts runs by their start, then by the last change of `run.json`."""
    try:
        changed = file.stat().st_mtime
    except OSError:
        changed = 0.0
    return str(read_run(file.parent).get("started", "")), changed


def _is_running(facts: Mapping[str, Any]) -> bool:
    """Whether the process that wrote `facts` is still there, on this machine."""
    pid = facts.get("pid")
    here = facts.get("host") == socket.gethostname()
    if facts.get("status") != "running" or not here or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # The number may by now belong to another process.
    return facts.get("pid_start") in (None, _process_start(pid))


def _process_start(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where that is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rsplit(")", 1)[1].split()[19]


def commit() -> str | None:
    """Returns the commit of this checkout, or None outside of one."""
    try:
        result = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def versions() -> dict[str, str]:
    """Returns the versions of what numerical results depend on."""
    result = {"python": sys.version.split()[0]}
    for name in ("tensorflow", "keras", "numpy", "gymnasium", "mujoco"):
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result
