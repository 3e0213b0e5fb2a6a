import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.joined import (
    assert_refused_joins,
    assert_same_joins,
    assert_takes_lists_of_tensors_only,
    static_shape,
)
from util.torch_to_tf import torch_stack

# Shapes, arguments.
CASES = [
    *(([(2, 3)] * 3, dim) for dim in range(-3, 3)),
    ([(2, 3)] * 2,),
    ([(2, 3)],),
    ([(), ()],),
    ([(0, 2), (0, 2)], 1),
    ([((2,), "float32"), ((2,), "float64")],),
    ([((2,), "float32"), ((2,), "int64")], 1),
    ([((2,), "bool"), ((2,), "int32")],),
    ([((), "float32"), ((), "float64")],),
    ([((2,), "uint8"), ((2,), "bool"), ((2,), "float16")],),
]
REFUSED = [
    (r"equal sizes, got \(2, 3\) at 0 and \(1, 3\) at 1", [(2, 3), (1, 3)], []),
    ("equal sizes", [(2,), (2, 1)], []),
    (r"dim must be in \[-3, 2\].*got 3", [(2, 3)], [3]),
    (r"dim must be in \[-1, 0\].*got 1", [()], [1]),
    ("dim must be an int", [(2,)], [0.0]),
]


def test_values_types_and_gradients_equal_torch():
    assert_same_joins(torch_stack, torch.stack, CASES)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    assert_same_joins(torch_stack, torch.stack, [([(2, 3)] * 3, -2)], mode)


def test_refusals_equal_torch():
    assert_refused_joins(torch_stack, torch.stack, REFUSED)
    assert_takes_lists_of_tensors_only(torch_stack, torch.stack)


def test_unknown_sizes_leave_the_others_known():
    assert static_shape(torch_stack, [None, 3], [None, 3]) == [2, None, 3]
    assert static_shape(torch_stack, [2, None], [None, 3]) == [2, 2, 3]
