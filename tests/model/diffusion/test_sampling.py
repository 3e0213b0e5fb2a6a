import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.sampling import cosine_beta_schedule, extract, make_timesteps
from tests.modes import MODES, in_mode

# Of the reference, for 20 steps.
BETAS = """.00799272 .020075 .03225385 .0446809 .0575202 .0709572 .0852104 .100547
.117304 .135922 .156997 .181359 .210212 .245372 .289725 .348137 .429434 .551024
.748476 .999"""


def test_betas_of_20_steps_are_those_of_the_reference():
    expected = [float(value) for value in BETAS.split()]
    np.testing.assert_allclose(cosine_beta_schedule(20), expected, rtol=5e-6)


@pytest.mark.parametrize(
    ("steps", "first", "last"),
    [(10, [0.02790726], [0.999]), (100, [0.00063128], [0.55537564, 0.74993926, 0.999])],
)
def test_betas_of_other_lengths_are_those_of_the_reference(steps, first, last):
    betas = cosine_beta_schedule(steps)
    np.testing.assert_allclose(betas[: len(first)], first, rtol=1e-5)
    np.testing.assert_allclose(betas[-len(last) :], last, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_betas_rise_within_their_limits(steps):
    betas = cosine_beta_schedule(steps)
    assert betas.shape == (steps,)
    assert betas.dtype == np.float32
    assert np.all(np.diff(betas) > 0)
    assert betas[0] > 0
    assert betas[-1] == np.float32(0.999)


def test_offset_and_type_can_be_chosen():
    betas = cosine_beta_schedule(20, s=0.1, dtype=np.float64)
    assert betas.dtype == np.float64
    assert betas[0] > cosine_beta_schedule(20)[0]
    assert cosine_beta_schedule(np.int64(20)).shape == (20,)


def test_number_of_steps_must_be_whole():
    with pytest.raises(TypeError, match="timesteps must be an int, got 20.0"):
        cosine_beta_schedule(20.0)


@pytest.mark.parametrize("mode", MODES)
def test_extract_takes_the_value_of_each_row(mode):
    values, t = np.float32([1, 2, 4, 8]), tf.constant([3, 0, 3], tf.int64)
    out = in_mode(lambda t: extract(values, t, [3, 5, 6]), mode)(t)
    np.testing.assert_array_equal(out, np.float32([8, 1, 8]).reshape(3, 1, 1))
    assert out.dtype == tf.float32
    column = extract(values, tf.reshape(t, [3, 1]), [3, 5])
    np.testing.assert_array_equal(column, [[8], [1], [8]])


@pytest.mark.parametrize("mode", MODES[:2])
def test_make_timesteps_repeats_the_step(mode):
    function = in_mode(lambda rows, i: make_timesteps(rows, i), mode)
    for rows, i in ((3, 7), (tf.constant(3), tf.constant(7))):
        out = function(rows, i)
        np.testing.assert_array_equal(out, [7, 7, 7])
        assert out.dtype == tf.int64
