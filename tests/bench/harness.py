"""Measures sides in turns and writes down how quiet the machine was."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.bench.machine import QUIET, Reading, idle_share, wait_until_quiet

MAX_FOREIGN = 0.05
"""Share of processor time that others may use during a quiet measurement."""
MAX_SPREAD = 0.10
"""How far a quarter of the rounds may lie from the median, relative to it."""


class Side(Protocol):
    """A process that measures, see `worker.Worker`."""

    side: str
    pid: int

    def ask(self, command: str, *args: Any) -> Any:
        """Runs a command."""


@dataclass
class Round:
    """One round of a case on one side.

    Attributes:
        seconds: Of each unit.
        idle_before: Share of processor time that nobody used before it.
        foreign: Share that others used during it.
        waiting: Processor seconds that the other sides used during it.
    """

    seconds: list[float]
    idle_before: float
    foreign: float
    waiting: float

    @property
    def is_quiet(self) -> bool:
        """Nobody else used the machine before and during it."""
        return self.idle_before >= QUIET and self.foreign <= MAX_FOREIGN

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seconds": [float(f"{x:.5g}") for x in self.seconds],
            "idle_before": round(self.idle_before, 3),
            "foreign": round(self.foreign, 3),
            "waiting": round(self.waiting, 3),
        }


@dataclass
class Series:
    """All rounds of a case on one side."""

    rounds: list[Round] = field(default_factory=list)

    def median(self) -> float:
        """Of all units of all rounds, seconds."""
        return statistics.median(x for r in self.rounds for x in r.seconds)

    def spread(self) -> float:
        """Distance of the quartiles of the rounds' medians, relative to the median."""
        medians = sorted(statistics.median(r.seconds) for r in self.rounds)
        if len(medians) < 2:
            return 0.0
        low, middle, high = statistics.quantiles(medians, n=4, method="inclusive")
        return max(high - middle, middle - low) / middle

    def quiet_share(self) -> float:
        """Share of rounds on a quiet machine."""
        return sum(r.is_quiet for r in self.rounds) / len(self.rounds)

    def is_quiet(self) -> bool:
        """Nearly all rounds were, and they agree."""
        return self.quiet_share() >= 0.9 and self.spread() <= MAX_SPREAD


class Gate:
    """Looks at the machine before each round.

    Args:
        wait: Wait until nobody else uses it.
        seconds: How long to look.
    """

    def __init__(self, wait: bool, seconds: float = 1.0) -> None:
        self.wait, self.seconds = wait, seconds

    def __call__(self) -> float:
        """Idle share; with `wait`, not before it is high enough."""
        share = idle_share(self.seconds)
        return wait_until_quiet() if self.wait and share < QUIET else share


def in_turns(
    plan: Mapping[str, Sequence[Side]], rounds: int, gate: Callable[[], float]
) -> dict[str, dict[str, Series]]:
    """Rounds of each case on its sides, by case and side.

    In every round all are measured, the sides in the other order than the round before.

    Args:
        plan: Sides of each case.
        rounds: How many.
        gate: Called before each measurement; returns the machine's idle share.
    """
    everyone = list(
        {side.pid: side for sides in plan.values() for side in sides}.values()
    )
    series = {case: {s.side: Series() for s in sides} for case, sides in plan.items()}
    for number in range(rounds):
        for case, sides in plan.items():
            for side in sides if number % 2 == 0 else reversed(sides):
                done = measure(side, case, everyone, gate())
                series[case][side.side].rounds.append(done)
    return series


def measure(side: Side, case: str, sides: Sequence[Side], idle: float) -> Round:
    """One round of a case on a side."""
    others = [other.pid for other in sides if other is not side]
    everybody, waiting = Reading.take([side.pid, *others]), Reading.take(others)
    seconds = side.ask("run", case)
    return Round(
        seconds=seconds,
        idle_before=idle,
        foreign=Reading.take([side.pid, *others]).foreign_share(everybody),
        waiting=Reading.take(others).own - waiting.own,
    )
