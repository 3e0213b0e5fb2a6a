import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.calls import FunctionOfTensor
from tests.torch_to_tf.compare import assert_same_function, random
from util.torch_to_tf import torch_tensor_detach


class TestDetach(FunctionOfTensor):
    ours = staticmethod(torch_tensor_detach)
    theirs = staticmethod(torch.Tensor.detach)
    SAME = [((2, 3),), ((0, 3),), ((),)]
    COMPILED = [((2, 3),)]
    REFUSED = [("positional argument", ((2,), 1))]
    UNKNOWN = [(((2, 3),), [0], [[None, 3]])]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_detached_counts_as_a_constant(mode):
    assert_same_function(
        lambda x: x * torch_tensor_detach(x),
        lambda x: x * x.detach(),
        [random((2, 3))],
        mode,
    )
