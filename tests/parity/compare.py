"""Comparing what a replay produced with what the reference produced.

Tolerances are those of the recorded areas: 2e-5 * max(1, largest reference value) for
an output, 1e-4 * the largest gradient of the case for gradients, and never more than
1 % of the output's largest value. In a whole run an output is a variable with all its
passages (`out/update/<n>/approx_kl` for all n): single passages may be exactly 0.
Integers, flags and strings must be equal.

Biases of the keys of self-attention have no gradient: softmax cancels them. Adam turns
the rounding noise of a 0 into steps of the learning rate, so those that a run has
trained are left out, as the recorded area's index says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from tests.parity.case import Case, summarise_array

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4
LARGEST_SHARE = 0.01


@dataclass
class Worst:
    """The largest error relative to its tolerance, and where it is."""

    ratio: float = 0.0
    name: str = "-"

    def add(self, ratio: float, name: str) -> None:
        """Keeps the larger one; NaN counts as infinite."""
        ratio = float("inf") if np.isnan(ratio) else float(ratio)
        if ratio > self.ratio or self.name == "-":
            self.ratio, self.name = ratio, name


@dataclass
class Report:
    """Errors of one case in one mode, in units of the tolerance.

    Attributes:
        outputs: Of everything under `out/`.
        gradients: Of everything under `grad/` and `gradin/`.
        problems: Missing arrays and other differences that have no size.
        left_out: Outputs in which this project differs by choice.
    """

    outputs: Worst = field(default_factory=Worst)
    gradients: Worst = field(default_factory=Worst)
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Nothing is missing and no error exceeds its tolerance."""
        ratio = max(self.outputs.ratio, self.gradients.ratio)
        return not self.problems and ratio <= 1.0


def compare(
    case: Case,
    produced: Mapping[str, np.ndarray],
    by_choice: Collection[str] = (),
) -> Report:
    """Compares all recorded results of a case with produced ones.

    Args:
        case: The recorded case.
        produced: Arrays under the recorded names (`out/...`, `grad/...`, ...).
        by_choice: Outputs in which this project differs by choice; left out.
    """
    report, recorded = Report(), case.under("out/")
    caps = _largest_by_variable(recorded)
    for key, expected in recorded.items():
        name = f"out/{key}"
        if name in by_choice:
            report.left_out.append(name)
        elif name in produced:
            got = np.asarray(produced[name])
            if _TRAINED_ATTENTION_BIAS.fullmatch(key) and got.shape == expected.shape:
                expected, got = _without_keys(expected), _without_keys(got)
            _compare_output(report, name, expected, got, caps[_variable(key)])
        else:
            report.problems.append(f"missing {name}")
    _compare_gradients(report, case, produced)
    return report


_TRAINED_ATTENTION_BIAS = re.compile(r"itr/\d+/param/.*\.qkv_proj\.bias")


def _without_keys(bias: np.ndarray) -> np.ndarray:
    """Biases of queries and values, out of those of queries, keys and values."""
    query, _, value = np.split(bias, 3)
    return np.concatenate([query, value])


def _variable(key: str) -> str:
    """A recorded name without the numbers of passages."""
    return re.sub(r"(?<=/)\d+(?=/|$)", "*", key)


def _largest_by_variable(recorded: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Largest finite value of each variable, over all passages."""
    largest: dict[str, float] = {}
    for key, value in recorded.items():
        number = _largest(value) if value.dtype.kind == "f" else 0.0
        name = _variable(key)
        largest[name] = max(number, largest.get(name, 0.0))
    return largest


def _compare_output(
    report: Report, name: str, expected: np.ndarray, got: np.ndarray, largest: float
) -> None:
    if expected.size == 0 and got.size == 0:
        return
    if expected.shape != got.shape:
        report.problems.append(f"{name} has shape {got.shape}, not {expected.shape}")
    elif expected.dtype.kind in "US":
        if not np.array_equal(expected, got.astype(str)):
            report.problems.append(f"{name} is {got.tolist()}, not {expected.tolist()}")
    elif expected.dtype.kind in "biu":
        report.outputs.add(0.0 if np.array_equal(expected, got) else np.inf, name)
    else:
        report.outputs.add(_output_ratio(expected, got, largest), name)


def _output_ratio(expected: np.ndarray, got: np.ndarray, largest: float) -> float:
    """Largest error of one output in units of its tolerance."""
    usual = OUTPUT_TOLERANCE * max(1.0, _largest(expected))
    return _ratio(expected, got, min(usual, LARGEST_SHARE * largest))


def _ratio(expected: np.ndarray, got: np.ndarray, tolerance: float) -> float:
    """max |expected - got| / tolerance; infinities and NaN must be at equal places."""
    finite = np.isfinite(expected)
    if not np.array_equal(expected[~finite], got[~finite], equal_nan=True):
        return float("inf")
    error = np.abs(expected[finite].astype(np.float64) - got[finite]).max(initial=0.0)
    if error == 0.0:
        return 0.0
    return float(error / tolerance) if tolerance > 0.0 else float("inf")


def _largest(value: np.ndarray) -> float:
    finite = value[np.isfinite(value)]
    return float(np.abs(finite).max(initial=0.0))


def _compare_gradients(
    report: Report, case: Case, produced: Mapping[str, np.ndarray]
) -> None:
    expected = {
        key: value
        for key, value in case.arrays.items()
        if key.startswith(("grad/", "gradin/"))
    }
    digests = dict(
        zip(
            case.meta.get("gradsum_keys", []),
            case.arrays.get("gradsum", []),
            strict=True,
        )
    )
    largest = [_largest(value) for value in expected.values()]
    largest += [row[2] for row in digests.values()]
    if not largest:
        return
    tolerance = GRADIENT_TOLERANCE * max(largest)
    for key, value in expected.items():
        if key not in produced:
            report.problems.append(f"missing {key}")
        elif produced[key].shape != value.shape:
            report.problems.append(f"{key} has shape {produced[key].shape}")
        else:
            report.gradients.add(_ratio(value, produced[key], tolerance), key)
    for key, row in digests.items():
        _compare_digest(report, f"grad/{key}", row, produced, tolerance)
    _compare_absent(
        report, case, produced, {*expected, *(f"grad/{k}" for k in digests)}
    )


def _compare_digest(
    report: Report,
    key: str,
    row: np.ndarray,
    produced: Mapping[str, np.ndarray],
    tolerance: float,
) -> None:
    """Sum and norm of n entries may be off by sqrt(n) tolerances, entries by one."""
    if key not in produced:
        report.problems.append(f"missing {key}")
        return
    got = summarise_array(produced[key])
    spread = tolerance * np.sqrt(produced[key].size)
    report.gradients.add(_ratio(row[:2], got[:2], spread), key)
    report.gradients.add(_ratio(row[2:], got[2:], tolerance), key)


def _compare_absent(
    report: Report, case: Case, produced: Mapping[str, np.ndarray], present: set[str]
) -> None:
    """A parameter without a gradient in the reference has none, or zeros, here."""
    for key, value in produced.items():
        if key.startswith("grad/") and key not in present and np.any(value):
            report.problems.append(f"{key} is not 0, but the reference has none")
