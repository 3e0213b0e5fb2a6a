import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_logsumexp


class TestLogsumexp(Reduction):
    ours, theirs = staticmethod(torch_logsumexp), staticmethod(torch.logsumexp)
    none_is_all = False


@pytest.mark.parametrize("mode", MODES)
def test_large_numbers_do_not_overflow(mode):
    x = np.float32([[1000, 1000, 999], [-1000, -1001, -999], [1000, np.inf, -1000]])
    assert_same_function(
        lambda x: torch_logsumexp(x, 1), lambda x: torch.logsumexp(x, 1), [x], mode
    )


@pytest.mark.parametrize("dim", [None, "0"])
def test_axis_is_needed(dim):
    x = random((2, 3))
    assert_both_refuse(
        lambda: torch_logsumexp(x, dim),
        lambda: torch.logsumexp(torch.from_numpy(x), dim),
        "dim must be an int",
    )
