"""What the machine is, and whether somebody else is using it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

QUIET = 0.95
"""Share of processor time that nobody uses before a measurement on a quiet machine."""

_TICKS = os.sysconf("SC_CLK_TCK")
_LIBRARIES = ("tensorflow", "keras", "torch", "jax", "numpy", "gymnasium", "mujoco")


def processors() -> int:
    """Processors that this process may use; both sides get so many threads."""
    return len(os.sched_getaffinity(0))


def describe() -> dict[str, str | int]:
    """Processor model, number of processors, memory, operating system's kind."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": models[0] if models else platform.processor(),
        "processors": processors(),
        "memory_gib": round(pages / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that are measured."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Reading:
    """Processor seconds so far: of the whole machine, and of some processes."""

    busy: float
    total: float
    own: float

    @classmethod
    def take(cls, pids: Iterable[int] = ()) -> Reading:
        """Now; `own` is of the processes `pids` and their children."""
        fields = [int(x) for x in Path("/proc/stat").read_text().split()[1:9]]
        idle = fields[3] + fields[4]
        total = sum(fields) / _TICKS
        return cls(total - idle / _TICKS, total, sum(map(tree_seconds, pids)))

    def idle_share(self, before: Reading) -> float:
        """Share of processor time that nobody used since `before`."""
        return 1 - (self.busy - before.busy) / max(self.total - before.total, 1e-9)

    def foreign_share(self, before: Reading) -> float:
        """Share that others than `own` used, the host's share of a guest included."""
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others / max(self.total - before.total, 1e-9))


def idle_share(seconds: float = 1.0) -> float:
    """Watches the machine for some seconds."""
    before = Reading.take()
    time.sleep(seconds)
    return Reading.take().idle_share(before)


def wait_until_quiet(poll: float = 5.0) -> float:
    """Waits, without limit, until the machine is quiet; returns its idle share."""
    while (share := idle_share(2.0)) < QUIET:
        time.sleep(poll)
    return share


# -- processes -------------------------------------------------------------------------


def tree_seconds(pid: int) -> float:
    """Processor seconds of a process, its children, and those that have ended."""
    fields = _stat(pid)
    own = sum(int(x) for x in fields[11:15]) / _TICKS if fields else 0.0
    return own + sum(map(tree_seconds, children(pid)))


def children(pid: int) -> list[int]:
    """Processes that `pid` started and that are still there."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def peak_mib(pid: int) -> float:
    """Largest resident memory of a process so far."""
    return _kib(Path(f"/proc/{pid}/status"), "VmHWM") / 1024


def proportional_mib(pid: int) -> float:
    """Resident memory of a process; what n processes share counts 1/n in each."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss") / 1024


def _kib(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
