from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.util_cases import replay
from util.stats import (
    align_curves,
    bootstrap_interval,
    curve_interval,
    explained_variance,
    iqm,
)

FOLDER = Path(__file__).parents[1] / "parity" / "rollout"


def rng(seed=0):
    return np.random.default_rng(seed)


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == 3.5


def test_iqm_leaves_out_whole_values_only():
    # 5 // 4 = 1 value at each end.
    assert iqm(np.array([0.0, 10, 20, 30, 1000])) == 20


def test_iqm_along_an_axis():
    values = np.array([[0.0, 1], [1, 2], [2, 3], [99, -99]])
    np.testing.assert_array_equal(iqm(values, axis=0), [1.5, 1.5])


def test_iqm_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        iqm(np.array([]))


def test_interval_of_two_values_by_hand():
    # Resamples of {0, 1}: mean 0, 1/2, 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_interval(np.array([0.0, 1]), 0.95, 4000, rng=rng()) == (0.0, 1.0)
    assert bootstrap_interval(np.array([0.0, 1]), 0.4, 4000, rng=rng()) == (0.5, 0.5)


def test_interval_of_many_values_is_near_the_normal_one():
    values = rng(1).normal(5.0, 2.0, size=400)
    low, high = bootstrap_interval(values, rng=rng())
    margin = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - margin, abs=0.02)
    assert high == pytest.approx(values.mean() + margin, abs=0.02)


def test_interval_of_one_value_is_that_value():
    assert bootstrap_interval(np.array([7.0]), rng=rng()) == (7.0, 7.0)


def test_interval_of_another_statistic():
    values = np.array([1.0, 1, 1, 1, 1, 1, 1, 1000])
    low, high = bootstrap_interval(values, 0.5, rng=rng(), statistic=iqm)
    assert (low, high) == (1.0, 1.0)


def test_interval_is_the_same_for_the_same_generator_state():
    values = np.arange(5.0)
    first = bootstrap_interval(values, rng=rng(3))
    assert first == bootstrap_interval(values, rng=rng(3))
    assert first != bootstrap_interval(values, 0.8, rng=rng(3))


def test_interval_of_a_matrix_is_refused():
    with pytest.raises(ValueError, match=r"values must have shape \(n,\)"):
        bootstrap_interval(np.zeros((2, 2)), rng=rng())


def test_curve_interval_holds_points_of_a_run_together():
    curves = np.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]])
    low, high = curve_interval(curves, rng=rng())
    assert low[1] - low[0] == pytest.approx(10)
    assert high[1] - high[0] == pytest.approx(10)


def test_curve_interval_does_not_depend_on_the_size_of_blocks(monkeypatch):
    curves = rng(1).normal(size=(3, 7))
    whole = curve_interval(curves, rng=rng(), n_boot=50)
    monkeypatch.setattr("util.stats._BLOCK", 300)
    np.testing.assert_array_equal(curve_interval(curves, rng=rng(), n_boot=50), whole)


def test_strata_are_resampled_inside_themselves():
    # Each task has equal runs: inside a task there is nothing to vary.
    curves = np.array([[0.0], [0.0], [10.0], [10.0]])
    low, high = curve_interval(curves, rng=rng(), strata=["a", "a", "b", "b"])
    assert (low, high) == (5.0, 5.0)
    low, high = curve_interval(curves, rng=rng())
    assert low < 5.0 < high


@pytest.mark.parametrize(
    ("curves", "options", "message"),
    [
        (np.zeros(3), {}, "curves must have shape"),
        (np.zeros((0, 3)), {}, "curves must have shape"),
        (np.zeros((2, 3)), {"level": 1.0}, r"level must be in \(0, 1\), got 1.0"),
        (np.zeros((2, 3)), {"n_boot": 0}, "n_boot must be >= 1, got 0"),
        (np.zeros((2, 3)), {"strata": ["a"]}, "strata must have length 2"),
    ],
)
def test_impossible_arguments_are_refused(curves, options, message):
    with pytest.raises(ValueError, match=message):
        curve_interval(curves, rng=rng(), **options)


def test_equal_grids_are_kept():
    x, y = np.array([0.0, 1, 5]), np.array([3.0, 2, 1])
    grid, curves = align_curves([(x, y), (x, 2 * y)])
    np.testing.assert_array_equal(grid, x)
    np.testing.assert_array_equal(curves, [y, 2 * y])


def test_different_grids_are_interpolated_where_they_overlap():
    first = (np.array([0.0, 2, 4]), np.array([0.0, 2, 4]))
    second = (np.array([1.0, 3, 5]), np.array([10.0, 30, 50]))
    grid, curves = align_curves([first, second])
    np.testing.assert_array_equal(grid, [1, 2, 3, 4])
    np.testing.assert_array_equal(curves, [[1, 2, 3, 4], [10, 20, 30, 40]])


def test_curves_are_sorted_and_the_last_of_equal_x_counts():
    x, y = np.array([2.0, 1, 2]), np.array([5.0, 6, 7])
    grid, curves = align_curves([(x, y)])
    np.testing.assert_array_equal(grid, [1, 2])
    np.testing.assert_array_equal(curves, [[6, 7]])


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([], "curves must not be empty"),
        ([(np.zeros(0), np.zeros(0))], "vectors of one length >= 1"),
        ([(np.zeros(2), np.zeros(3))], "vectors of one length >= 1"),
        ([(np.array([np.nan]), np.zeros(1))], "x must be finite"),
        (
            [(np.array([0.0, 1]), np.zeros(2)), (np.array([2.0, 3]), np.zeros(2))],
            "curves must overlap: one starts at 2, another ends at 1",
        ),
    ],
)
def test_curves_that_cannot_be_aligned_are_refused(curves, message):
    with pytest.raises(ValueError, match=message):
        align_curves(curves)


@pytest.mark.parametrize("case", ["explained_variance", "explained_variance_constant"])
def test_explained_variance_equals_the_recorded_one(case):
    arrays = dict(np.load(FOLDER / f"{case}.npz"))
    out = replay(json.loads(str(arrays["meta"])), arrays)["out/explained_var"]
    assert out.dtype == arrays["out/explained_var"].dtype
    np.testing.assert_allclose(out, arrays["out/explained_var"], atol=2e-7)


def test_explained_variance_by_hand():
    returns = np.array([0.0, 2.0])  # variance 1; of the difference 0.25
    assert explained_variance(np.array([0.0, 1.0]), returns) == 0.75
    assert explained_variance(returns, returns) == 1.0


def test_explained_variance_of_constants_that_round_is_nan():
    returns = np.full(7, 0.1, np.float32)
    assert np.isnan(explained_variance(np.arange(7, dtype=np.float32), returns))


def test_explained_variance_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match="one non-empty shape"):
        explained_variance(np.zeros((4, 1)), np.zeros(4))
