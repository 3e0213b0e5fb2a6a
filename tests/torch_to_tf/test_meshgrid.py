import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.calls import DTYPES, named, tolerances, typed
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function
from util.torch_to_tf import torch_meshgrid

# PyTorch warns where no indexing is given.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")

CASES = [
    [(2,), (3,)],
    [(2,), (3,), (4,)],
    [(3,)],
    [()],
    [(2,), ()],
    [(), ()],
    [(2,), (0,)],
    [(1,), (1,), (2,)],
]


def assert_same_grid(shapes, indexing, mode="eager", dtype="float32"):
    with named((shapes, indexing, dtype)):
        assert_same_function(
            lambda *xs: torch_meshgrid(*xs, indexing=indexing),
            lambda *xs: torch.meshgrid(*xs, indexing=indexing),
            [typed(shape, dtype, seed) for seed, shape in enumerate(shapes)],
            mode,
            *tolerances(dtype),
        )


@pytest.mark.parametrize("indexing", ["ij", "xy"])
def test_values_and_gradients_equal_torch(indexing):
    for shapes in CASES:
        assert_same_grid(shapes, indexing)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    assert_same_grid([(2,), (3,), (4,)], "xy", mode)


def test_results_have_the_types_of_torch():
    for dtype in DTYPES:
        assert_same_grid([(2,), (3,)], "ij", dtype=dtype)


def test_a_list_and_no_indexing_are_as_in_torch():
    x, y = np.arange(2), np.arange(3)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    for given in ([[x, y]], [(x, y)], [x, y]):
        found = torch_meshgrid(*given)
        assert type(found) is tuple
        np.testing.assert_array_equal(found, torch.meshgrid(tensors, indexing="ij"))


def test_what_is_not_finite_stays_in_its_row():
    x = np.array([np.nan, np.inf, 0], np.float32)
    assert_same_function(
        torch_meshgrid, lambda *xs: torch.meshgrid(*xs, indexing="ij"), [x, x]
    )


@pytest.mark.parametrize(
    ("tensors", "options", "match"),
    [
        ([np.zeros(2), np.zeros(2, int)], {}, "at most one axis and the same type"),
        ([np.zeros(2), np.zeros([2, 2])], {}, "at most one axis and the same type"),
        (
            [np.zeros(2)] * 2,
            {"indexing": "a"},
            "indexing must be 'ij' or 'xy', got 'a'",
        ),
        ([], {}, "tensors must not be empty"),
    ],
)
def test_refusals_equal_torch(tensors, options, match):
    assert_both_refuse(
        lambda: torch_meshgrid(*tensors, **options),
        lambda: torch.meshgrid(*map(torch.from_numpy, tensors), **options),
        match,
    )


def test_lists_of_numbers_are_refused():
    assert_both_refuse(
        lambda: torch_meshgrid([1, 2], [3]),
        lambda: torch.meshgrid([1, 2], [3]),
        r"tensors\[0\] must be a tensor",
    )


def test_unknown_sizes_leave_the_others_known():
    specs = tf.TensorSpec([None], tf.int64), tf.TensorSpec([3], tf.int64)
    traced = tf.function(torch_meshgrid, input_signature=specs)
    outputs = traced.get_concrete_function().outputs
    assert [out.shape.as_list() for out in outputs] == [[None, 3]] * 2
    found = traced(np.arange(2), np.arange(3))
    np.testing.assert_array_equal(
        found, np.meshgrid(np.arange(2), np.arange(3), indexing="ij")
    )
