"""What every function over one, several or all axes has to pass."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.elementwise_cases import CLOSE, WHOLE

# Shape and axis of the input, with and without size 0.
ONE_AXIS = [
    ((5,), 0),
    ((3, 4), 0),
    ((3, 4), -1),
    ((2, 3, 4), 1),
    ((2, 3, 4), -3),
    ((), 0),
    ((), -1),
    ((4, 1), 1),
    ((2, 0), 0),
]
SEVERAL = [
    ((3, 4), (0, 1)),
    ((2, 3, 4), (0, -1)),
    ((2, 3, 4), [1]),
    ((2, 0, 3), (0, 2)),
    ((2, 3), ()),
]


class Reduction:
    """The tests; a subclass names the two functions and what they accept."""

    ours: ClassVar[Callable[..., Any]]
    theirs: ClassVar[Callable[..., Any]]
    several: ClassVar[bool] = True
    none_is_all: ClassVar[bool] = True
    whole: ClassVar[tuple[str, ...]] = WHOLE
    keeps: ClassVar[bool] = True
    points: ClassVar[list[list[float]]] = [
        [0.0, 2.0, -1.0, 3.0],
        [np.nan, 1.0, np.nan, 2.0],
        [np.inf, 1.0, 2.0, np.inf],
        [-np.inf, -np.inf, -np.inf, -np.inf],
        [np.inf, np.nan, -np.inf, 0.0],
        [1.0, 1.0, 1.0, 1.0],
    ]

    def cases(self):
        """Shapes with their arguments."""
        axes = ONE_AXIS + (SEVERAL if self.several else [])
        axes = axes if self.none_is_all else axes[:-1]
        keeping = [{}, {"keepdim": True}] if self.keeps else [{}]
        return [(shape, dim, more) for shape, dim in axes for more in keeping]

    def assert_same(self, x, *args, mode="eager", **options):
        dtype = x.dtype.name
        assert_same_function(
            lambda x: self.ours(x, *args, **options),
            lambda x: self.theirs(x, *args, **options),
            [x],
            mode,
            **CLOSE.get(dtype, {}),
        )

    def test_values_and_gradients_equal_torch(self):
        for shape, dim, options in self.cases():
            self.assert_same(random(shape), dim, **options)

    def test_axes_can_be_named(self):
        options = {"keepdim": True} if self.keeps else {}
        self.assert_same(random((3, 4)), dim=1, **options)

    @pytest.mark.parametrize("dtype", ["float16", "float64"])
    def test_other_floating_types_equal_torch(self, dtype):
        self.assert_same(random((3, 40)).astype(dtype), 1)

    def test_whole_numbers_equal_torch(self):
        for dtype in self.whole:
            self.assert_same(np.array([[0, 1, 2], [3, 7, 1]]).astype(dtype), 1)

    @pytest.mark.parametrize("mode", MODES)
    def test_infinite_numbers_and_nan_equal_torch(self, mode):
        x = np.array(self.points, np.float32)
        with np.errstate(all="ignore"):
            self.assert_same(x, 1, mode=mode)

    @pytest.mark.parametrize("mode", MODES[1:])
    def test_compiled_equals_torch(self, mode):
        self.assert_same(random((2, 3, 4)), 1, mode=mode)

    def test_unknown_sizes_keep_the_others(self):
        spec, keep = tf.TensorSpec([None, 3, 4]), self.keeps
        for dim, sizes in [(0, [3, 4]), (2, [None, 3])]:
            function = in_mode(lambda x, dim=dim: self.ours(x, dim), "graph")
            out = function.get_concrete_function(spec).outputs[0]
            assert out.shape.as_list() == (sizes if keep else [None, 3, 4])
            x = random((2, 3, 4))
            np.testing.assert_allclose(
                tf.nest.flatten(function(tf.constant(x)))[0],
                tf.nest.flatten(self.ours(x, dim))[0],
                rtol=1e-5,
            )

    @pytest.mark.parametrize(("dim", "match"), [(2, r"in \[-2, 1\]"), (1.5, "an int")])
    def test_axis_that_does_not_exist_is_refused(self, dim, match):
        self.refuses(random((2, 3)), match, dim)

    def test_axis_given_twice_is_refused(self):
        dim, match = ((0, -2), "each axis once") if self.several else ((0,), "an int")
        self.refuses(random((2, 3)), match, dim)

    def test_list_is_refused(self):
        self.refuses([1.0, 2.0], "input must be a tensor", 0)

    def refuses(self, x, match, *args, **options):
        theirs = torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x
        assert_both_refuse(
            lambda: self.ours(x, *args, **options),
            lambda: self.theirs(theirs, *args, **options),
            match,
        )
