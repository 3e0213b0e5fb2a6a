"""What the largest and the smallest entry have to pass beside `Reduction`."""

import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.elementwise_cases import WHOLE
from tests.torch_to_tf.reduce_cases import Reduction

NAN, INF = np.nan, np.inf
ROWS = [
    [1.0, 3.0, 3.0, 2.0, 1.0],
    [NAN, 3.0, NAN, -INF, INF],
    [INF, INF, -INF, -INF, 0.0],
    [2.0, 2.0, 2.0, 2.0, 2.0],
]
FIRST = [1.0, NAN, 2.0, NAN, INF, 0.0, -INF, 2.0]
SECOND = [1.0, 1.0, NAN, NAN, INF, 5.0, -INF, 1.0]


class Extremes(Reduction):
    """Of all entries, along an axis, and of two tensors."""

    several = False

    @pytest.mark.parametrize("mode", MODES)
    def test_of_all_entries_equal_ones_share_the_gradient(self, mode):
        for row in (*ROWS, ROWS, [5.0], 5.0, [[1.0, 2.0]]):
            x = np.array(row, np.float32)
            assert_same_function(self.ours, self.theirs, [x], mode)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("dim", [0, 1])
    def test_along_an_axis_the_first_one_gets_it(self, dim, mode):
        self.assert_same(np.float32(ROWS), dim, mode=mode)
        self.assert_same(np.float32(ROWS), dim, True, mode=mode)

    def test_values_and_indices_have_names(self):
        found = self.ours(np.array([[1, 7, 3]]), 1)
        assert found.values.numpy() == self.theirs(torch.tensor([1, 7, 3]))
        assert found.indices.numpy() == (0 if found.values.numpy() == 1 else 1)

    @pytest.mark.parametrize("mode", MODES)
    def test_of_two_tensors_equal_entries_share_it(self, mode):
        inputs = [np.float32(FIRST), np.float32(SECOND)]
        assert_same_function(self.ours, self.theirs, inputs, mode)
        assert_same_function(self.ours, self.theirs, inputs[::-1], mode)

    @pytest.mark.parametrize(
        "shapes", [[(3, 4), (4,)], [(3, 1), (4,)], [(), (2, 1)], [(0, 3), (3,)]]
    )
    def test_two_tensors_broadcast(self, shapes):
        inputs = [np.asarray(random(shape, i)) for i, shape in enumerate(shapes)]
        assert_same_function(self.ours, self.theirs, inputs)
        assert_same_function(
            lambda x, y: self.ours(x, other=y),
            lambda x, y: self.theirs(x, other=y),
            inputs,
        )

    def test_types_of_two_tensors_are_promoted(self):
        kinds = [("int32", "int64"), ("int64", "float32"), ("bool", "bool")]
        for kind, other in [*kinds, ("float16", "float32"), ("uint8", "int8")]:
            x, y = np.array([0, 1, 1]).astype(kind), np.array([1, 0, 1]).astype(other)
            assert_same_function(self.ours, self.theirs, [x, y])

    def test_whole_numbers_of_all_entries_equal_torch(self):
        for dtype in WHOLE:
            x = np.array([[0, 1, 2], [3, 7, 1]]).astype(dtype)
            assert_same_function(self.ours, self.theirs, [x])

    @pytest.mark.parametrize(
        ("args", "options"),
        [
            ((), {"keepdim": True}),
            ((True,), {}),
            ((1.0,), {}),
            (([1.0, 2.0],), {}),
            ((0,), {"other": np.ones(2)}),
        ],
    )
    def test_other_arguments_are_refused(self, args, options):
        x = np.ones(2)
        theirs = {name: torch.tensor(value) for name, value in options.items()}
        assert_both_refuse(
            lambda: self.ours(x, *args, **options),
            lambda: self.theirs(torch.from_numpy(x), *args, **theirs),
            "keepdim must|dim must",
        )

    @pytest.mark.parametrize(("shape", "args"), [((0,), ()), ((0, 3), (0,))])
    def test_no_entry_is_refused(self, shape, args):
        self.refuses(np.zeros(shape), "dim must", *args)

    def test_complex_numbers_are_refused(self):
        x = np.ones(2, np.complex64)
        self.refuses(x, "input must have a type with an order")
        self.refuses(x, "input must have a type with an order", 0)

    def test_shapes_that_do_not_broadcast_are_refused(self):
        x, y = np.ones(2), np.ones(3)
        assert_both_refuse(
            lambda: self.ours(x, y),
            lambda: self.theirs(*map(torch.from_numpy, (x, y))),
            r"input and other must broadcast, got shapes \[\(2,\), \(3,\)\]",
        )
