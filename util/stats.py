"""Statistics of runs over seeds, in NumPy: intervals, robust means, aligned curves.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice" (the rliable library): percentile intervals of a bootstrap that resamples
whole runs, stratified where the runs belong to several tasks, and the interquartile
mean. Numbers only; `util/plotting.py` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# Elements of one block of resampled curves: 32 MB of float64.
_BLOCK = 4_000_000

Statistic = Callable[..., Any]


def iqm(values: np.ndarray, axis: int | None = None) -> Any:
    """Returns the interquartile mean: the mean without the lowest and highest quarter.

    Of `n` values the `n // 4` smallest and as many largest are left out (scipy's
    `trim_mean` with 0.25, as rliable has it).

    Args:
        values: Scores.
        axis: Axis of the runs; None for all values together.

    Raises:
        ValueError: If there are no values.
    """
    values = np.asarray(values)
    if axis is None:
        values, axis = values.reshape(-1), 0
    n = values.shape[axis]
    if n == 0:
        raise ValueError("values must not be empty.")
    ordered = np.moveaxis(np.sort(values, axis=axis), axis, 0)
    return ordered[n // 4 : n - n // 4].mean(axis=0)


def bootstrap_interval(
    values: np.ndarray,
    level: float = 0.95,
    n_boot: int = 2000,
    *,
    rng: np.random.Generator,
    statistic: Statistic = np.mean,
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of a statistic of `values`.

    Args:
        values: One score for each run. Shape (n,).
        level: Coverage in (0, 1).
        n_boot: Number of resamples.
        rng: Draws the resamples.
        statistic: Called with an array and `axis`; the mean by default, or `iqm`.

    Returns:
        Lower and upper limit. Both are the value itself if there is one only.

    Raises:
        ValueError: If `values` is not a non-empty vector, or an option is impossible.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1:
        raise ValueError(f"values must have shape (n,), got {values.shape}.")
    low, high = curve_interval(
        values[:, np.newaxis], level, n_boot, rng=rng, statistic=statistic
    )
    return float(low[0]), float(high[0])


def curve_interval(
    curves: np.ndarray,
    level: float = 0.95,
    n_boot: int = 2000,
    *,
    rng: np.random.Generator,
    statistic: Statistic = np.mean,
    strata: Sequence[Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns pointwise percentile bootstrap intervals of a statistic over seeds.

    Whole curves are resampled, so that points of one run stay together.

    Args:
        curves: One row for each run. Shape (seeds, points).
        level: Coverage in (0, 1).
        n_boot: Number of resamples.
        rng: Draws the resamples.
        statistic: Called with an array and `axis`.
        strata: The task of each run, length `seeds`. Runs are drawn with replacement
            inside their task only, so every resample has the same runs per task.

    Returns:
        Lower and upper limits. Shape (points,) each.

    Raises:
        ValueError: If shapes or options are impossible.
    """
    curves = np.asarray(curves, np.float64)
    if curves.ndim != 2 or len(curves) == 0:
        raise ValueError(
            f"curves must have shape (seeds >= 1, points), got {curves.shape}."
        )
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be in (0, 1), got {level}.")
    if n_boot < 1:
        raise ValueError(f"n_boot must be >= 1, got {n_boot}.")
    rows = _resample(len(curves), n_boot, rng, strata)
    margin = (1.0 - level) / 2.0
    width = max(1, _BLOCK // rows.size)
    low, high = np.empty(curves.shape[1]), np.empty(curves.shape[1])
    for start in range(0, curves.shape[1], width):
        part = slice(start, start + width)
        samples = statistic(curves[rows, part], axis=1)  # (n_boot, points)
        low[part], high[part] = np.quantile(samples, [margin, 1.0 - margin], axis=0)
    return low, high


def _resample(
    n: int, n_boot: int, rng: np.random.Generator, strata: Sequence[Any] | None
) -> np.ndarray:
    """Rows of each resample, (n_boot, n), drawn with replacement inside strata."""
    if strata is None:
        return rng.integers(0, n, size=(n_boot, n))
    labels = np.asarray(strata)
    if labels.shape != (n,):
        raise ValueError(f"strata must have length {n}, got shape {labels.shape}.")
    drawn = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        drawn.append(members[rng.integers(0, len(members), (n_boot, len(members)))])
    return np.concatenate(drawn, axis=1)


def align_curves(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Puts curves on one grid by linear interpolation.

    The grid is made of all points of all curves in the range that every curve covers;
    nothing is extrapolated. Where the curves have the same points already, they are
    returned as they are. Of points with equal x the last one counts.

    Args:
        curves: Pairs (x, y) of vectors of one length each; x need not be sorted.

    Returns:
        The grid, shape (points,), and the curves on it, shape (len(curves), points).

    Raises:
        ValueError: If a curve is empty or malformed, or if no range is common.
    """
    if not curves:
        raise ValueError("curves must not be empty.")
    cleaned = [_clean(x, y) for x, y in curves]
    start = max(x[0] for x, _ in cleaned)
    end = min(x[-1] for x, _ in cleaned)
    if start > end:
        raise ValueError(
            f"curves must overlap: one starts at {start:g}, another ends at {end:g}."
        )
    grid = np.unique(np.concatenate([x for x, _ in cleaned]))
    grid = grid[(grid >= start) & (grid <= end)]
    return grid, np.stack([np.interp(grid, x, y) for x, y in cleaned])


def _clean(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve sorted by x, the last of equal x only."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) == 0:
        raise ValueError(
            f"x and y must be vectors of one length >= 1, got {x.shape} and {y.shape}."
        )
    if not np.isfinite(x).all():
        raise ValueError("x must be finite.")
    # `unique` gives the first of equal values: look from the end.
    unique, index = np.unique(x[::-1], return_index=True)
    return unique, y[::-1][index]


def explained_variance(values: np.ndarray, returns: np.ndarray) -> Any:
    """Returns `1 - var(returns - values) / var(returns)`, in the arrays' precision.

    1 means that the values predict the returns, 0 that they do as well as a constant.

    Args:
        values: Predictions, any shape.
        returns: Targets, same shape.

    Returns:
        A scalar of the arrays' dtype; NaN if the returns are constant.

    Raises:
        ValueError: If the shapes differ.
    """
    values, returns = np.asarray(values), np.asarray(returns)
    if values.shape != returns.shape or values.size == 0:
        raise ValueError(
            "values and returns must have one non-empty shape, "
            f"got {values.shape} and {returns.shape}."
        )
    variance = np.var(returns)
    # Rounding may leave a constant a variance that is not quite 0.
    if variance == 0 or np.ptp(returns) == 0:
        return np.nan
    return 1 - np.var(returns - values) / variance
