import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.calls import FunctionOfTensor, named, typed
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function
from util.torch_to_tf import torch_repeat_interleave


class TestRepeatInterleave(FunctionOfTensor):
    ours = staticmethod(torch_repeat_interleave)
    theirs = staticmethod(torch.repeat_interleave)
    SAME = [
        ((2, 3), 2),
        ((2, 3), 2, 0),
        ((2, 3), 3, -1),
        ((2, 3), 1, 1),
        ((2, 3), 0, 0),
        ((2, 3), {"repeats": 2, "dim": 1, "output_size": 6}),
        ((3,), 2),
        ((0, 3), 2, 1),
        ((0, 3), 2),
        ((), 3),
    ]
    COMPILED = [((2, 3, 4), 2, 1), ((2, 3), 2)]
    REFUSED = [
        ("repeats must be >= 0, got -1", ((2, 3), -1, 0)),
        (r"dim must be in \[-2, 1\].*got 2", ((2, 3), 2, 2)),
        ("dim must be None for a tensor without axes", ((), 2, 0)),
        ("repeats must be a tensor, got", ((2, 3), [1, 2], 0)),
        ("repeats must be a tensor, got 2.0", ((2, 3), 2.0, 0)),
        ("repeats must be a tensor, got True", ((2, 3), True, 0)),
        ("output_size must be 4, got 5", ((2, 3), 2, 0, {"output_size": 5})),
    ]
    UNKNOWN = [
        (((2, 3), 2, 1), [0], [[None, 6]]),
        (((2, 3), 2, 0), [0], [[None, 3]]),
        (((2, 3), 2, 0, {"output_size": 4}), [0], [[4, 3]]),
        (((2, 3, 4), 2, 1), [0, 2], [[None, 6, None]]),
        (((2, 0, 4), 2, 0), [0], [[None, 0, 4]]),
        (((2, 3), 2), [0], [[None]]),
    ]


# Shape, counts, and the other arguments.
COUNTS = [
    ((2, 3), [1, 2], {"dim": 0}),
    ((2, 3), [0, 2, 1], {"dim": -1}),
    ((2, 3), [0, 0, 0], {"dim": 1}),
    ((2, 3), [1, 0, 2, 1, 1, 3], {}),
    ((2, 3), [1, 2], {"dim": 0, "output_size": 3}),
    ((2, 3), [2], {"dim": 0}),
    ((2, 3), [2], {}),
    ((2, 3), 2, {"dim": 1}),
    ((), [3], {}),
    ((0, 3), [], {"dim": 0}),
]


def assert_same_counts(shape, counts, options, mode="eager", dtype="int64"):
    with named((shape, counts, options, dtype)):
        assert_same_function(
            lambda x, n: torch_repeat_interleave(x, n, **options),
            lambda x, n: torch.repeat_interleave(x, n, **options),
            [typed(shape), np.array(counts, dtype)],
            mode,
        )


def test_a_count_for_each_entry_equals_torch():
    for shape, counts, options in COUNTS:
        for dtype in ("int64", "int32"):
            assert_same_counts(shape, counts, options, dtype=dtype)


def test_counts_without_a_value_yet_equal_torch_in_a_graph():
    for shape, counts, options in COUNTS:
        assert_same_counts(shape, counts, options, "graph")


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_counts_equal_torch_under_xla_if_their_sum_is_given(dtype):
    options = {"dim": 1, "output_size": 4}
    assert_same_counts((2, 3), [1, 0, 3], options, "jit", dtype)


@pytest.mark.parametrize("mode", MODES)
def test_constant_counts_are_known_to_compiled_code(mode):
    function = in_mode(lambda x: torch_repeat_interleave(x, np.array([1, 2]), 0), mode)
    np.testing.assert_array_equal(function(tf.constant([5, 6])), [5, 6, 6])


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize("dtype", [np.int64, np.int32])
def test_counts_alone_give_indices(dtype, mode):
    for counts in ([1, 2, 0, 1], [0, 0], [2], []):
        assert_same_function(
            torch_repeat_interleave,
            torch.repeat_interleave,
            [np.array(counts, dtype)],
            mode,
        )
    by_name = torch_repeat_interleave(repeats=tf.constant([2]), output_size=2)
    np.testing.assert_array_equal(by_name, [0, 0])


@pytest.mark.parametrize(
    ("shape", "counts", "options", "match"),
    [
        ((2, 3), [1, 2], {}, "one entry or 6, as dimension 0 of input, got 2"),
        ((2, 3), [1, 2], {"dim": 1}, "one entry or 3, as dimension 1"),
        ((2, 3), [], {"dim": 0}, "one entry or 2"),
        ((2, 3), [[2]], {"dim": 0}, "repeats must have at most one axis"),
        ((2, 3), [1.0, 2.0], {"dim": 0}, "int32 or int64, got float"),
        ((2, 3), [True, True], {"dim": 0}, "int32 or int64, got bool"),
        ((2, 3), [1, -2], {"dim": 0}, r"repeats must not be negative, got \[1, -2\]"),
        ((2, 3), [-2], {"dim": 0}, "repeats must be >= 0, got -2"),
        ((2, 3), [1, 2], {"dim": 0, "output_size": 4}, "must be 3, got 4"),
        ((2, 3), [1, 2], {"dim": 0, "output_size": 2}, "must be 3, got 2"),
    ],
)
def test_counts_that_do_not_fit_are_refused(shape, counts, options, match):
    x, n = typed(shape), np.array(counts)
    n = n.astype(np.int64) if n.size == 0 else n
    assert_both_refuse(
        lambda: torch_repeat_interleave(x, n, **options),
        lambda: torch.repeat_interleave(
            torch.from_numpy(x), torch.from_numpy(n), **options
        ),
        match,
    )


@pytest.mark.parametrize(
    ("counts", "match"),
    [
        (np.array([1, -1]), "repeats must not be negative"),
        (np.array(2), "repeats must have one axis"),
        (np.array([[2]]), "repeats must have at most one axis"),
        (np.array([1.0]), "repeats must be int32 or int64, got float64"),
    ],
)
def test_counts_alone_that_are_none_are_refused(counts, match):
    assert_both_refuse(
        lambda: torch_repeat_interleave(counts),
        lambda: torch.repeat_interleave(torch.from_numpy(counts)),
        match,
    )


def test_an_unknown_number_of_counts_is_that_of_the_entries_or_one():
    specs = tf.TensorSpec([None, 3]), tf.TensorSpec([None], tf.int64)
    traced = tf.function(
        lambda x, n: torch_repeat_interleave(x, n, 0), input_signature=specs
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for counts in ([1, 2], [2]):
        np.testing.assert_array_equal(traced(x, counts), np.repeat(x, counts, 0))
    with pytest.raises(tf.errors.InvalidArgumentError):
        traced(x, [1, 2, 3])
