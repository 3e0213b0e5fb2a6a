import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.created import CreatingFunction
from util.torch_to_tf import torch_zeros


class TestZeros(CreatingFunction):
    ours = staticmethod(torch_zeros)
    theirs = staticmethod(torch.zeros)
    SAME = [
        (2, 3),
        ((2, 3),),
        ([2, 3],),
        (torch.Size([2, 3]),),
        ({"size": (2, 3)},),
        ((),),
        ([],),
        (0, 2),
        (40, 50),
        *((2, {"dtype": d}) for d in ("float64", "float16", "int64", "uint8", "bool")),
    ]
    COMPILED = [(2, 3), (40, 50)]
    REFUSED = [
        ("size must be given once", ()),
        (r"size\[0\] must be >= 0, got -1", (-1,)),
        (r"size\[0\] must be an int, got 2.0", (2.0,)),
        (r"size\[0\] must be an int, got None", (None,)),
        (r"size\[0\] must be an int, got True", (True,)),
        (r"size\[1\] must be an int, got \(3,\)", ((2, (3,)),)),
        ("size must be given once", (2, {"size": (3,)})),
    ]
    TRAINED = (2, 3)
    WHOLE = (2, {"dtype": "int64"})


@pytest.mark.parametrize("dtype", [tf.float64, "double", "float64", float])
def test_the_type_may_be_given_in_several_ways(dtype):
    assert torch_zeros(1, dtype=dtype).dtype == tf.float64


def test_another_type_is_refused():
    with pytest.raises(TypeError, match="dtype must be a tensor type, got 'floaty'"):
        torch_zeros(1, dtype="floaty")


@pytest.mark.parametrize("mode", MODES)
def test_sizes_may_be_tensors_of_one_number(mode):
    function = in_mode(lambda x: torch_zeros(tf.shape(x)[0], 2), mode)
    assert function(tf.ones([3])).shape == (3, 2)


def test_unknown_sizes_leave_the_others_known():
    function = tf.function(lambda n: torch_zeros(n, 3))
    traced = function.get_concrete_function(tf.TensorSpec([], tf.int32))
    assert traced.outputs[0].shape.as_list() == [None, 3]
