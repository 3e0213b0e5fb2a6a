import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.mlp_diffusion import DiffusionMLP
from model.diffusion.modules import (
    Conv1dBlock,
    Downsample1d,
    NoiseNetwork,
    SinusoidalPosEmb,
    Upsample1d,
    make_conv_activation,
    make_time_embedding,
    predict_at,
)
from tests.model.fakes import StepPrediction, normal, set_parameters, states
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


@pytest.mark.parametrize("time", [4, np.int64(4), [4], np.full(7, 4)])
def test_one_step_may_stand_for_all_rows(time):
    sizes = {"action_dim": 3, "horizon_steps": 2, "cond_dim": 4, "time_dim": 8}
    network, x, cond = (
        DiffusionMLP(**sizes, mlp_dims=[5]),
        normal(7, 2, 3),
        states(7, 2),
    )
    expected = network(x, np.full(7, 4), cond)
    np.testing.assert_allclose(network(x, time, cond), expected, rtol=1e-6, atol=1e-7)


def test_one_step_may_stand_for_an_unknown_number_of_rows():
    sizes = {"action_dim": 3, "horizon_steps": 2, "cond_dim": 4, "time_dim": 8}
    network = DiffusionMLP(**sizes, mlp_dims=[5])
    specs = [tf.TensorSpec([None, 2, 3]), {"state": tf.TensorSpec([None, 1, 4])}]
    function = in_mode(lambda x, cond: network(x, 4, cond), "graph")
    x, cond = normal(7, 2, 3), states(7, 1, 4)
    out = function.get_concrete_function(*specs)(tf.constant(x), cond)
    np.testing.assert_allclose(out, network(x, np.full(7, 4), cond), rtol=1e-5)


def test_parts_of_a_network_are_left_to_leaves():
    network, zeros = NoiseNetwork(), tf.zeros([1, 2])
    for part in (network.embed, network.encode, lambda x: network.predict(x, x, x)):
        with pytest.raises(NotImplementedError):
            part(zeros)


# -- along the chunk ------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("length", "halved"), [(2, 1), (5, 3), (8, 4)])
def test_downsampling_takes_every_second_place(length, halved, mode):
    module = Downsample1d(2)
    # Entry 0 of the kernel meets the place before, entry 2 the one after.
    weight = np.zeros([2, 2, 3], np.float32)
    weight[0, 0], weight[1, 1] = (1, 10, 100), (0, 1, 0)
    module.load_state_dict({"conv.weight": weight, "conv.bias": np.float32([0, 0.5])})
    x = normal(3, 2, length)
    around = np.pad(x, [[0, 0], [0, 0], [1, 1]])
    out = in_mode(module, mode)(tf.constant(x))
    first = sum(10**k * around[:, 0, k : length + k : 2] for k in range(3))
    np.testing.assert_allclose(out[:, 0], first, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(out[:, 1], x[:, 1, ::2] + 0.5, rtol=1e-6)
    assert out.shape == (3, 2, halved)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [1, 2, 8])
def test_upsampling_spreads_each_place_over_four(length, mode):
    module = Upsample1d(1)
    kernel = np.float32([1, 10, 100, 1000])
    module.load_state_dict(
        {"conv.weight": kernel.reshape(1, 1, 4), "conv.bias": np.float32([0.5])}
    )
    x = normal(3, 1, length)
    spread = np.zeros([3, 2 * length + 2], np.float32)
    for place in range(length):
        spread[:, 2 * place : 2 * place + 4] += x[:, 0, place, None] * kernel
    out = in_mode(module, mode)(tf.constant(x))
    np.testing.assert_allclose(out[:, 0], spread[:, 1:-1] + 0.5, rtol=1e-5, atol=1e-4)


def test_a_block_convolves_normalises_and_activates():
    block, x = Conv1dBlock(3, 4, 5, n_groups=2, eps=1e-3), tf.constant(normal(6, 3, 8))
    set_parameters(block)
    convolution, _, norm, _, activation = block.block
    np.testing.assert_allclose(
        block(x), activation(norm(convolution(x))), rtol=1e-4, atol=1e-5
    )
    assert norm.eps == 1e-3


def test_a_block_without_groups_does_not_normalise():
    block, x = (
        Conv1dBlock(3, 4, 3, activation_type="ReLU"),
        tf.constant(normal(6, 3, 8)),
    )
    expected = tf.nn.relu(block.block[0](x))
    np.testing.assert_allclose(block(x), expected, rtol=1e-5, atol=1e-6)


def test_keys_of_a_block_are_those_of_the_reference():
    assert list(Conv1dBlock(3, 4, 5, n_groups=2).state_dict()) == [
        "block.0.weight",
        "block.0.bias",
        "block.2.weight",
        "block.2.bias",
    ]
    assert list(Conv1dBlock(3, 4, 5).state_dict()) == ["block.0.weight", "block.0.bias"]


@pytest.mark.parametrize("name", ["Tanh", "mish"])
def test_other_activations_are_refused(name):
    with pytest.raises(ValueError, match=f"one of .*Mish.*ReLU.*got '{name}'"):
        make_conv_activation(name)
