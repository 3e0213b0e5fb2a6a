import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import torch_clip


@pytest.mark.parametrize("mode", MODES)
def test_clip_equals_torch(mode):
    for low, high in [(-0.5, 0.5), (None, 0.2), (0.1, None)]:
        assert_same_function(
            lambda x, low=low, high=high: torch_clip(x, min=low, max=high),
            lambda x, low=low, high=high: torch.clip(x, min=low, max=high),
            [random((3, 4))],
            mode,
        )


def test_clip_to_tensors_equals_torch():
    low = random((4,), 1)
    assert_same_function(torch_clip, torch.clip, [random((3, 4)), low, low + 0.5])


def test_clip_without_bounds_is_refused():
    x = np.zeros(1)
    assert_both_refuse(
        lambda: torch_clip(x),
        lambda: torch.clip(torch.from_numpy(x)),
        "at least one of min and max",
    )
