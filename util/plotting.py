"""Draws curves into PNG files: mean lines with shaded intervals.

Works without a display and leaves matplotlib's global state alone (no pyplot).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from util.torch_file_writer import open_aside

DPI = 150
_SIZE = (7.0, 4.5)  # inches
_MARKER_LIMIT = 30  # points up to which each is marked
_LARGE = 1e4  # values from which ticks read 10k, 1M
_WIDE_RANGE = 20.0  # ratio of y values from which a logarithmic axis helps


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        label: Its name in the legend.
        x: Shape (points,).
        y: Mean. Shape (points,).
        low: Lower limit of the interval, None for no interval.
        high: Upper limit.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def __post_init__(self) -> None:
        parts = [p for p in (self.x, self.y, self.low, self.high) if p is not None]
        shapes = [np.shape(part) for part in parts]
        if len(shapes) == 3 or len(shapes[0]) != 1 or len(set(shapes)) != 1:
            raise ValueError(
                f"{self.label}: x, y, low and high must be vectors of one length (low "
                f"and high both or neither), got shapes {shapes}."
            )


def plot_curves(
    curves: Sequence[Curve],
    path: Path,
    xlabel: str,
    ylabel: str,
    title: str | None = None,
    log_y: bool = False,
) -> None:
    """Draws curves into a PNG file, which is replaced at once.

    Args:
        curves: At least one, with a point at least.
        path: The file.
        xlabel: What x is, with its unit.
        ylabel: What y is, with its unit.
        title: Heading.
        log_y: Logarithmic y axis, if all values are positive and differ widely.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is nothing to draw.
    """
    from matplotlib.ticker import EngFormatter

    if not any(len(curve.x) for curve in curves):
        raise ValueError("curves must hold at least one point, got none.")
    figure = make_figure(_SIZE)
    axes = figure.add_subplot()
    for index, curve in enumerate(curves):
        _draw(axes, curve, f"C{index % 10}", "-" if index < 10 else "--")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if title is not None:
        axes.set_title(title)
    if max(np.max(np.abs(c.x), initial=0.0) for c in curves) >= _LARGE:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if log_y and _spans_widely(curves):
        axes.set_yscale("log")
    axes.grid(True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save_figure(figure, path)


def make_figure(size: tuple[float, float]) -> Any:
    """An empty figure.

    Args:
        size: Width and height in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure into a PNG file, which is replaced at once.

    Raises:
        OSError: If the file cannot be written.
    """
    with open_aside(Path(path)) as stream:
        figure.savefig(stream, format="png", dpi=DPI)


def _draw(axes: Any, curve: Curve, color: str, style: str) -> None:
    """The line of a curve and the band of its interval."""
    marker = "o" if len(curve.x) <= _MARKER_LIMIT else None
    axes.plot(
        curve.x,
        curve.y,
        style,
        color=color,
        marker=marker,
        markersize=3.5,
        linewidth=1.6,
        label=curve.label,
    )
    if curve.low is not None and curve.high is not None:
        axes.fill_between(
            curve.x, curve.low, curve.high, color=color, alpha=0.2, linewidth=0
        )


def _spans_widely(curves: Sequence[Curve]) -> bool:
    values = np.concatenate([curve.y for curve in curves])
    return bool(values.min() > 0 and values.max() > _WIDE_RANGE * values.min())
