import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import torch_quantile

METHODS = ["linear", "lower", "higher", "nearest", "midpoint"]
LEVELS = [0.0, 0.05, 0.25, 0.5, 0.77, 1.0]
NAN, INF = np.nan, np.inf


def same(x, q, mode="eager", rtol=1e-5, **options):
    assert_same_function(
        lambda x: torch_quantile(x, q, **options),
        lambda x: torch.quantile(x, q, **options),
        [x],
        mode,
        rtol=rtol,
    )


def same_at(levels, x, mode="eager", **options):
    """With the levels as a tensor, which has a gradient too."""
    assert_same_function(
        lambda x, q: torch_quantile(x, q, **options),
        lambda x, q: torch.quantile(x, q, **options),
        [x, np.asarray(levels, x.dtype)],
        mode,
    )


@pytest.mark.parametrize("q", LEVELS)
@pytest.mark.parametrize("shape", [(1,), (10,), (3, 7), ()])
def test_quantile_equals_torch(shape, q):
    same(np.asarray(random(shape)), q)


@pytest.mark.parametrize("mode", MODES)
def test_quantile_interpolates_between_neighbours(mode):
    function = in_mode(lambda x: torch_quantile(x, 0.25), mode)
    assert function(tf.constant([3.0, 1.0, 2.0])).numpy() == 1.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dim", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_axes_and_methods_equal_torch(method, dim, keepdim):
    options = {"dim": dim, "keepdim": keepdim, "interpolation": method}
    x = random((3, 4, 5))
    same(x, 0.3, **options)
    same_at(0.6, x, **options)
    same_at(LEVELS, x, **options)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("method", ["linear", "nearest"])
def test_compiled_equals_torch(method, mode):
    same(random((3, 4)), 0.7, mode, dim=0, interpolation=method)
    same_at(LEVELS, random((3, 4)), mode, dim=0, interpolation=method)


@pytest.mark.parametrize("method", METHODS)
def test_middle_between_two_ranks_equals_torch(method):
    same_at(
        [0.125, 0.375, 0.625, 0.5], np.arange(5, dtype=np.float32), interpolation=method
    )


def test_gradient_of_equal_entries_goes_to_the_same_one():
    for q in LEVELS:
        same(np.ones(5, np.float32), q)


def test_double_precision_is_kept():
    same(random((101,)).astype(np.float64), 1 / 3, rtol=1e-14)


@pytest.mark.parametrize("q", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("row", [[1, INF], [1, -INF], [INF, -INF], [INF, INF]])
def test_infinite_entries_equal_torch(row, q):
    with np.errstate(all="ignore"):
        same(np.float32(row), q)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", METHODS)
def test_nan_among_the_entries_makes_nan(method, mode):
    rows = np.float32([[1, NAN, 2, 0], [NAN, INF, NAN, 0], [3, 1, 2, 0]])
    function = in_mode(lambda x: torch_quantile(x, 0.4, 1, interpolation=method), mode)
    expected = torch.quantile(torch.from_numpy(rows), 0.4, 1, interpolation=method)
    np.testing.assert_allclose(function(tf.constant(rows)), expected, rtol=1e-6)


def test_unknown_sizes_give_the_same():
    x, spec = random((6, 3)), tf.TensorSpec([None, 3])
    for dim, sizes in [(None, []), (0, [3]), (1, [None])]:
        function = in_mode(lambda x, dim=dim: torch_quantile(x, 0.3, dim), "graph")
        concrete = function.get_concrete_function(spec)
        assert concrete.outputs[0].shape.as_list() == sizes
        expected = torch_quantile(x, 0.3, dim)
        np.testing.assert_allclose(concrete(tf.constant(x)), expected, rtol=1e-6)


def test_levels_may_be_numbers_of_numpy_and_none():
    x = random((4,))
    for q in (np.float64(0.5), np.float32(0.5)):
        assert torch_quantile(x, q).numpy() == torch_quantile(x, 0.5).numpy()
    assert torch_quantile(x, np.zeros(0, np.float32)).shape == [0]


@pytest.mark.parametrize(
    ("x", "q", "options", "match"),
    [
        (np.zeros(2, np.float16), 0.5, {}, "input must have the type float32 or float"),
        (np.zeros(2, np.int64), 0.5, {}, "input must have the type float32 or float64"),
        (np.zeros(0), 0.5, {}, "input must have entries"),
        (np.zeros((0, 3)), 0.5, {"dim": 1}, "input must have entries"),
        (np.zeros(2), 1.5, {}, r"q must be in \[0, 1\], got 1.5"),
        (np.zeros(2), NAN, {}, r"q must be in \[0, 1\], got nan"),
        (np.zeros(2), np.array([0.5, -0.1]), {}, r"q must be in \[0, 1\]"),
        (
            np.zeros(2, np.float32),
            np.array([0.5]),
            {},
            "q must have the type float32 of",
        ),
        (np.zeros(2), np.array([1]), {}, "q must have the type float64 of input"),
        (np.zeros(2), np.array([[0.5]]), {}, "q must have one axis at most"),
        (np.zeros(2), [0.5], {}, "q must be a number or a tensor"),
        (np.zeros(2), 0.5, {"dim": 1}, "dim must be in"),
        (np.zeros(2), 0.5, {"dim": (0,)}, "dim must be an int"),
        (np.zeros(2), 0.5, {"interpolation": "cubic"}, "interpolation must be one of"),
        ([0.0], 0.5, {}, "input must be a tensor"),
    ],
)
def test_what_does_not_fit_is_refused(x, q, options, match):
    theirs = [
        torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for value in (x, q)
    ]
    assert_both_refuse(
        lambda: torch_quantile(x, q, **options),
        lambda: torch.quantile(*theirs, **options),
        match,
    )
