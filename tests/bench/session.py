"""A whole measurement: processes, cases, rounds; returns plain numbers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tests.bench import cases, machine
from tests.bench.cases import BY_ROW, CASES, ENVS, MATMUL, ONCE, SIDES, STEPPING
from tests.bench.harness import Series, in_turns, measure
from tests.bench.worker import Worker

LETTERS = ("a", "b", "c", "d", "e", "f", "g", "h")
COMPUTED = ("a", "b", "c", "f", "g", "h")
UPDATES = ("c5000", "c50000")
Results = dict[str, dict[str, Series]]


class Session:
    """Measures what is asked for.

    Args:
        folder: For files.
        quick: Less work in a call.
        gate: Called before each measurement; returns the machine's idle share.
    """

    def __init__(self, folder: Path, quick: bool, gate: Callable[[], float]) -> None:
        self.folder, self.quick, self.gate = folder, quick, gate
        self.configs: dict[str, Any] = {}

    def measure(self, letters: Iterable[str], rounds: int) -> dict[str, Any]:
        """Everything that `letters` stand for, for JSON."""
        letters = list(letters)
        results: Results = {}
        if set(COMPUTED) & set(letters):
            results |= self._compute(letters, rounds)
        if "d" in letters:
            results |= self._step_envs(rounds)
        found: dict[str, Any] = {}
        if "e" in letters:
            found = self._iterate(-(-rounds // 3))
            results |= found.pop("results")
        return {
            "cases": {
                case: {side: _plain(series) for side, series in sides.items()}
                for case, sides in results.items()
            },
            "flops": self._flops(results),
            **found,
        }

    def config(self, case: str) -> Any:
        """The leaf of a case as plain containers, composed once."""
        base = case.removeprefix(MATMUL).removesuffix(BY_ROW).removesuffix(ONCE)
        base = "d" if base.startswith(STEPPING) else base
        if base not in self.configs:
            cfg = cases.config(base, self.folder / base, self.quick)
            self.configs[base] = OmegaConf.to_container(cfg)
        return self.configs[base]

    # -- (a), (b), (c), (f), (g), (h) --------------------------------------------------

    def _compute(self, letters: Sequence[str], rounds: int) -> Results:
        """Both sides in long-lived processes."""
        names = _names(letters)
        workers = {side: self._start(side) for side in SIDES}
        plan: dict[str, list[Worker]] = {}
        try:
            for case in names:
                is_peers = case.endswith((BY_ROW, ONCE))
                sides = [workers["torch"]] if is_peers else workers.values()
                plan[case] = list(sides)
                for worker in plan[case]:
                    _say(f"preparing {case} on {worker.side}")
                    worker.ask("prepare", case, self._config_of(case, worker.side))
            _say(f"{rounds} rounds of {', '.join(names)}")
            return in_turns(plan, rounds, self.gate)
        finally:
            for worker in workers.values():
                worker.close()

    def _config_of(self, case: str, side: str) -> Any:
        """A case's config with a run folder of the side's own."""
        cfg = self.config(case)
        return {**cfg, "logdir": f"{cfg['logdir']}-{side}"}

    def _start(self, side: str) -> Worker:
        return Worker(side, machine.processors(), self.quick)

    # -- (d) ---------------------------------------------------------------------------

    def _step_envs(self, rounds: int) -> Results:
        """All vector environments in one process, in turns."""
        from tests.bench.stepping import back_ends  # not needed for the rest

        worker = self._start(ENVS)
        names = []
        try:
            for name in (STEPPING + back_end for back_end in back_ends()):
                _say(f"preparing {name}")
                try:
                    worker.ask("prepare", name, self.config(name))
                    names.append(name)
                except RuntimeError as error:  # an extra that is not installed
                    _say(f"left out: {str(error).strip().splitlines()[-1]}")
            _say(f"{rounds} rounds of {', '.join(names)}")
            return in_turns({name: [worker] for name in names}, rounds, self.gate)
        finally:
            worker.close()

    # -- (e) ---------------------------------------------------------------------------

    def _iterate(self, rounds: int) -> dict[str, Any]:
        """A fresh process for each round and side: its second iteration is timed."""
        series = {side: Series() for side in SIDES}
        first: dict[str, list[float]] = {side: [] for side in SIDES}
        memory: dict[str, list] = {side: [] for side in SIDES}
        for number in range(rounds):
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                _say(f"iteration {number + 1} of {rounds} on {side}")
                worker = self._start(side)
                try:
                    config = self._config_of("e", f"{side}-{number}")
                    first[side] += worker.ask("prepare", "e", config)
                    done = measure(worker, "e", [worker], self.gate())
                    series[side].rounds.append(done)
                    memory[side].append(worker.ask("memory"))
                    worker.ask("drop", "e")
                finally:
                    worker.close()
        return {"results": {"e": series}, "first": first, "memory": memory}

    def _flops(self, results: Results) -> dict[str, dict[str, int]]:
        counted: dict[str, dict[str, int]] = {}
        for case in (name for name in results if name.startswith(MATMUL)):
            base = case.removeprefix(MATMUL)
            cfg = OmegaConf.create(self.config(base))
            counted[base] = {
                side: sum(part.flops() for part in cases.products(side, base, cfg))
                for side in SIDES
            }
        return counted


def _names(letters: Sequence[str]) -> list[str]:
    """Cases of all but (d) and (e), with the products of those that have them."""
    names = []
    if "a" in letters:
        names += ["a", f"{MATMUL}a"]
    if "b" in letters:
        names += ["b"]
    if "c" in letters:
        for case in UPDATES:
            names += [case, f"{case}{BY_ROW}", f"{MATMUL}{case}"]
    for letter in sorted({"f", "g", "h"} & set(letters)):
        names += [case for case in CASES if case.startswith(f"{letter} ")]
    if "g" in letters:
        names.append(f"g act{ONCE}")
    return names


def _plain(series: Series) -> dict[str, Any]:
    """For JSON."""
    return {
        "median": float(f"{series.median():.5g}"),
        "spread": round(series.spread(), 3),
        "quiet_share": round(series.quiet_share(), 3),
        "is_quiet": series.is_quiet(),
        "rounds": [r.as_dict() for r in series.rounds],
    }


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
