import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function
from tests.torch_to_tf.elementwise_cases import WHOLE
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_argmax


class TestArgmax(Reduction):
    ours, theirs = staticmethod(torch_argmax), staticmethod(torch.argmax)
    several, whole = False, WHOLE[1:]


NAN, INF = np.nan, np.inf
HARD = np.float32([[1, NAN, 3, NAN], [INF, 5, INF, 1], [-0.0, 0.0, -1, -2], [3] * 4])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dim", [None, 0, 1])
@pytest.mark.parametrize("keepdim", [False, True])
def test_first_of_equal_entries_and_nan_count_as_in_torch(dim, keepdim, mode):
    for x in (HARD, HARD[1:], np.array([[1, 5, 5], [5, 2, 2]])):
        assert_same_function(
            lambda x: torch_argmax(x, dim, keepdim),
            lambda x: torch.argmax(x, dim, keepdim),
            [x],
            mode,
        )


def test_scalar_has_index_zero():
    for args in [(), (0,), (-1, True), (None, True)]:
        x = np.array(3.0, np.float32)
        assert torch_argmax(x, *args).shape == []
        assert torch_argmax(x, *args).numpy() == 0


@pytest.mark.parametrize(("shape", "dim"), [((0,), None), ((0, 3), 0), ((0, 3), None)])
def test_no_entry_is_refused(shape, dim):
    x = np.zeros(shape)
    assert_both_refuse(
        lambda: torch_argmax(x, dim),
        lambda: torch.argmax(torch.from_numpy(x), dim),
        "dim must",
    )


@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_types_without_an_order_are_refused(dtype):
    x = np.ones(2, dtype)
    assert_both_refuse(
        lambda: torch_argmax(x),
        lambda: torch.argmax(torch.from_numpy(x)),
        "input must have a type with an order",
    )
