"""`bench.json` and `bench.md` from measured numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.cases import BY_ROW, CASES, ENVS, MATMUL, PROCESSES, SIDES, STEPPING
from tests.bench.harness import MAX_FOREIGN, MAX_SPREAD
from tests.bench.machine import QUIET

NOTES = "bench_notes.md"
AIM_SHARE = {"c5000": 0.8, "c50000": 0.8}
PEER_SHARE = 0.4
"""Share of its own matmul rate that the peer must reach, or it is a straw man."""

ELSEWHERE = """\
On one quiet machine of another kind, medians in ms for (a) / (b) / (c, 5,000 pairs):
the original in PyTorch 13.4 / 5.9 / 267, TensorFlow prototypes 5.1 (best 3.6) / 3.2
(1.9 with 20 steps per call) / 71.5, a JAX peer of the same network 6.0 / 2.6 / 90. Only
ratios can be compared with the table above.
"""

Results = dict[str, Any]


def write_report(results: Results, folder: Path | None) -> str:
    """Returns the report; with a folder, writes it and the numbers there."""
    notes = ""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / NOTES).is_file():
            notes = (folder / NOTES).read_text().strip()
    text = report(results, notes)
    if folder is not None:
        (folder / "bench.json").write_text(to_json(results))
        (folder / "bench.md").write_text(text)
    return text


def to_json(results: Results) -> str:
    """JSON with one line for each round."""
    text = json.dumps(results, indent=1)
    lines, inside = [], False
    for line in text.splitlines():
        if inside:
            lines[-1] += " " + line.strip()
            inside = line.strip() not in ("]", "],")
        else:
            lines.append(line)
            inside = line.endswith('"seconds": [')
    return "\n".join(lines) + "\n"


def report(results: Results, notes: str = "") -> str:
    """The text of `bench.md`."""
    parts = [
        "# Speed against plain PyTorch\n\nWritten by `make bench` from `bench.json`; "
        f"edit `{NOTES}`, not this file.",
        _warning(results),
        _conditions(results),
        _ratios(results),
        _shares(results),
        _stepping(results),
        _iteration(results),
        f"## Measured elsewhere\n\n{ELSEWHERE.strip()}",
        _quietness(results),
        f"## Where an aim is missed\n\n{notes or 'Nothing is written yet.'}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# -- sections --------------------------------------------------------------------------


def _warning(results: Results) -> str:
    """What makes these numbers a draft; empty on a quiet machine."""
    noisy = [
        f"{case} ({side})"
        for case, sides in results["cases"].items()
        for side, numbers in sides.items()
        if not numbers["is_quiet"]
    ]
    reasons = []
    if noisy:
        reasons.append(
            f"**THE MACHINE WAS NOT QUIET**, so these are: {', '.join(noisy)}. "
            "Others used the processors, or the rounds disagree."
        )
    if results.get("quick"):
        reasons.append("**This was a `--quick` run with less work in each call.**")
    return "\n".join(f"> {reason}" for reason in reasons)


def _conditions(results: Results) -> str:
    machine, versions = results["machine"], results["versions"]
    changed = " with uncommitted changes" if results["uncommitted changes"] else ""
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['cpu']}, {machine['processors']} processors, "
        f"{machine['memory_gib']} GiB, {machine['system']}; "
        f"{results['threads']} threads on each side. {libraries}. "
        f"Commit {results['commit'] or 'unknown'}{changed}, {results['date']}: "
        f"`{results['command']}`.\n\n"
        "Both sides run in turns, each in a process of its own, on the networks and "
        "sizes of the Hopper leaves. The peer (`tests/bench/peer_*.py`) is plain eager "
        "PyTorch, with the same numbers (`tests/bench/test_parity.py`). Numbers are "
        "medians over all rounds."
    )


def _ratios(results: Results) -> str:
    rows = []
    for case, about in CASES.items():
        times = _times(results, case)
        if times is None:
            continue
        ratio = times[0] / times[1]
        rows.append(
            (
                f"({case[0]}) {about.title}, {about.unit}",
                *(_show(t) for t in times),
                f"{ratio:.2f}",
                f">= {about.aim:g}",
                _met(ratio >= about.aim),
            )
        )
    head = ("what", "PyTorch", "ours", "ratio", "aim", "met")
    return f"## Times\n\n{_table(head, rows)}" if rows else ""


def _times(results: Results, case: str) -> tuple[float, float] | None:
    """Medians of the peer and ours, seconds."""
    found = results["cases"]
    if case == "d":
        names = [f"{STEPPING}{name}" for name in (PROCESSES, "auto")]
        sides = [found.get(name, {}).get(ENVS) for name in names]
    else:
        sides = [found.get(case, {}).get(side) for side in SIDES]
    if None in sides:
        return None
    return sides[0]["median"], sides[1]["median"]


def _shares(results: Results) -> str:
    """How near (a) and (c) come to the frameworks' own matmul rates."""
    rows = []
    for case, flops in results["flops"].items():
        for side in SIDES:
            if side not in results["cases"].get(case, {}):
                continue
            alone = results["cases"][MATMUL + case][side]["median"]
            whole = results["cases"][case][side]["median"]
            aim = AIM_SHARE.get(case) if side == "ours" else None
            if side == "torch" and case.startswith("c"):
                aim = PEER_SHARE
            rows.append(
                (
                    f"({case[0]}) {CASES[case].title}",
                    side,
                    f"{flops[side] / 1e9:.2f}",
                    f"{flops[side] / alone / 1e9:.0f}",
                    _show(alone),
                    f"{alone / whole:.0%}",
                    f">= {aim:.0%}" if aim else "",
                    _met(alone / whole >= aim) if aim else "",
                )
            )
    if not rows:
        return ""
    head = (
        "what",
        "side",
        "GFLOP",
        "matmul GFLOP/s",
        "products alone",
        "share",
        "aim",
        "met",
    )
    return (
        "## Share of the matmul rate\n\nThe matrix products of the networks' linear "
        "layers in float32, same shapes, chained, and nothing else, as a share of the "
        "whole. The peer's include those of the frozen network, which the original "
        f"evaluates too.\n\n{_table(head, rows)}{_bounds(results)}"
    )


