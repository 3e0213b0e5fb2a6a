import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, random
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_std

pytestmark = pytest.mark.filterwarnings("ignore:std.*degrees of freedom")


class TestStd(Reduction):
    ours, theirs = staticmethod(torch_std), staticmethod(torch.std)
    whole = ()
    # Of an empty tuple PyTorch's gradient is infinite.
    none_is_all = False


same = TestStd().assert_same


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(2,), (7, 3)])
def test_std_is_unbiased_and_over_all_entries(shape, mode):
    same(random(shape), mode=mode)


@pytest.mark.parametrize(
    "args", [(False,), (True,), (1, False), (0, True, True), ([0, 1], False, True)]
)
def test_bias_can_be_given_by_place(args):
    same(random((4, 3)), *args)


@pytest.mark.parametrize("correction", [0, 1, 2, 0.5, -1, 4, None])
def test_correction_is_subtracted_from_the_count(correction):
    with np.errstate(all="ignore"):
        same(random((4, 3)), dim=0, correction=correction)
        same(random((4, 3)), dim=0, correction=correction, keepdim=True)


@pytest.mark.parametrize("options", [{"unbiased": False}, {"dim": 1, "unbiased": True}])
def test_bias_can_be_given_by_name(options):
    same(random((4, 3)), **options)


@pytest.mark.parametrize("mode", MODES)
def test_equal_entries_have_no_gradient(mode):
    same(np.full((2, 3), 2.0, np.float32), mode=mode)


@pytest.mark.parametrize("shape", [(1,), (), (0,), (0, 3)])
def test_std_of_one_entry_or_none_is_nan_as_in_torch(shape):
    assert np.isnan(torch_std(tf.ones(shape)))
    same(np.ones(shape, np.float32))


def test_std_of_an_unknown_number_of_entries_is_the_same():
    spec, x = tf.TensorSpec([None, 3]), random((5, 3))
    for args, sizes in [((), []), ((0,), [3]), ((1,), [None])]:
        function = tf.function(lambda x, args=args: torch_std(x, *args))
        concrete = function.get_concrete_function(spec)
        assert concrete.outputs[0].shape.as_list() == sizes
        np.testing.assert_allclose(concrete(tf.constant(x)), torch_std(x, *args), 1e-6)
    one = function.get_concrete_function(tf.TensorSpec([None, None]))
    assert np.isnan(one(tf.ones([2, 1]))).all()


def test_large_half_precision_sums_do_not_overflow():
    x = np.arange(3000, dtype=np.float16)
    expected = torch.std(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(torch_std(x), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("args", "options", "match"),
    [
        ((), {"dim": 0, "unbiased": True, "correction": 1}, "unbiased and correction"),
        ((True, True), {}, "unbiased must be given once"),
    ],
)
def test_contradictions_are_refused(args, options, match):
    x = random((2, 3))
    assert_both_refuse(
        lambda: torch_std(x, *args, **options),
        lambda: torch.std(torch.from_numpy(x), *args, **options),
        match,
    )


@pytest.mark.parametrize("dtype", ["bool", "int64"])
def test_whole_numbers_are_refused(dtype):
    x = np.ones(3, dtype)
    assert_both_refuse(
        lambda: torch_std(x),
        lambda: torch.std(torch.from_numpy(x)),
        "input must have a floating type",
    )
