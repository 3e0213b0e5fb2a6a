import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, grid
from tests.torch_to_tf.elementwise_cases import WHOLE, Elementwise
from util.torch_to_tf import torch_round

MIDDLES = [0.5, 1.5, 2.5, -0.5, -1.5, 3.49999, 1e10]


class TestRound(Elementwise):
    ours, theirs = staticmethod(torch_round), staticmethod(torch.round)
    points = [*Elementwise.points, *MIDDLES]
    whole = WHOLE[1:]


def assert_same(x, decimals, mode="eager"):
    assert_same_function(
        lambda x: torch_round(x, decimals=decimals),
        lambda x: torch.round(x, decimals=decimals),
        [x],
        mode,
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("decimals", [0, 1, 2, 3, -1, -2])
def test_decimals_equal_torch(decimals, dtype):
    assert_same((grid() * 7).astype(dtype), decimals)
    assert_same(np.array([0.125, 2.675, 15, 25, np.inf, np.nan], dtype), decimals)


@pytest.mark.parametrize("mode", MODES[1:])
def test_decimals_equal_torch_compiled(mode):
    assert_same(grid(), 2, mode)


@pytest.mark.parametrize("decimals", [40, -40])
def test_more_decimals_than_the_type_has_give_nan_as_in_torch(decimals):
    assert_same(np.float32([125.0, 0.5]), decimals)


@pytest.mark.parametrize(
    ("x", "decimals", "match"),
    [
        (np.array([True]), 0, "input must have a floating type"),
        (np.array([125]), -2, "input must have a floating type"),
        (np.array([1j]), 0, "input must have a floating type"),
        (np.array([1.5]), 1.0, "decimals must be an int"),
    ],
)
def test_what_cannot_be_rounded_is_refused(x, decimals, match):
    assert_both_refuse(
        lambda: torch_round(x, decimals=decimals),
        lambda: torch.round(torch.from_numpy(x), decimals=decimals),
        match,
    )
