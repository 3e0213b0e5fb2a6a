import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.channels_last import ChannelsLast, convolve, normalise_groups
from tests.model.fakes import normal
from tests.modes import MODES, in_mode
from util.torch_to_tf import compute_in, nn_Conv1d, nn_ConvTranspose1d, nn_GroupNorm

LAYERS = {
    "kernel 1": lambda: nn_Conv1d(3, 2, 1),
    "kernel 3": lambda: nn_Conv1d(3, 2, 3, padding=1),
    "kernel 4": lambda: nn_Conv1d(3, 2, 4, padding=2),
    "kernel 5": lambda: nn_Conv1d(3, 2, 5, padding=2),
    "halving": lambda: nn_Conv1d(3, 2, 3, 2, 1),
    "doubling": lambda: nn_ConvTranspose1d(3, 2, 4, 2, 1),
}


def swapped(x):
    return np.swapaxes(x, 1, 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", LAYERS)
def test_convolution_is_the_layer_in_another_layout(name, mode):
    layer = LAYERS[name]()
    compiled = in_mode(lambda x: convolve(layer, x), mode)
    for length in (1, 2, 3, 4, 5, 8):
        x = normal(6, length, 3)
        expected = swapped(layer(tf.constant(swapped(x))))
        np.testing.assert_allclose(
            compiled(tf.constant(x)), expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [2, 8])
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_the_layer(name, length, mode):
    layer, x = LAYERS[name](), tf.constant(normal(6, length, 3))

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(function(x) ** 2)
        return tape.gradient(loss, [x, layer.weight, layer.bias])

    found = in_mode(lambda: gradients(lambda x: convolve(layer, x)), mode)()
    expected = gradients(
        lambda x: tf.transpose(layer(tf.transpose(x, [0, 2, 1])), [0, 2, 1])
    )
    for got, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "length", "is_product"),
    [
        ("kernel 5", 4, True),
        ("kernel 5", 5, False),
        ("halving", 4, True),
        ("halving", 6, False),
        ("doubling", 2, True),
        ("doubling", 4, False),
        ("kernel 1", 1, False),
    ],
)
def test_along_an_axis_shorter_than_the_kernel_it_is_one_product(
    name, length, is_product
):
    layer = LAYERS[name]()
    function = in_mode(lambda x: convolve(layer, x), "graph")
    graph = function.get_concrete_function(tf.TensorSpec([6, length, 3])).graph
    kinds = {operation.type for operation in graph.get_operations()}
    assert ("MatMul" in kinds) is is_product
    assert any(kind.startswith("Conv2D") for kind in kinds) is not is_product


@pytest.mark.parametrize("length", [2, 8])
def test_number_of_rows_may_be_unknown(length):
    for make in LAYERS.values():
        layer = make()
        spec = tf.TensorSpec([None, length, 3])
        function = in_mode(lambda x, layer=layer: convolve(layer, x), "graph")
        (out,) = function.get_concrete_function(spec).outputs
        expected = layer(tf.zeros([1, 3, length])).shape
        assert out.shape.as_list() == [None, expected[2], expected[1]]


@pytest.mark.parametrize("length", [2, 8])
def test_products_may_be_rounded(length):
    layer, x = nn_Conv1d(3, 2, 5, padding=2, bias=False), normal(6, length, 3)
    exact = convolve(layer, tf.constant(x)).numpy()
    compute_in("bfloat16", layer)
    rounded = convolve(layer, tf.constant(x))
    assert rounded.dtype == tf.float32
    assert 1e-4 < np.abs(rounded - exact).max() < 0.05
    short = tf.cast(rounded, tf.bfloat16)
    np.testing.assert_array_equal(rounded, tf.cast(short, tf.float32))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_are_normalised_as_by_the_layer(groups, mode):
    layer, x = nn_GroupNorm(groups, 6, eps=1e-2), tf.constant(normal(5, 4, 6))
    layer.weight.assign(normal(6, seed=1))
    layer.bias.assign(normal(6, seed=2))

    def run(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
            loss = tf.reduce_sum(y**3)
        return y, *tape.gradient(loss, [x, layer.weight, layer.bias])

    found = in_mode(lambda: run(lambda x: normalise_groups(layer, x)), mode)()
    expected = run(lambda x: tf.transpose(layer(tf.transpose(x, [0, 2, 1])), [0, 2, 1]))
    for got, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, theirs, rtol=1e-3, atol=1e-4)


class Doubled(ChannelsLast):
    """Adds every channel to each time step once more, and a constant."""

    def channels_last(self, x, summand):
        assert x.shape == (2, 5, 3)
        return tf.concat([x, x], axis=1) + summand


def test_a_call_takes_and_gives_channels_in_front():
    x = normal(2, 3, 5)
    expected = np.concatenate([x, x], axis=2) + 1.0
    np.testing.assert_array_equal(Doubled()(x, 1.0), expected)
    np.testing.assert_array_equal(Doubled()(x, summand=1.0), expected)


def test_the_work_is_left_to_leaves():
    with pytest.raises(NotImplementedError):
        ChannelsLast()(tf.zeros([1, 2, 3]))
