"""The files of a run's numbers: `metrics.jsonl`, `result.pkl`, `result.npz`.

`metrics.jsonl` has one JSON object for each call of `MetricsLogger.log`: `step` (the
iteration or epoch), `time` (seconds since the run began, pauses left out; or the
scalar of that name) and the scalars; NaN and infinities are null there and named under
`nonfinite`. `result.pkl` is the reference's: a pickled list with one dict for each
iteration.

An extra file beside `util/metrics.py` and `script/figures.py`, which both need it.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import pickle
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from util.torch_file_writer import explain_write_error, open_aside

log = logging.getLogger(__name__)

_PROBE_BYTES = 64 * 1024
RESERVED = ("step", "nonfinite")
"""Keys of a line of `metrics.jsonl` that no scalar may have."""


def check_writable(folder: Path) -> None:
    """Makes `folder` and tries to write in it; leaves nothing behind but the folder.

    Raises:
        OSError: If it cannot be written, is full or no folder; names it.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with probe.open("wb") as stream:
                stream.write(bytes(_PROBE_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        text = f"logdir must be a folder that can be written, {folder} is not: {reason}"
        raise OSError(error.errno or errno.EIO, text) from error


def to_number(name: str, value: Any) -> int | float | bool:
    """Returns a scalar of any kind (also of NumPy or TensorFlow) as Python's.

    Raises:
        TypeError: If it is not one real number; names it.
    """
    number = np.asarray(value)
    if number.size != 1 or number.dtype.kind not in "biuf":
        kind = f"{type(value).__name__} of shape {number.shape}, dtype {number.dtype}"
        raise TypeError(f"{name} must be one real number, got a {kind}.")
    return number.reshape(()).item()


class MetricsFile:
    """Appends lines to a `metrics.jsonl`.

    Args:
        path: The file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lines = path, 0
        self._stream: Any = None

    def append(self, step: int, time: float, scalars: Mapping[str, Any]) -> None:
        """Writes one line, at once.

        Raises:
            OSError: If it cannot be written; names the file.
            ValueError: If a scalar has a reserved name.
        """
        if reserved := [name for name in scalars if name in RESERVED]:
            raise ValueError(f"scalars must not be called {reserved[0]!r}.")
        row: dict[str, Any] = {"step": step, "time": time}
        bad = [name for name, value in scalars.items() if not math.isfinite(value)]
        row |= {k: None if k in bad else v for k, v in scalars.items()}
        if bad:
            row["nonfinite"] = bad
        text = json.dumps(row, allow_nan=False) + "\n"
        try:
            if self._stream is None:
                self._stream = self.path.open("a", encoding="utf-8")
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            raise explain_write_error(error, self.path) from error
        self.lines += 1

    def keep(self, wanted: Callable[[int, dict[str, Any]], bool]) -> None:
        """Drops the lines for which `wanted(index, row)` is false, and broken ones.

        The new file is written aside and renamed; nothing is written if all are kept.
        """
        self.close()
        text = ""
        if self.path.exists():
            text = self.path.read_text(encoding="utf-8", errors="replace")
        kept = []
        for index, line in enumerate(text.splitlines(keepends=True)):
            row = _parse(line)
            if row is not None and wanted(index, row):
                kept.append(line)
        self.lines = len(kept)
        if (new := "".join(kept)) != text:
            with open_aside(self.path) as stream:
                stream.write(new.encode())

    def set_aside(self) -> Path | None:
        """Renames an existing file, so that a new run starts an empty one."""
        self.close()
        self.lines, number = 0, 1
        if not self.path.exists():
            return None
        while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        return self.path.rename(aside)

    def close(self) -> None:
        """Closes the file; the next line opens it again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _parse(line: str) -> dict[str, Any] | None:
    """The row of a complete line, None for a broken one."""
    try:
        row = json.loads(line) if line.endswith("\n") else None
    except ValueError:
        return None
    is_row = isinstance(row, dict) and isinstance(row.get("step"), int)
    return row if is_row else None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a `metrics.jsonl`; NaN where a value was not finite.

    A line that was not written to its end, as a killed run leaves it, is left out with
    a warning. An empty file has no rows.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If a line before the last one is broken; names it.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    rows = []
    for number, line in enumerate(lines, start=1):
        row = _parse(line if line.endswith("\n") else f"{line}\n")
        if row is not None:
            rows.append({k: math.nan if v is None else v for k, v in row.items()})
        elif number == len(lines):
            log.warning("%s: the last line is incomplete and left out.", path)
        else:
            raise ValueError(f"{path}: line {number} is not a metrics row: {line[:80]}")
    return rows


RESULT_NAMES = {
    "train_episode_reward": "avg episode reward - train",
    "eval_success_rate": "success rate - eval",
    "eval_episode_reward": "avg episode reward - eval",
    "eval_best_reward": "avg best reward - eval",
}
"""Names in `result.pkl` of what `metrics.jsonl` and wandb call otherwise."""


def rows_of_results(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns rows of a `result.pkl` in the form of `metrics.jsonl`.

    Raises:
        ValueError: If a row has no `itr`.
    """
    result, elapsed = [], 0.0
    for row in rows:
        if "itr" not in row:
            raise ValueError(f"rows of a result.pkl must have itr, got {list(row)}.")
        elapsed += row.get("time", 0.0)
        new = {RESULT_NAMES.get(name, name): value for name, value in row.items()}
        new |= {"step": new.pop("itr"), "time": elapsed}
        if "step" in row:
            new["total env step"] = row["step"]
        result.append(new)
    return result


def extract_curve(
    rows: Sequence[Mapping[str, Any]], metric: str, x: str = "step"
) -> tuple[np.ndarray, np.ndarray]:
    """Returns one metric of a run as a curve, its finite values only.

    Episode statistics of iterations in which no episode ended say nothing (the
    reference writes 0 then) and are left out.

    Args:
        rows: As `read_metrics` or `rows_of_results` return them.
        metric: Name in `metrics.jsonl` or in `result.pkl`.
        x: "step" for env steps (iterations or epochs where there are none), "itr" for
            iterations or epochs, "time" for hours.

    Returns:
        x and y, of one length, which is 0 if the metric does not occur.
    """
    metric = RESULT_NAMES.get(metric, metric)
    in_env_steps = x == "step" and has_env_steps(rows)
    count = f"num episode - {metric.rpartition(' - ')[2]}"
    points, env_steps = [], 0.0
    for row in rows:
        # Rows of an evaluation may lack the counter, which stands still meanwhile.
        env_steps = row.get("total env step", env_steps)
        y = row.get(metric)
        is_number = isinstance(y, int | float) and math.isfinite(y)
        if is_number and (row.get(count) != 0 or metric == count):
            other = row["time"] / 3600 if x == "time" else row["step"]
            points.append((env_steps if in_env_steps else other, y))
    curve = np.array(points, np.float64).reshape(-1, 2)
    return curve[:, 0], curve[:, 1]


def has_env_steps(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a run counts env steps; pre-training does not."""
    return any("total env step" in row for row in rows)


class ResultTable:
    """The rows of `result.pkl`, kept by column: a run may have a million of them."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}
        self.rows = 0

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row; NumPy's numbers become Python's."""
        for name, value in row.items():
            self._columns.setdefault(name, _Column()).append(self.rows, value)
        self.rows += 1

    def to_list(self) -> list[dict[str, Any]]:
        """Returns one dict for each row."""
        result: list[dict[str, Any]] = [{} for _ in range(self.rows)]
        for name, column in self._columns.items():
            for row, value in zip(column.rows, column.values, strict=True):
                result[row][name] = value
        return result

    def write(self, path: Path) -> None:
        """Replaces the file at `path` at once.

        Raises:
            OSError: If it cannot be written; the old file stays.
        """
        with open_aside(path) as stream:
            pickle.dump(self.to_list(), stream)

    def get_state(self) -> dict[str, Any]:
        """Returns the columns: the rows that have a value, and the values."""
        columns = {name: column.get_state() for name, column in self._columns.items()}
        return {"rows": self.rows, "columns": columns}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""
        self.rows, self._columns = int(state["rows"]), {}
        for name, column in state["columns"].items():
            self._columns[name] = _Column(column["rows"], column["values"])


class _Column:
    """Values of the rows that have one: a vector while they are all of one type."""

    def __init__(self, rows: Iterable[int] = (), values: Iterable[Any] = ()) -> None:
        self.rows = array("q")
        self.values: array | list[Any] = []
        for row, value in zip(rows, values, strict=True):
            self.append(int(row), value)

    def append(self, row: int, value: Any) -> None:
        """Adds the value of a row."""
        value = value.item() if isinstance(value, np.generic) else value
        typecode = {int: "q", float: "d"}.get(type(value))
        if not self.rows and typecode:
            self.values = array(typecode)
        elif isinstance(self.values, array) and self.values.typecode != typecode:
            self.values = self.values.tolist()
        self.rows.append(row)
        self.values.append(value)

    def get_state(self) -> dict[str, Any]:
        """Returns copies of rows and values."""
        is_vector = isinstance(self.values, array)
        values = np.array(self.values) if is_vector else list(self.values)
        return {"rows": np.array(self.rows), "values": values}


def write_npz(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes `result.npz`, replacing the file at once.

    Raises:
        OSError: If it cannot be written; the old file stays.
        TypeError: If a value is no number, string or array of those.
    """
    named: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    for name, value in named.items():
        if value.dtype.kind not in "biufSU":
            raise TypeError(f"{name} must hold numbers or text, got {value.dtype}.")
    with open_aside(path) as stream:
        np.savez(stream, **named)
