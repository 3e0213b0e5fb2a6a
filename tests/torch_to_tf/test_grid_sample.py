import warnings
from itertools import product

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import torch_nn_functional_grid_sample

MODES_2D = ("bilinear", "nearest", "bicubic")
PADDING = ("zeros", "border", "reflection")
CASES = list(product(MODES_2D, PADDING, (False, True)))


def theirs(input, grid, *options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that of the default of align_corners
        return torch.nn.functional.grid_sample(input, grid, *options)


def points(shape, seed=1):
    """Inside and well outside."""
    return random(shape, seed) * np.float32(1.3)


def assert_same(shape, grid, options, mode="eager", atol=2e-5):
    assert_same_function(
        lambda x, g: torch_nn_functional_grid_sample(x, g, *options),
        lambda x, g: theirs(x, g, *options),
        [random(shape), grid],
        mode,
        rtol=1e-4,
        atol=atol,
    )


@pytest.mark.parametrize(("mode", "padding", "align"), CASES)
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (1, 1)])
def test_images_and_gradients_equal_torch(size, mode, padding, align):
    assert_same((2, 3, *size), points((2, 6, 5, 2)), (mode, padding, align))


@pytest.mark.parametrize(
    ("mode", "padding", "align"), [case for case in CASES if case[0] != "bicubic"]
)
@pytest.mark.parametrize("size", [(3, 4, 5), (1, 2, 1)])
def test_volumes_and_gradients_equal_torch(size, mode, padding, align):
    assert_same((2, 3, *size), points((2, 3, 4, 2, 3)), (mode, padding, align))


@pytest.mark.parametrize(("mode", "padding", "align"), CASES)
def test_pixels_edges_and_halves_equal_torch(mode, padding, align):
    """Where gradients jump and nearest pixels change; all numbers are exact."""
    ends = np.float32(
        [-2, -1.25, -1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.25, 3]
    )
    grid = np.stack(np.meshgrid(ends, ends), -1)[None]
    size = 5 if align else 4
    assert_same((1, 2, size, size), grid, (mode, padding, align), atol=1e-4)


@pytest.mark.parametrize("way", MODES[1:])
@pytest.mark.parametrize(
    "options", [("bilinear", "zeros"), ("nearest", "border", True)]
)
def test_compiled_equals_torch(options, way):
    assert_same((2, 3, 4, 5), points((2, 3, 2, 2)), options, way)


def test_compiled_bicubic_values_equal_torch():
    given = random((2, 3, 4, 5)), points((2, 3, 2, 2))
    options = ("bicubic", "zeros", True)
    call = in_mode(lambda x, g: torch_nn_functional_grid_sample(x, g, *options), "jit")
    expected = theirs(*map(torch.from_numpy, given), *options)
    np.testing.assert_allclose(call(*given), expected, rtol=1e-4, atol=2e-5)


def test_edges_of_outer_pixels_are_the_ends_by_default():
    assert_same((1, 1, 3, 4), points((1, 6, 5, 2)), ())
    assert_same((1, 1, 3, 4), points((1, 6, 5, 2)), ("bilinear", "zeros", None))


@pytest.mark.parametrize(("mode", "padding"), list(product(MODES_2D, PADDING)))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_points_at_infinity_and_nan_equal_torch(mode, padding, bad):
    """PyTorch crashes while it computes some of these gradients."""
    grid = np.float32([[bad, 0], [0, bad], [bad, bad], [0.1, 0.2]] * 8)[None, None]
    image = random((1, 2, 3, 4))
    found = torch_nn_functional_grid_sample(image, grid, mode, padding)
    expected = theirs(torch.from_numpy(image), torch.from_numpy(grid), mode, padding)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_to_points_at_nan_equal_torch():
    grid = np.full((1, 1, 2, 2), np.nan, np.float32)
    grid[..., 1] = 0.3
    assert_same_function(
        lambda g: torch_nn_functional_grid_sample(random((1, 1, 3, 4)), g),
        lambda g: theirs(torch.from_numpy(random((1, 1, 3, 4))), g),
        [grid],
    )


