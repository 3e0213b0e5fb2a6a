"""The one place that knows files, console, TensorBoard and wandb of a run.

Agents hand in numbers under the reference's names. Everything is appended; nothing is
written before the first number, except a probe that tells at once whether the log
folder can be written. Departures from the reference: `metrics.jsonl`, TensorBoard, the
progress line and `curve.png` are new; `result.pkl` holds the same, but is written once
a minute and at the end instead of at every iteration; a run can be resumed.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from util.metrics_files import (
    MetricsFile,
    ResultTable,
    check_writable,
    extract_curve,
    has_env_steps,
    read_metrics,
    to_number,
    write_npz,
)
from util.metrics_sinks import TensorBoardSink, WandbSink
from util.plotting import Curve, plot_curves
from util.progress import ProgressLine, write_line
from util.result_pickle import read_results

log = logging.getLogger(__name__)

METRICS, RESULTS, CURVE = "metrics.jsonl", "result.pkl", "curve.png"
_RESULTS_INTERVAL = 60.0  # least seconds between two writings of result.pkl
_RESULTS_SHARE = 0.02  # largest share of the time that writing it may take
_REWARDS = {
    "evaluation": "avg episode reward - eval",
    "training": "avg episode reward - train",
}
_UNITS = {"itr": "iteration"}


class MetricsLogger:
    """Writes the numbers of one run.

    `get_state` and `set_state` belong into the run's checkpoint. `set_state` cuts
    `metrics.jsonl` back to where the checkpoint was made, so that a resumed run leaves
    the file of an uninterrupted one (but for the times).

    Args:
        logdir: Folder of the run.
        name: Experiment, the heading of the curve.
        config: Shown in wandb.
        wandb: `entity`, `project` and `run`; None for no wandb.
        total: Number of iterations or epochs of the run.
        unit: What is counted: "itr" or "epoch".
        tensorboard: Whether to write TensorBoard events, into `<logdir>/tensorboard`.
        resume_step: Continue what the folder holds of steps up to this one. Not needed
            where `set_state` is used.

    Raises:
        OSError: If the folder cannot be written; names it.
    """

    def __init__(
        self,
        logdir: Path,
        name: str,
        config: Mapping[str, Any],
        wandb: Mapping[str, Any] | None,
        total: int,
        unit: str = "itr",
        tensorboard: bool = True,
        resume_step: int | None = None,
    ) -> None:
        self.logdir, self.name, self.unit = Path(logdir), name, unit
        check_writable(self.logdir)
        self._file = MetricsFile(self.logdir / METRICS)
        self._results = ResultTable()
        self._events = None
        if tensorboard:
            self._events = TensorBoardSink(self.logdir / "tensorboard")
        self._wandb = WandbSink(self.logdir, wandb, config)
        self._progress = ProgressLine(total, unit)
        self._elapsed, self._started = 0.0, time.monotonic()
        self._last_step, self._done = -1, 0.0
        self._results_due, self._results_written = 0.0, True
        self._continues = self._closed = False
        if resume_step is not None:
            self._continue_folder(resume_step)

    # -- numbers ----------------------------------------------------------------------

    def log(self, step: int, scalars: Mapping[str, Any], commit: bool = True) -> None:
        """Writes scalars of an iteration or epoch.

        Args:
            step: The iteration or epoch.
            scalars: Numbers by name; NaN and infinities are allowed.
            commit: False keeps them back in wandb until the next ones.

        Raises:
            OSError: If they cannot be written.
            TypeError: If a value is not one number; names it.
        """
        numbers = {name: to_number(name, value) for name, value in scalars.items()}
        if not self._continues:
            self._begin_anew()
        self._file.append(int(step), round(self.elapsed(), 3), numbers)
        if self._events is not None:
            self._events.log(int(step), numbers)
        self._wandb.log(int(step), numbers, commit)
        self._last_step = max(self._last_step, int(step))

    def record(self, row: Mapping[str, Any]) -> None:
        """Adds a row to `result.pkl`, which is written now and then."""
        self._results.append(row)
        self._results_written = False
        if time.monotonic() >= self._results_due:
            self.write_results()

    def write_results(self) -> None:
        """Writes `result.pkl`, replacing it at once.

        Raises:
            OSError: If it cannot be written; the old file stays.
        """
        started = time.monotonic()
        self._results.write(self.logdir / RESULTS)
        self._results_written = True
        now = time.monotonic()
        pause = max(_RESULTS_INTERVAL, (now - started) / _RESULTS_SHARE)
        self._results_due = now + pause

    def write_npz(self, path: str | Path, arrays: Mapping[str, Any]) -> None:
        """Writes an npz such as `result.npz`; a relative path is one in the log folder.

        Raises:
            OSError: If it cannot be written; an old file stays.
            TypeError: If a value is no number, string or array of those.
        """
        write_npz(self.logdir / path, arrays)

    # -- console ----------------------------------------------------------------------

    def console(self, line: str) -> None:
        """Writes a line to the console and, if there is one, to the run's log."""
        self._progress.clear()
        write_line(line)

    def progress(self, done: float, **short: Any) -> None:
        """Shows that `done` of `total` are done, with a few numbers behind.

        May be called often; `done` may be a fraction inside an epoch.
        """
        self._done = done
        self._progress.update(done, **short)

    def elapsed(self) -> float:
        """Returns the seconds since the run began, pauses before a resume left out."""
        return self._elapsed + time.monotonic() - self._started

    # -- beginning and resuming -------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Returns what `set_state` continues from."""
        return {
            "lines": self._file.lines,
            "last_step": self._last_step,
            "done": self._done,
            "elapsed": self.elapsed(),
            "results": self._results.get_state(),
            "wandb_id": self._wandb.run_id,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`: drops later lines of `metrics.jsonl`."""
        self._results.set_state(state["results"])
        lines = int(state["lines"])
        self._file.keep(lambda index, row: index < lines)
        if self._file.lines < lines:
            log.warning(
                "%s has %d of the %d lines before the checkpoint.",
                self._file.path,
                self._file.lines,
                lines,
            )
        self._wandb.run_id = state["wandb_id"]
        self._continue(state["last_step"], state["done"], state["elapsed"])

    def _continue(self, last_step: int, done: float, elapsed: float) -> None:
        self._continues = True
        self._last_step, self._done = int(last_step), float(done)
        self._elapsed, self._started = float(elapsed), time.monotonic()
        self._progress.restart(self._done)
        if self._events is not None:
            self._events.purge(self._last_step + 1)

    def _continue_folder(self, step: int) -> None:
        """Continues from the folder's files alone, up to `step`."""
        self._file.keep(lambda index, row: row["step"] <= step)
        rows = read_metrics(self._file.path) if self._file.path.exists() else []
        if (file := self.logdir / RESULTS).exists():
            for row in read_results(file):
                if row["itr"] <= step:
                    self._results.append(row)
        self._continue(step, step + 1, rows[-1]["time"] if rows else 0.0)

    def _begin_anew(self) -> None:
        """Keeps the lines of another run in this folder out of this run's."""
        self._continues = True
        if (aside := self._file.set_aside()) is not None:
            log.warning("The metrics of an earlier run are now in %s.", aside)

    # -- end --------------------------------------------------------------------------

    def close(self) -> None:
        """Writes what is left, draws `curve.png` and ends TensorBoard and wandb.

        May be called again, and while an exception is on its way, which it then does
        not replace by another.

        Raises:
            OSError: If files cannot be written.
        """
        if self._closed:
            return
        self._closed = True
        failed = sys.exc_info()[0] is not None
        errors = [self._try(self._finish_results), self._try(self._file.close)]
        if self._events is not None:
            errors.append(self._try(self._events.close))
        errors.append(self._try(self._draw))
        self._progress.clear()
        self._wandb.close(failed)
        for error in errors:
            if error is not None and not failed:
                raise error

    def _try(self, action: Callable[[], None]) -> OSError | None:
        """Runs a part of `close`; the others must follow even if it fails."""
        try:
            action()
        except OSError as error:
            log.error("%s", error)
            return error
        return None

    def _finish_results(self) -> None:
        if not self._results_written:
            self.write_results()

    def _draw(self) -> None:
        """Draws the learning curve: rewards if there are any, else losses."""
        if not self._file.lines:
            return
        try:
            rows = read_metrics(self._file.path)
            rewards = _curves(rows, _REWARDS)
            losses = {name: name for row in rows for name in row if "loss" in name}
            if curves := rewards or _curves(rows, losses):
                counted = _UNITS.get(self.unit, self.unit)
                plot_curves(
                    curves,
                    self.logdir / CURVE,
                    xlabel="env steps" if has_env_steps(rows) else counted,
                    ylabel="episode reward" if rewards else "loss",
                    title=self.name,
                    log_y=not rewards,
                )
        except (ImportError, RuntimeError, ValueError) as error:
            log.warning("%s was not drawn: %s", CURVE, error)


def _curves(rows: list[dict[str, Any]], names: Mapping[str, str]) -> list[Curve]:
    """The curves of those metrics that occur, by their label."""
    curves = [Curve(label, *extract_curve(rows, name)) for label, name in names.items()]
    return [curve for curve in curves if len(curve.x)]
