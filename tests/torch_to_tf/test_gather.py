import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import torch_gather

# Shape of the input, axis, shape of the index.
SHAPES = [
    ((5,), 0, (3,)),
    ((5,), 0, (8,)),
    ((3, 4), 0, (2, 4)),
    ((3, 4), 0, (7, 2)),
    ((3, 4), 1, (3, 2)),
    ((3, 4), -1, (2, 6)),
    ((2, 3, 4), 0, (3, 3, 4)),
    ((2, 3, 4), 1, (2, 5, 3)),
    ((2, 3, 4), -2, (1, 1, 1)),
    ((2, 3, 4), 2, (2, 3, 4)),
    ((), 0, ()),
    ((), -1, (3,)),
    ((4,), 0, ()),
    ((3, 4), 1, (0, 2)),
    ((3, 4), 1, (5, 0)),
    ((3, 4), 1, (0,)),
]


def case(shape, axis, index_shape, dtype="int64"):
    size = shape[axis] if shape else 1
    index = np.random.default_rng(1).integers(size, size=index_shape)
    return np.asarray(random(shape)), np.asarray(index, dtype)


def same(x, dim, index, mode="eager"):
    assert_same_function(
        lambda x, index: torch_gather(x, dim, index),
        lambda x, index: torch.gather(x, dim, index),
        [x, index],
        mode,
    )


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(("shape", "dim", "index_shape"), SHAPES)
def test_entries_and_gradients_equal_torch(shape, dim, index_shape, dtype):
    x, index = case(shape, dim, index_shape, dtype)
    same(x, dim, index)


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("which", [1, 3, 4, 7])
def test_compiled_equals_torch(which, mode):
    x, index = case(*SHAPES[which])
    same(x, SHAPES[which][1], index, mode)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float64"])
def test_other_types_equal_torch(dtype):
    x, index = case((3, 4), 1, (3, 2))
    same((3 * x).astype(dtype), 1, index)


def test_sparse_grad_changes_nothing():
    x, index = case((3, 4), 1, (3, 2))
    dense, sparse = (torch_gather(x, 1, index, sparse_grad=s) for s in (False, True))
    np.testing.assert_array_equal(dense, sparse)


@pytest.mark.parametrize("dim", [0, 1])
def test_unknown_sizes_give_the_same(dim):
    specs = [tf.TensorSpec([None, 4]), tf.TensorSpec([None, 3], tf.int64)]
    function = tf.function(lambda x, index: torch_gather(x, dim, index))
    concrete = function.get_concrete_function(*specs)
    assert concrete.outputs[0].shape.as_list() == [None, 3]
    for rows in (5, 2):
        x, index = case((5, 4), dim, (rows, 3))
        expected = torch_gather(x, dim, index)
        np.testing.assert_array_equal(
            concrete(tf.constant(x), tf.constant(index)), expected
        )


@pytest.mark.parametrize("number", [-1, 4])
def test_index_out_of_range_is_refused(number):
    x, index = random((3, 4)), np.array([[0, number]])
    assert_both_refuse(
        lambda: torch_gather(x, 1, index),
        lambda: torch.gather(torch.from_numpy(x), 1, torch.from_numpy(index)),
        rf"index must be in \[0, 3\], got {number}",
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_mode(lambda i: torch_gather(x, 1, i), "graph")(tf.constant(index))


@pytest.mark.parametrize(
    ("index", "dim", "match"),
    [
        (np.zeros((3, 2), np.int16), 1, "index must have the type int32 or int64"),
        (np.zeros((3, 2)), 1, "index must have the type int32 or int64, got float64"),
        (np.zeros(3, int), 1, "index must have as many axes as input"),
        (np.zeros((4, 2), int), 1, "index must have at most size 3 on axis 0, got 4"),
        (np.zeros((3, 2), int), 2, r"dim must be in \[-2, 1\]"),
        ([[0]], 1, "index must be a tensor"),
    ],
)
def test_index_that_does_not_fit_is_refused(index, dim, match):
    x = random((3, 4))
    theirs = torch.from_numpy(index) if isinstance(index, np.ndarray) else index
    assert_both_refuse(
        lambda: torch_gather(x, dim, index),
        lambda: torch.gather(torch.from_numpy(x), dim, theirs),
        match,
    )