@pytest.mark.parametrize(
    ("dtype", "precision"), [(np.float64, 1e-12), (np.float16, 2e-2)]
)
def test_other_types_equal_torch(dtype, precision):
    image, grid = random((1, 2, 3, 4)).astype(dtype), points((1, 2, 3, 2)).astype(dtype)
    found = torch_nn_functional_grid_sample(image, grid)
    expected = theirs(torch.from_numpy(image), torch.from_numpy(grid))
    assert found.dtype.as_numpy_dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=precision, atol=precision)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((0, 1, 3, 4), (0, 2, 2, 2)),
        ((1, 0, 3, 4), (1, 2, 2, 2)),
        ((1, 1, 3, 4), (1, 0, 2, 2)),
    ],
)
def test_nothing_to_sample_equals_torch(shape, grid):
    assert_same(shape, np.zeros(grid, np.float32), ())


def test_unknown_sizes_stay_open_and_the_others_known():
    call = in_mode(torch_nn_functional_grid_sample, "graph")
    for image, grid, shape in (
        ([None, 3, 4, 5], [None, 6, 7, 2], [None, 3, 6, 7]),
        ([None, 3, None, None], [None, None, 7, 2], [None, 3, None, 7]),
    ):
        concrete = call.get_concrete_function(tf.TensorSpec(image), tf.TensorSpec(grid))
        assert concrete.outputs[0].shape.as_list() == shape
        given = random((2, 3, 4, 5)), points((2, 6, 7, 2))
        expected = theirs(*map(torch.from_numpy, given))
        found = concrete(*map(tf.constant, given))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "grid", "options", "message"),
    [
        ((1, 1, 3, 4), (1, 2, 2, 2), ("cubic",), "mode must be one of .* got 'cubic'"),
        ((1, 1, 3, 4), (1, 2, 2, 2), ("nearest", "wrap"), "padding_mode .* got 'wrap'"),
        ((1, 1, 3, 4), (1, 2, 2, 2), ("nearest", "zeros", 1), "align_corners .* got 1"),
        ((1, 1, 2, 3, 4), (1, 2, 2, 2, 3), ("bicubic",), "'bicubic' for an input of 5"),
        ((2, 1, 3, 4), (1, 2, 2, 2), (), r"grid must have shape \(2, None, None, 2\)"),
        ((1, 1, 3, 4), (1, 2, 2, 3), (), "grid must have shape"),
        ((1, 1, 3, 4), (1, 2, 2, 2, 3), (), "grid must have shape"),
        ((1, 3, 4), (1, 2, 1), (), "input must have 4 or 5 axes"),
        ((1,) * 6, (1, 1, 1, 1, 1, 4), (), "input must have 4 or 5 axes"),
        ((1, 1, 0, 4), (1, 2, 2, 2), (), r"must have pixels, got shape \(1, 1, 0, 4\)"),
    ],
)
def test_impossible_modes_and_shapes_are_refused(image, grid, options, message):
    assert_both_refuse(
        lambda: torch_nn_functional_grid_sample(
            tf.zeros(image), tf.zeros(grid), *options
        ),
        lambda: theirs(torch.zeros(image), torch.zeros(grid), *options),
        message,
    )


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("float64", "float32", "grid must have the type float64 of input, got float32"),
        ("int64", "int64", "input must have a floating type, got int64"),
        ("complex64", "complex64", "input must have a floating type, got complex64"),
    ],
)
def test_other_types_are_refused(first, second, message):
    image, grid = np.zeros((1, 1, 3, 4), first), np.zeros((1, 2, 2, 2), second)
    assert_both_refuse(
        lambda: torch_nn_functional_grid_sample(image, grid),
        lambda: theirs(torch.from_numpy(image), torch.from_numpy(grid)),
        message,
    )
