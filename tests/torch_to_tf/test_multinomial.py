import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.draw_cases import Draws
from util.torch_to_tf import torch_multinomial

WEIGHTS = np.float32([0.0, 2.0, 1.0, 0.0, 5.0, 0.0])
SHARES = WEIGHTS / WEIGHTS.sum()


class TestWithReplacement(Draws):
    draw = staticmethod(
        lambda **options: torch_multinomial(WEIGHTS, 200, True, **options)
    )


class TestWithoutReplacement(Draws):
    draw = staticmethod(
        lambda **options: torch_multinomial(np.ones(200), 100, **options)
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_shares_with_replacement_are_those_of_the_weights(dtype, mode):
    weights = tf.cast([WEIGHTS, WEIGHTS[::-1]], dtype)
    function = in_mode(lambda w: torch_multinomial(w, 5000, replacement=True), mode)
    values = function(weights)
    assert values.dtype == tf.int64
    assert values.shape == [2, 5000]
    for row, shares in zip(values.numpy(), (SHARES, SHARES[::-1]), strict=True):
        found = np.bincount(row, minlength=6) / 5000
        assert np.abs(found - shares).max() < 0.03
        assert (found[shares == 0] == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_first_draw_without_replacement_has_these_shares_too(mode):
    function = in_mode(lambda w: torch_multinomial(w, 2), mode)
    values = function(tf.tile(WEIGHTS[None], [5000, 1])).numpy()
    assert values.dtype == np.int64
    first = np.bincount(values[:, 0], minlength=6) / 5000
    assert np.abs(first - SHARES).max() < 0.03
    # P(second is 1) = sum over the first of P(first) P(1 | first is out).
    second = np.bincount(values[:, 1], minlength=6) / 5000
    expected = SHARES[1] * (SHARES[2] / (1 - SHARES[2]) + SHARES[4] / (1 - SHARES[4]))
    assert second[1] == pytest.approx(expected, abs=0.03)
    assert (values[:, 0] != values[:, 1]).all()


@pytest.mark.parametrize("shape", [(4,), (3, 4), (0, 4)])
@pytest.mark.parametrize("replacement", [True, False])
def test_shapes_are_those_of_torch(shape, replacement):
    weights = np.ones(shape, np.float32)
    theirs = torch.multinomial(torch.from_numpy(weights), 3, replacement)
    ours = torch_multinomial(weights, 3, replacement)
    assert tuple(ours.shape) == tuple(theirs.shape)


def test_without_replacement_improbable_ones_come_last():
    for draw in (
        torch_multinomial(WEIGHTS, 6),
        torch.multinomial(torch.tensor(WEIGHTS), 6),
    ):
        values = np.asarray(draw).tolist()
        assert sorted(values[:3]) == [1, 2, 4]
        assert sorted(values[3:]) == [0, 3, 5]


def test_unknown_sizes_keep_the_others():
    for replacement in (True, False):
        function = tf.function(lambda w, r=replacement: torch_multinomial(w, 2, r))
        concrete = function.get_concrete_function(tf.TensorSpec([None, None]))
        assert concrete.outputs[0].shape.as_list() == [None, 2]
        assert concrete(tf.ones([5, 3])).shape == [5, 2]


@pytest.mark.parametrize(
    ("weights", "args", "match"),
    [
        ([-1.0, 2.0], (1,), "input must be finite and not negative"),
        ([np.nan, 2.0], (1, True), "input must be finite and not negative"),
        ([np.inf, 2.0], (2, True), "input must be finite and not negative"),
        ([0.0, 0.0], (1,), "input must have a positive sum in each row"),
        ([[1.0, 1.0], [0.0, 0.0]], (1, True), "input must have a positive sum"),
        ([1.0, 1.0], (3,), "num_samples must be <= 2"),
        ([1.0, 1.0], (0,), "num_samples must be > 0, got 0"),
        ([1.0, 1.0], (1.0,), "num_samples must be an int, got 1.0"),
        ([1, 1], (1,), "input must have a floating type, got int64"),
        (1.0, (1,), "input must have 1 or 2 axes"),
        (np.ones((2, 2, 2)), (1,), "input must have 1 or 2 axes"),
        (np.ones((2, 0)), (1, True), "num_samples must be <= 0"),
    ],
)
def test_what_does_not_fit_is_refused(weights, args, match):
    weights = np.asarray(weights)
    assert_both_refuse(
        lambda: torch_multinomial(weights, *args),
        lambda: torch.multinomial(torch.from_numpy(weights), *args),
        match,
    )
