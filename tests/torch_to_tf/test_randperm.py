import itertools

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.draw_cases import Made
from util.torch_to_tf import torch_randperm


class TestRandperm(Made):
    draw = staticmethod(lambda **options: torch_randperm(100, **options))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [0, 1, 50])
def test_each_number_comes_once(n, mode):
    values = in_mode(lambda: torch_randperm(n), mode)()
    assert values.dtype == tf.int64
    np.testing.assert_array_equal(np.sort(values), np.arange(n))


def test_each_order_has_the_same_chance():
    function = in_mode(lambda: torch_randperm(3), "graph")
    found = [tuple(function().numpy().tolist()) for _ in range(1200)]
    counts = [found.count(order) for order in itertools.permutations(range(3))]
    assert np.abs(np.array(counts) / 200 - 1).max() < 0.3


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
def test_other_types_hold_the_numbers(dtype):
    values = torch_randperm(20, dtype=dtype)
    assert values.dtype.name == dtype
    assert sorted(values.numpy().tolist()) == list(range(20))


@pytest.mark.parametrize(("n", "dtype"), [(256, "uint8"), (2049, "float16")])
def test_most_that_a_type_can_hold_is_accepted(n, dtype):
    assert torch_randperm(n, dtype=dtype).shape == [n]
    assert len(torch.randperm(n, dtype=getattr(torch, dtype))) == n


def test_count_that_is_known_at_run_time_only_may_be_a_tensor():
    function = tf.function(lambda x: torch_randperm(tf.shape(x)[0]))
    concrete = function.get_concrete_function(tf.TensorSpec([None]))
    assert sorted(concrete(tf.zeros([4])).numpy().tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("n", "options", "match"),
    [
        (-1, {}, "n must be >= 0, got -1"),
        (4.0, {}, "n must be an int, got 4.0"),
        (257, {"dtype": "uint8"}, "n must be <= 256 for uint8, got 257"),
        (2050, {"dtype": "float16"}, "n must be <= 2049 for float16, got 2050"),
        (3, {"dtype": "bool"}, "dtype must be one of real numbers, got bool"),
        (4, {"requires_grad": True}, "requires_grad must be False for int64"),
    ],
)
def test_what_does_not_fit_is_refused(n, options, match):
    theirs = {k: getattr(torch, v) if k == "dtype" else v for k, v in options.items()}
    assert_both_refuse(
        lambda: torch_randperm(n, **options),
        lambda: torch.randperm(n, **theirs),
        match,
    )
