"""What every function that acts entry by entry has to pass."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, grid

SHAPES = [(), (7,), (2, 3), (0, 3), (2, 0)]
CLOSE = {
    "float16": {"rtol": 4e-3, "atol": 1e-3},
    "float32": {"rtol": 1e-5, "atol": 1e-6},
    "float64": {"rtol": 1e-12, "atol": 1e-12},
}
WHOLE = ("bool", "uint8", "int8", "int16", "int32", "int64")


class Elementwise:
    """The tests; a subclass names the two functions."""

    ours: ClassVar[Callable[..., Any]]
    theirs: ClassVar[Callable[..., Any]]
    points: ClassVar[list[float]] = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]
    whole: ClassVar[tuple[str, ...]] = WHOLE
    scale: ClassVar[float] = 0.25

    def array(self, shape, dtype="float32"):
        count = int(np.prod(shape))
        return (grid().flat[:count] * self.scale).astype(dtype).reshape(shape)

    @pytest.mark.parametrize("dtype", CLOSE)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_values_and_gradients_equal_torch(self, shape, dtype):
        x = self.array(shape, dtype)
        assert_same_function(self.ours, self.theirs, [x], **CLOSE[dtype])

    @pytest.mark.parametrize("mode", MODES)
    def test_edges_equal_torch(self, mode):
        x = np.array(self.points, np.float32)
        with np.errstate(all="ignore"):
            assert_same_function(self.ours, self.theirs, [x], mode)

    def test_whole_numbers_equal_torch(self):
        for dtype in self.whole:
            x = np.array([[0, 1, 2], [3, 7, 1]]).astype(dtype)
            assert_same_function(self.ours, self.theirs, [x])

    def test_unknown_sizes_keep_the_others(self):
        spec = tf.TensorSpec([None, 3])
        (out,) = tf.function(self.ours).get_concrete_function(spec).outputs
        assert out.shape.as_list() == [None, 3]

    @pytest.mark.parametrize("value", [[1.0, 2.0], 1.0, None])
    def test_what_is_no_tensor_is_refused(self, value):
        assert_both_refuse(
            lambda: self.ours(value),
            lambda: self.theirs(value),
            "input must be a tensor",
        )
