import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.draw_cases import Made
from util.torch_to_tf import torch_randint


class TestRandint(Made):
    draw = staticmethod(lambda **options: torch_randint(1000, (50, 4), **options))


@pytest.mark.parametrize("mode", MODES)
def test_each_number_has_the_same_chance(mode):
    values = in_mode(lambda: torch_randint(-2, 3, (100, 100)), mode)().numpy()
    assert values.dtype == np.int64
    numbers, counts = np.unique(values, return_counts=True)
    assert numbers.tolist() == [-2, -1, 0, 1, 2]
    assert np.abs(counts / 2000 - 1).max() < 0.1


@pytest.mark.parametrize(
    ("args", "options", "least", "most"),
    [
        ((3, (200,)), {}, 0, 2),
        ((2, 4, (200,)), {}, 2, 3),
        ((3,), {"size": [200]}, 0, 2),
        ((), {"high": 3, "size": (200,)}, 0, 2),
        ((), {"low": 1, "high": 3, "size": (200,)}, 1, 2),
        ((1,), {"high": 3, "size": (200,)}, 1, 2),
        ((-(2**63), 2**63 - 1, (200,)), {}, None, None),
    ],
)
def test_bounds_and_size_are_given_as_in_torch(args, options, least, most):
    ours, theirs = torch_randint(*args, **options), torch.randint(*args, **options)
    assert tuple(ours.shape) == tuple(theirs.shape)
    if least is None:
        assert np.ptp(ours.numpy().astype(float)) > 2**63
    else:
        assert (ours.numpy().min(), ours.numpy().max()) == (least, most)


@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "float16", "float64"])
def test_other_types_hold_the_numbers(dtype, shape):
    values = torch_randint(2, shape, dtype=dtype)
    assert values.shape == shape
    assert values.dtype.name == dtype
    assert set(np.ravel(values).tolist()) <= {0, 1}


def test_all_numbers_of_a_type_may_come():
    values = torch_randint(0, 256, (5000,), dtype="uint8").numpy()
    assert (values.min(), values.max()) == (0, 255)


def test_size_that_is_known_at_run_time_only_may_be_a_tensor():
    function = tf.function(lambda x: torch_randint(5, (tf.shape(x)[0], 2)))
    concrete = function.get_concrete_function(tf.TensorSpec([None]))
    assert concrete.outputs[0].shape.as_list() == [None, 2]
    assert concrete(tf.zeros([3])).shape == [3, 2]


@pytest.mark.parametrize(
    ("args", "options", "match"),
    [
        ((10, 3), {}, "size must be a tuple of ints"),
        ((0, (3,)), {}, "low must be less than high=0, got 0"),
        ((5, 2, (3,)), {}, "low must be less than high=2, got 5"),
        ((5, 5, (0,)), {}, "low must be less than high=5, got 5"),
        ((5.5, (3,)), {}, "high must be an int, got 5.5"),
        ((0.0, 5, (3,)), {}, "low must be an int, got 0.0"),
        ((5, (-3,)), {}, "must be >= 0, got -3"),
        ((0, 300, (3,)), {"dtype": "uint8"}, "low and high must fit uint8"),
        ((-1, 3, (3,)), {"dtype": "uint8"}, "low and high must fit uint8"),
        ((3, (3,)), {"dtype": "bool"}, "low and high must fit bool"),
        ((100_000, (3,)), {"dtype": "float16"}, "low and high must fit float16"),
        ((5, (3,)), {"requires_grad": True}, "requires_grad must be False for int64"),
    ],
)
def test_what_does_not_fit_is_refused(args, options, match):
    theirs = {k: getattr(torch, v) if k == "dtype" else v for k, v in options.items()}
    assert_both_refuse(
        lambda: torch_randint(*args, **options),
        lambda: torch.randint(*args, **theirs),
        match,
    )
