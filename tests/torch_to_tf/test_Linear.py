import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import (
    assert_both_refuse,
    assert_configurable,
    assert_same_module,
    random,
)
from tests.torch_to_tf.module_cases import assert_dtype_and_device_are_taken
from util.torch_to_tf import (
    compute_in,
    nn_LayerNorm,
    nn_Linear,
    nn_Mish,
    nn_Sequential,
    torch_manual_seed,
    transposed_weights,
)

# in_features, out_features, bias, leading shape of the input
CASES = [
    (3, 4, True, (5,)),
    (3, 4, False, (2, 7)),
    (5, 1, True, (2, 2, 2)),
    (1, 1, True, (3,)),
    (4, 2, True, ()),
    (3, 2, True, (0,)),
    (0, 2, True, (3,)),
    (3, 0, True, (2,)),
]


@pytest.mark.parametrize(("n_in", "n_out", "bias", "lead"), CASES)
def test_values_gradients_and_state_equal_torch(n_in, n_out, bias, lead):
    ours, theirs = (c(n_in, n_out, bias) for c in (nn_Linear, torch.nn.Linear))
    assert_same_module(ours, theirs, random((*lead, n_in)))


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("lead", [(5,), (2, 3)])
def test_compiled_equals_torch(lead, mode):
    assert_same_module(nn_Linear(3, 4), torch.nn.Linear(3, 4), random((*lead, 3)), mode)


def test_unknown_batch_size_keeps_the_last_size():
    layer = nn_Linear(3, 4)
    specs = [tf.TensorSpec([None, *rest]) for rest in ([3], [2, 3], [None])]
    for spec in specs:
        out = tf.function(layer.call).get_concrete_function(spec).outputs[0]
        assert out.shape.as_list() == [*spec.shape[:-1], 4]


def test_initial_values_are_uniform_within_one_over_root_of_inputs():
    layer, bound = nn_Linear(100, 400), 0.1
    for value in layer.state_dict().values():
        assert np.abs(value).max() <= bound
        assert np.abs(value).max() > 0.97 * bound
        assert value.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
        assert value.dtype == np.float32


def test_same_seed_gives_the_same_layer_and_the_next_one_differs():
    layers = []
    for _ in range(2):
        torch_manual_seed(3)
        layers.append([nn_Linear(2, 2).state_dict()["weight"] for _ in range(2)])
    np.testing.assert_array_equal(layers[0], layers[1])
    assert not np.array_equal(layers[0][0], layers[0][1])


def test_config_round_trip():
    assert_configurable(nn_Linear(3, 4, bias=False))


@pytest.mark.parametrize("sizes", [(-1, 2), (2, -1)])
def test_negative_size_is_refused(sizes):
    with pytest.raises(ValueError, match="must be >= 0, got"):
        nn_Linear(*sizes)


@pytest.mark.parametrize("mode", MODES)
def test_input_of_another_width_is_refused(mode):
    function = tf.function(nn_Linear(3, 4).call) if mode != "eager" else nn_Linear(3, 4)
    with pytest.raises(ValueError, match="last size 2, expected in_features=3"):
        function(tf.zeros([5, 2]))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(lambda **where: nn_Linear(3, 4, **where))


def test_float64_equals_torch():
    ours = nn_Linear(3, 4, dtype="double")
    theirs = torch.nn.Linear(3, 4, dtype=torch.float64)
    x = random((5, 3)).astype(np.float64)
    assert_same_module(ours, theirs, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.ones((2, 3)), "input must be float32 as the parameters are, got float64"),
        (np.ones((2, 3), np.int64), "input must be float32 .* got int64"),
        (np.float32(1.0), "input must have at least one axis"),
        ([1.0, 2.0, 3.0], "input must be a tensor"),
    ],
)
def test_inputs_that_torch_refuses_are_refused(x, match):
    given = x if isinstance(x, list) else torch.from_numpy(np.asarray(x))
    assert_both_refuse(
        lambda: nn_Linear(3, 4)(x), lambda: torch.nn.Linear(3, 4)(given), match
    )


