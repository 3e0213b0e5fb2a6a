import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.joined import (
    assert_refused_joins,
    assert_same_joins,
    assert_takes_lists_of_tensors_only,
    static_shape,
)
from util.torch_to_tf import torch_hstack

# Shapes.
CASES = [
    ([(2, 3), (2, 1)],),
    ([(2, 3, 4), (2, 5, 4)],),
    ([(2,), (3,)],),
    ([(), ()],),
    ([(), (2,)],),
    ([(2, 3), (2, 0)],),
    ([(0,), (2,)],),
    ([((2, 1), "int64"), ((2, 1), "float32")],),
    ([(2, 3), (0,)],),
]
REFUSED = [
    ("alike except in dimension 1", [(2, 3), (3, 3)], []),
    ("alike except in dimension 0", [(2,), (2, 3)], []),
    ("alike except in dimension 1", [(2, 3), (2,)], []),
]


def test_values_types_and_gradients_equal_torch():
    assert_same_joins(torch_hstack, torch.hstack, CASES)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    cases = [([(2, 3), (2, 1)],), ([(), (2,)],)]
    assert_same_joins(torch_hstack, torch.hstack, cases, mode)


def test_refusals_equal_torch():
    assert_refused_joins(torch_hstack, torch.hstack, REFUSED)
    assert_takes_lists_of_tensors_only(torch_hstack, torch.hstack)


def test_unknown_sizes_leave_the_others_known():
    assert static_shape(torch_hstack, [None, 3], [None, 4]) == [None, 7]
