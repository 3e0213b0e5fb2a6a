import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.joined import (
    assert_refused_joins,
    assert_same_joins,
    assert_takes_lists_of_tensors_only,
    static_shape,
)
from util.torch_to_tf import torch_cat

# Shapes, arguments.
CASES = [
    ([(2, 3), (4, 3)],),
    ([(2, 3), (2, 1), (2, 0)], -1),
    ([(2, 3, 1), (2, 5, 1)], 1),
    ([(2, 3)],),
    ([(2,), (3,)],),
    ([(2, 3), (0,)], 1),
    ([(0,), (2, 3), (0,)],),
    ([(0,), (0,)], 1),
    ([((0,), "float64"), ((2, 3), "float32")],),
    ([((2,), "float32"), ((3,), "float64")],),
    ([((2,), "int32"), ((3,), "float16")],),
    ([((2,), "bool"), ((3,), "uint8")],),
]
REFUSED = [
    (r"alike except in dimension 0.*\(2, 3\).*\(3, 2\)", [(2, 3), (3, 2)], []),
    ("alike except in dimension 1", [(2, 3), (3, 3)], [1]),
    ("alike except in dimension 0", [(2, 3), (2,)], []),
    ("alike except in dimension 0", [(2, 3), (0, 4)], []),
    ("must have an axis", [(), ()], []),
    (r"dim must be in \[-2, 1\].*got 2", [(2, 3)], [2]),
    (r"dim must be in \[-2, 1\].*got 2", [(0,), (2, 3)], [2]),
    ("dim must be an int", [(2,)], [0.0]),
]


def test_values_types_and_gradients_equal_torch():
    assert_same_joins(torch_cat, torch.cat, CASES)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    cases = [([(2, 3), (2, 1)], -1), ([(0,), (2, 3), (2, 3)],)]
    assert_same_joins(torch_cat, torch.cat, cases, mode)


def test_refusals_equal_torch():
    assert_refused_joins(torch_cat, torch.cat, REFUSED)
    assert_takes_lists_of_tensors_only(torch_cat, torch.cat)


def test_unknown_sizes_leave_the_others_known():
    assert static_shape(torch_cat, [None, 3], [2, None]) == [None, 3]
    last = static_shape(lambda xs: torch_cat(xs, -1), [None, 3], [2, 4])
    assert last == [2, 7]