@pytest.mark.parametrize("eagerly", [True, False])
def test_weights_transposed_beforehand_give_the_same(eagerly):
    layers = nn_Sequential(nn_Linear(3, 4), nn_Linear(4, 2))
    x = tf.constant(random((5, 3)))

    def call(x):
        with transposed_weights(layers):
            return layers(x)

    held = call(x) if eagerly else tf.function(call, jit_compile=True)(x)
    np.testing.assert_allclose(held, layers(x), rtol=1e-5, atol=1e-6)


def test_weights_are_held_within_the_block_only():
    layer, x = nn_Linear(3, 4), tf.constant(random((5, 3)))

    @tf.function(jit_compile=True)
    def call(x):
        with transposed_weights(layer):
            held = layer(x)
        layer.weight.assign(tf.zeros([4, 3]))
        return held, layer(x)

    before = layer(x)
    held, after = call(x)
    np.testing.assert_allclose(held, before, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after, np.tile(layer.bias.numpy(), (5, 1)))


# -- products in bfloat16 ------------------------------------------------------------


def operations(layer):
    graph = tf.function(layer.call).get_concrete_function(tf.zeros([2, 3])).graph
    return [op.type for op in graph.get_operations()]


def test_products_are_rounded_only_if_asked_for():
    layer = nn_Linear(3, 4)
    plain = operations(layer)
    assert "Cast" not in plain
    compute_in("bfloat16", layer)
    assert operations(layer).count("Cast") == 3
    compute_in("float32", layer)
    assert operations(layer) == plain


def test_factors_and_product_are_rounded_and_nothing_else():
    layer = nn_Linear(1, 1)
    layer.load_state_dict({"weight": [[1 + 2**-9]], "bias": [2**-9]})
    compute_in("bfloat16", layer)
    # 8 bits: 1 + 2^-7 is a number, 1 + 2^-9 becomes 1.
    for x, expected in [(1 + 2**-7, 1 + 2**-7), (1 + 2**-9, 1), (3 + 2**-6, 3 + 2**-6)]:
        assert layer(tf.constant([[x]])).numpy() == expected + 2**-9


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lead", [(64,), (8, 8)])
def test_rounded_network_is_near_the_exact_one_in_float32(mode, lead):
    layers = (nn_Linear(16, 32), nn_Mish(), nn_LayerNorm(32), nn_Linear(32, 4))
    network, x = nn_Sequential(*layers), tf.constant(random((*lead, 16)))

    def function(x):
        with tf.GradientTape() as tape:
            output = network(x)
            loss = tf.reduce_mean(output**2)
        return output, tape.gradient(loss, [p.value for p in network.parameters()])

    exact = tf.nest.flatten(function(x))
    compute_in("bfloat16", network)
    rounded = tf.nest.flatten(in_mode(function, mode)(x))
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == tf.float32
        error = np.abs(other - one).max() / np.abs(one).max()
        assert 0 < error < 0.02
    assert {p.dtype for p in network.parameters()} == {"float32"}


def test_weights_transposed_beforehand_are_rounded_too():
    layer, x = nn_Linear(3, 4), tf.constant(random((5, 3)))
    exact = layer(x)
    compute_in("bfloat16", layer)

    @tf.function(jit_compile=True)
    def held(x):
        with transposed_weights(layer):
            return layer(x)

    graph = held.get_concrete_function(x).graph
    (barrier,) = (o for o in graph.get_operations() if "Barrier" in o.type)
    assert [t.dtype for t in barrier.inputs] == [tf.bfloat16]
    np.testing.assert_allclose(held(x), exact, atol=0.02)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="float32 or bfloat16, got 'float16'"):
        compute_in("float16", nn_Linear(2, 2))
