import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, random
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_prod


class TestProd(Reduction):
    ours, theirs = staticmethod(torch_prod), staticmethod(torch.prod)
    several = False


same = TestProd().assert_same


@pytest.mark.parametrize("mode", MODES)
def test_product_is_of_all_entries_by_default(mode):
    for shape in [(3, 4), (), (0,)]:
        same(random(shape), mode=mode)


@pytest.mark.parametrize("zeros", [[2], [0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("args", [(), (1,)])
def test_gradient_holds_where_entries_are_zero(zeros, args):
    x = random((2, 4))
    x[0, zeros] = 0.0
    same(x, *args)


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool"])
def test_entries_are_converted_beforehand(dtype):
    x = np.float32([2.7, 1.7])
    expected = torch.prod(torch.from_numpy(x), dtype=getattr(torch, dtype)).numpy()
    assert torch_prod(x, dtype=dtype).dtype.name == dtype
    np.testing.assert_allclose(torch_prod(x, dtype=dtype), expected)


def test_keepdim_without_an_axis_is_refused():
    x = random((2,))
    assert_both_refuse(
        lambda: torch_prod(x, keepdim=True),
        lambda: torch.prod(torch.from_numpy(x), keepdim=True),
        "keepdim must be given together with dim",
    )
