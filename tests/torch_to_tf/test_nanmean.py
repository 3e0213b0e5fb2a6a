import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function
from tests.torch_to_tf.reduce_cases import Reduction
from util.torch_to_tf import torch_nanmean


class TestNanmean(Reduction):
    ours, theirs = staticmethod(torch_nanmean), staticmethod(torch.nanmean)
    whole = ()


SOME = np.float32([[np.nan, 1.0, 3.0], [np.nan, np.nan, np.nan], [5.0, 6.0, 4.0]])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dim", [None, 0, 1, (0, 1)])
def test_nan_is_passed_over(dim, mode):
    for keepdim in (False, True):
        assert_same_function(
            lambda x, keepdim=keepdim: torch_nanmean(x, dim, keepdim),
            lambda x, keepdim=keepdim: torch.nanmean(x, dim, keepdim),
            [SOME],
            mode,
        )


def test_mean_of_nothing_is_nan():
    assert_same_function(torch_nanmean, torch.nanmean, [np.zeros(0, np.float32)])


def test_entries_are_converted_beforehand():
    assert_same_function(
        lambda x: torch_nanmean(x, dtype="float64"),
        lambda x: torch.nanmean(x, dtype=torch.float64),
        [SOME],
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    ("dtype", "to", "match"),
    [
        ("int64", None, "input must have a floating type, got int64"),
        ("int64", "float32", "input must have a floating type, got int64"),
        ("bool", None, "input must have a floating type, got bool"),
        ("complex64", None, "input must have a floating type, got complex64"),
        ("float32", "int64", "dtype must have a floating or complex type, got int64"),
    ],
)
def test_other_types_are_refused(dtype, to, match):
    x = np.array([1, 2]).astype(dtype)
    theirs = None if to is None else getattr(torch, to)
    assert_both_refuse(
        lambda: torch_nanmean(x, dtype=to),
        lambda: torch.nanmean(torch.from_numpy(x), dtype=theirs),
        match,
    )
