import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from tests.torch_to_tf.elementwise_cases import CLOSE
from util.torch_to_tf import torch_clamp

BOUNDS = [(-0.5, 0.5), (None, 0.5), (-0.5, None), (0.5, -0.5), (0.5, 0.5), (-1, True)]
NAN, INF = np.nan, np.inf
ON_BOUNDS = np.float32([-1.0, -0.5, 0.0, 0.5, 1.0, INF, -INF, NAN])


def assert_same(x, low, high, mode="eager"):
    assert_same_function(
        lambda x: torch_clamp(x, min=low, max=high),
        lambda x: torch.clamp(x, min=low, max=high),
        [x],
        mode,
        **CLOSE.get(x.dtype.name, {}),
    )


@pytest.mark.parametrize("mode", MODES)
def test_clamp_equals_torch_on_and_beyond_the_bounds(mode):
    assert_same(ON_BOUNDS, -0.5, 0.5, mode)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clamp_with_one_bound_or_swapped_bounds_equals_torch(low, high):
    assert_same(ON_BOUNDS, low, high)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int8", "int64"])
def test_other_shapes_and_types_equal_torch(dtype, shape):
    x = np.asarray(3 * random(shape)).astype(dtype)
    for low, high in [(0, 1), (None, 1), (0.5, 2.5), (1, 0.25)]:
        assert_same(x, low, high)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("low", "high"), [(NAN, 1.0), (0.0, NAN), (None, NAN)])
def test_bound_that_is_nan_makes_all_nan(low, high, mode):
    assert_same(ON_BOUNDS, low, high, mode)


# Each bound below, at and above the entry and the other bound, and NaN in each place.
ENTRIES = [0.0, 1.0, 1.0, 0.0, 2.0, 1.0, 0.5, NAN, 1.0, 1.0, 3.0]
LOWER = [1.0, 1.0, 0.0, 1.0, 0.0, 2.0, 1.0, 0.0, NAN, 0.0, NAN]
UPPER = [2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 2.0, NAN, 2.0]


@pytest.mark.parametrize("mode", MODES)
def test_ties_and_nan_in_tensors_equal_torch(mode):
    inputs = [np.float32(x) for x in (ENTRIES, LOWER, UPPER)]
    assert_same_function(torch_clamp, torch.clamp, inputs, mode)


@pytest.mark.parametrize("name", ["min", "max"])
@pytest.mark.parametrize("mode", MODES)
def test_one_tensor_as_a_bound_equals_torch(name, mode):
    assert_same_function(
        lambda x, bound: torch_clamp(x, **{name: bound}),
        lambda x, bound: torch.clamp(x, **{name: bound}),
        [np.float32(ENTRIES), np.float32(LOWER)],
        mode,
    )


@pytest.mark.parametrize(
    "shapes", [[(3, 4), (4,), (3, 1)], [(4,), (3, 1), ()], [(), (2, 1), (1, 3)]]
)
@pytest.mark.parametrize("mode", MODES)
def test_clamp_to_tensors_gives_them_their_gradients(shapes, mode):
    shifts = (0.0, -0.5, 0.5)
    inputs = [
        np.asarray(random(shape, seed) + np.float32(shift))
        for seed, (shape, shift) in enumerate(zip(shapes, shifts, strict=True))
    ]
    # By itself PyTorch fails in the backward pass if a bound is broadcast.
    assert_same_function(
        torch_clamp,
        lambda *xs: torch.clamp(*torch.broadcast_tensors(*xs)),
        inputs,
        mode,
    )


def test_gradients_of_unknown_sizes_equal_those_of_known_ones():
    specs = [tf.TensorSpec(size, tf.float32) for size in ([None, 3], [3], [None, 1])]

    def gradients(x, low, high):
        with tf.GradientTape() as tape:
            tape.watch([x, low, high])
            total = tf.reduce_sum(torch_clamp(x, low, high) ** 2)
        return tape.gradient(total, [x, low, high])

    inputs = [random((5, 3)), random((3,), 1), random((5, 1), 2)]
    compiled = tf.function(gradients, input_signature=specs)
    tensors = [tf.constant(x) for x in inputs]
    for actual, expected in zip(compiled(*tensors), gradients(*tensors), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "scalar"),
    [
        (("int64", "float32", "float32"), False),
        (("float32", "float64", "float32"), False),
        (("float32", "float64", "float64"), True),
        (("int32", "float64", "int64"), True),
        (("uint8", "int8", "int8"), False),
    ],
)
def test_types_are_promoted_as_in_torch(kinds, scalar):
    x = np.array([1, 3, 5]).astype(kinds[0])
    low, high = (np.array(2 if scalar else [2, 2, 2]).astype(k) for k in kinds[1:])
    assert_same_function(torch_clamp, torch.clamp, [x, low, high])


def test_second_derivatives_pass():
    x = tf.constant([0.5, 2.0])
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = torch_clamp(x, 0.0, 1.0) ** 3
        first = inner.gradient(y, x)
    np.testing.assert_allclose(outer.gradient(first, x), [3.0, 0.0])


@pytest.mark.parametrize(
    ("x", "low", "high", "match"),
    [
        ([1.0], None, None, "at least one of min and max"),
        ([True], False, True, "a type with an order, got bool"),
        ([1j], 0.0, None, "a type with an order"),
        ([1.0], 1j, None, "a type with an order"),
        ([1.0], "a", None, "min must be a number"),
        ([1.0], None, [2.0], "max must be a number"),
        (np.array([1], np.uint8), None, 300, "max must fit uint8, got 300"),
        (np.array([1], np.float16), -1e6, None, "min must fit float16"),
    ],
)
def test_what_cannot_be_clamped_is_refused(x, low, high, match):
    x = np.array(x)
    assert_both_refuse(
        lambda: torch_clamp(x, low, high),
        lambda: torch.clamp(torch.from_numpy(x), low, high),
        match,
    )


def test_shapes_that_do_not_broadcast_are_refused():
    x, low = random((3,)), random((2,))
    assert_both_refuse(
        lambda: torch_clamp(x, low),
        lambda: torch.clamp(torch.from_numpy(x), torch.from_numpy(low)),
        r"input and min must broadcast, got shapes \[\(3,\), \(2,\)\]",
    )