def _bounds(results: Results) -> str:
    """Ratios if ours did nothing but products, and with the original's discount."""
    lines = []
    for case in results["flops"]:
        sides = results["cases"].get(case, {})
        if set(SIDES) - set(sides):
            continue
        peer, ours = (sides[side]["median"] for side in SIDES)
        alone = results["cases"][MATMUL + case]["ours"]["median"]
        line = (
            f"- {CASES[case].title}: a ratio of {peer / alone:.2f} if ours took "
            "no longer than its products alone."
        )
        by_row = results["cases"].get(case + BY_ROW, {}).get("torch")
        if by_row:
            line += (
                " With the denoising discount computed row by row in Python, as the "
                f"original does, PyTorch takes {_show(by_row['median'])} (ratio "
                f"{by_row['median'] / ours:.2f})."
            )
        lines.append(line)
    return "\n\n" + "\n".join(lines) if lines else ""


def _stepping(results: Results) -> str:
    found = {
        name.removeprefix(STEPPING): sides[ENVS]["median"]
        for name, sides in results["cases"].items()
        if name.startswith(STEPPING)
    }
    if not found:
        return ""
    slowest = found[PROCESSES]
    rows = [
        (name, f"{1 / seconds:,.0f}", f"{slowest / seconds:.2f}")
        for name, seconds in found.items()
    ]
    head = ("back end", "env steps/s", "ratio")
    return (
        "## Environments\n\n40 Hoppers with random chunks, nothing else running. One "
        "process for each environment is what the original does; the others are "
        f"`env.backend`.\n\n{_table(head, rows)}"
    )


def _iteration(results: Results) -> str:
    memory = results.get("memory")
    if not memory:
        return ""
    rows, totals = [], {}
    for side in SIDES:
        main, workers = (
            median(m[key] for m in memory[side]) for key in ("main", "workers")
        )
        totals[side] = main + workers
        rows.append(
            (
                side,
                _show(median(results["first"][side])),
                _show(results["cases"]["e"][side]["median"]),
                f"{main:,.0f}",
                f"{workers:,.0f} ({memory[side][0]['n_workers']})",
                f"{main + workers:,.0f}",
            )
        )
    head = ("side", "first", "second", "peak MiB", "workers' MiB (number)", "sum")
    met = _met(totals["ours"] <= totals["torch"])
    return (
        "## A whole iteration\n\nRollout of the Hopper leaf and its update, from an "
        "untrained policy, each time in a fresh process. The first iteration compiles; "
        "the second counts. Memory is the peak of the main process and the "
        "proportional memory of the environments' processes.\n\n"
        f"{_table(head, rows)}\n\nAim: no more memory than PyTorch; met: {met}."
    )


def _quietness(results: Results) -> str:
    rows = []
    for case, sides in results["cases"].items():
        for side, numbers in sides.items():
            rounds = numbers["rounds"]
            rows.append(
                (
                    case,
                    side,
                    str(len(rounds)),
                    f"{numbers['quiet_share']:.0%}",
                    f"{min(r['idle_before'] for r in rounds):.0%}",
                    f"{max(r['foreign'] for r in rounds):.0%}",
                    f"{max(r['waiting'] for r in rounds):.2f}",
                    f"{numbers['spread']:.0%}",
                    _met(numbers["is_quiet"]),
                )
            )
    head = (
        "case",
        "side",
        "rounds",
        "quiet",
        "least idle before",
        "most by others",
        "waiting side, s",
        "spread",
        "good",
    )
    return (
        f"## Quietness\n\nA round is quiet if {QUIET:.0%} of the processors were idle "
        f"before it and others used at most {MAX_FOREIGN:.0%} during it. A series is "
        "good if nine of ten rounds are quiet and the quartiles of their medians lie "
        f"within {MAX_SPREAD:.0%}.\n\n{_table(head, rows)}"
    )


# -- text ------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _show(seconds: float) -> str:
    """Seconds with a unit that suits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _met(good: bool) -> str:
    return "yes" if good else "**no**"
