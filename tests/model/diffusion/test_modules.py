import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.mlp_diffusion import DiffusionMLP
from model.diffusion.modules import (
    SinusoidalPosEmb,
    make_time_embedding,
    predict_at,
)
from tests.model.fakes import StepPrediction, normal, states
from tests.modes import MODES, in_mode

# Of the reference, for step 7 and width 16.
STEP_7 = """.656987 .953217 .482739 .134738 .036248 .009726 .002609 .000700 .753902
-.302287 .875764 .990881 .999343 .999953 .999997 1."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [tf.int64, tf.float32])
def test_embedding_of_step_7_is_that_of_the_reference(dtype, mode):
    out = in_mode(SinusoidalPosEmb(16), mode)(tf.constant([7], dtype))
    expected = [float(value) for value in STEP_7.split()]
    np.testing.assert_allclose(out, [expected], atol=1e-6)
    assert out.dtype == tf.float32


def test_embedding_of_step_0_is_zeros_then_ones():
    out = SinusoidalPosEmb(8)(tf.constant([0]))
    np.testing.assert_array_equal(out, [[0] * 4 + [1] * 4])


def test_slowest_frequency_is_one_in_ten_thousand():
    out = SinusoidalPosEmb(4)(tf.constant([1.0]))
    expected = [np.sin(1), np.sin(1e-4), np.cos(1), np.cos(1e-4)]
    np.testing.assert_allclose(out, [expected], rtol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (2, 3)])
def test_embedding_adds_an_axis(shape):
    assert SinusoidalPosEmb(6)(tf.zeros(shape, tf.int64)).shape == (*shape, 6)


def test_embedding_that_is_too_narrow_is_refused():
    with pytest.raises(ValueError, match="dim must be >= 4, got 2"):
        SinusoidalPosEmb(2)


def test_time_embedding_has_the_keys_and_widths_of_the_reference():
    module = make_time_embedding(8, 20)
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert shapes == {
        "1.weight": (20, 8),
        "1.bias": (20,),
        "3.weight": (8, 20),
        "3.bias": (8,),
    }
    assert module(tf.constant([1, 2, 3])).shape == (3, 8)


def test_time_embedding_passes_a_mish_between_two_linear_maps():
    module = make_time_embedding(4, 2)
    state = {key: np.full_like(v, 0.5) for key, v in module.state_dict().items()}
    module.load_state_dict(state)
    # At step 0: 0.5 (0 + 0 + 1 + 1) + 0.5 = 1.5; mish(1.5) = 1.5 tanh(log(1 + e^1.5)).
    hidden = 1.5 * np.tanh(np.log1p(np.exp(1.5)))
    out = module(tf.constant([0]))
    np.testing.assert_allclose(out, np.full((1, 4), hidden + 0.5), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_prediction_at_a_step_equals_the_whole_network(mode):
    """Also with an encoder of the state, and for networks that have no parts."""
    sizes = {"action_dim": 3, "horizon_steps": 2, "cond_dim": 4, "time_dim": 8}
    whole = DiffusionMLP(**sizes, mlp_dims=[5, 5, 5], cond_mlp_dims=[6, 3])
    x, cond, times = normal(7, 2, 3), states(7, 2), [9, 4, 0]
    for network in (whole, StepPrediction()):
        got = in_mode(
            lambda x, i, network=network: predict_at(
                network, cond, tf.constant(times, tf.int64)
            )(x, i),
            mode,
        )(tf.constant(x), tf.constant(1))
        expected = network(x, np.full(7, 4), cond=cond)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_observations_are_encoded_once_for_all_steps(monkeypatch):
    encoded = []
    original = DiffusionMLP.encode

    def encode(self, cond):
        encoded.append(1)
        return original(self, cond)

    monkeypatch.setattr(DiffusionMLP, "encode", encode)
    sizes = {"action_dim": 3, "horizon_steps": 2, "cond_dim": 4, "time_dim": 8}
    predict = predict_at(
        DiffusionMLP(**sizes, mlp_dims=[5]), states(7, 2), tf.constant([1, 0], tf.int64)
    )
    for i in range(2):
        predict(tf.constant(normal(7, 2, 3)), tf.constant(i))
    assert len(encoded) == 1
