import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp import (
    MLP,
    ResidualMLP,
    TwoLayerPreActivationResNetLinear,
    activation_dict,
    make_activation,
    make_mlp,
)
from tests.model.fakes import normal, set_parameters
from tests.modes import MODES, in_mode
from util.torch_to_tf import clone_network, nn_Dropout


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def layernorm(x, state, name, eps):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * state[f"{name}.weight"] + state[
        f"{name}.bias"
    ]


def prefixes(module):
    return [key.rpartition(".")[0] for key in module.state_dict() if "weight" in key]


# -- activations ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ReLU", [0.0, 0.0, 2.0]),
        ("ELU", [np.expm1(-1.0), 0.0, 2.0]),
        ("GELU", [-0.15865525, 0.0, 1.9544997]),
        ("Tanh", np.tanh([-1.0, 0.0, 2.0])),
        ("Mish", [-0.30340144, 0.0, 1.943959]),
        ("Identity", [-1.0, 0.0, 2.0]),
        ("Softplus", np.log1p(np.exp([-1.0, 0.0, 2.0]))),
    ],
)
def test_activations_by_name(name, expected):
    out = make_activation(name)(tf.constant([-1.0, 0.0, 2.0]))
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)
    assert make_activation(name) is not make_activation(name)


def test_unknown_activation_is_refused_with_the_known_ones():
    assert len(activation_dict) == 7
    with pytest.raises(ValueError, match="ELU.*Tanh.*got 'Swish'"):
        make_activation("Swish")
    with pytest.raises(ValueError, match="got 'relu'"):
        MLP([1, 1], out_activation_type="relu")


# -- MLP ------------------------------------------------------------------------------


def test_mlp_by_hand():
    mlp = MLP([2, 2, 1], activation_type="ReLU", out_activation_type="Identity")
    mlp.load_state_dict(
        {
            "moduleList.0.linear_1.weight": np.float32([[1, 2], [-1, 0]]),
            "moduleList.0.linear_1.bias": np.float32([0.5, 1]),
            "moduleList.1.linear_1.weight": np.float32([[2, -3]]),
            "moduleList.1.linear_1.bias": np.float32([10]),
        }
    )
    # Hidden: relu(1 + 4 + .5, -1 + 1) = (5.5, 0), and relu(-3 + .5, 3 + 1) = (0, 4).
    out = mlp(tf.constant([[1.0, 2.0], [-3.0, 0.0]]))
    np.testing.assert_allclose(out, [[21.0], [-2.0]])


def test_mlp_order_is_linear_norm_activation():
    mlp = MLP([3, 4, 2], activation_type="Tanh", use_layernorm=True)
    state, x = set_parameters(mlp), normal(5, 3)
    hidden = linear(x, state, "moduleList.0.linear_1")
    hidden = np.tanh(layernorm(hidden, state, "moduleList.0.norm_1", 1e-5))
    expected = linear(hidden, state, "moduleList.1.linear_1")
    np.testing.assert_allclose(mlp(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "normed"),
    [
        ({}, []),
        ({"use_layernorm": True}, [0, 1]),
        ({"use_layernorm": True, "use_layernorm_final": True}, [0, 1, 2]),
        ({"use_layernorm_final": True}, []),
    ],
)
def test_mlp_norms_stand_where_asked(options, normed):
    found = [p for p in prefixes(MLP([2, 3, 4, 1], **options)) if "norm" in p]
    assert found == [f"moduleList.{i}.norm_1" for i in normed]


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        ({}, 0),
        ({"dropout": 0.1}, 2),
        ({"dropout": 0.1, "use_drop_final": True}, 3),
        ({"use_drop_final": True}, 0),
    ],
)
def test_mlp_dropout_stands_where_asked(options, dropped):
    mlp = MLP([2, 3, 4, 1], **options)
    layers = [m for m in mlp.modules() if isinstance(m, nn_Dropout)]
    assert len(layers) == dropped
    assert all(layer.p == 0.1 for layer in layers)


def test_mlp_activations_default_to_tanh_and_identity():
    mlp = MLP([2, 3, 1])
    state, x = set_parameters(mlp), normal(4, 2)
    hidden = np.tanh(linear(x, state, "moduleList.0.linear_1"))
    expected = linear(hidden, state, "moduleList.1.linear_1")
    np.testing.assert_allclose(mlp(x), expected, rtol=1e-5, atol=1e-6)


def test_mlp_extra_input_enters_the_named_layers():
    mlp = MLP([2, 3, 4, 1], append_dim=5, append_layers=[1, 2])
    shapes = [p.shape for n, p in mlp.named_parameters() if n.endswith("weight")]
    assert [tuple(s) for s in shapes] == [(3, 2), (4, 8), (1, 9)]
    state, x, extra = set_parameters(mlp), normal(6, 2), normal(6, 5, seed=1)
    out = np.tanh(linear(x, state, "moduleList.0.linear_1"))
    out = np.concatenate([out, extra], -1)
    out = np.tanh(linear(out, state, "moduleList.1.linear_1"))
    out = np.concatenate([out, extra], -1)
    expected = linear(out, state, "moduleList.2.linear_1")
    np.testing.assert_allclose(mlp(x, extra), expected, rtol=1e-4, atol=1e-5)


def test_mlp_extra_layers_without_width_change_nothing():
    mlp = MLP([2, 3, 1], append_layers=[0])
    x = normal(2, 2)
    np.testing.assert_array_equal(mlp(x, normal(2, 5)), mlp(x))


@pytest.mark.parametrize("mode", MODES)
def test_mlp_keeps_leading_axes(mode):
    out = in_mode(MLP([2, 3, 4]), mode)(tf.zeros([5, 6, 2]))
    assert out.shape == (5, 6, 4)
    assert out.dtype == tf.float32


@pytest.mark.parametrize(("kind", "mode"), [(MLP, "graph"), (ResidualMLP, "jit")])
def test_compiled_equals_eager(kind, mode):
    mlp = kind([3, 4, 4, 4, 2], activation_type="Mish", use_layernorm=True)
    x = tf.constant(normal(5, 3))

    def value_and_gradients(x):
        with tf.GradientTape() as tape:
            out = tf.reduce_sum(mlp(x) ** 2)
        return [out, *tape.gradient(out, mlp.parameters())]

    expected, actual = value_and_gradients(x), in_mode(value_and_gradients, mode)(x)
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)


def test_mlp_without_layer_is_refused():
    with pytest.raises(ValueError, match=r"at least two widths, got \[3\]"):
        MLP([3])


# -- ResidualMLP ----------------------------------------------------------------------


def test_residual_mlp_by_closed_form():
    mlp = ResidualMLP(
        [3, 4, 4, 4, 5],
        activation_type="Tanh",
        out_activation_type="ReLU",
        use_layernorm=True,
        use_layernorm_final=True,
    )
    state, x = set_parameters(mlp), normal(5, 3)
    h = linear(x, state, "layers.0")
    y = layernorm(h, state, "layers.1.norm1", 1e-6)
    y = linear(np.tanh(y), state, "layers.1.l1")
    y = layernorm(y, state, "layers.1.norm2", 1e-6)
    h = h + linear(np.tanh(y), state, "layers.1.l2")
    h = layernorm(linear(h, state, "layers.2"), state, "layers.3", 1e-5)
    expected = np.maximum(h, 0)
    np.testing.assert_allclose(mlp(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("hidden", "blocks"), [([4], 0), ([4, 4, 4], 1), ([4] * 7, 3), ([4, 9, 9], 1)]
)
def test_residual_mlp_has_a_block_for_two_hidden_layers(hidden, blocks):
    mlp = ResidualMLP([3, *hidden, 2])
    expected = ["layers.0"]
    expected += [
        f"layers.{i + 1}.{layer}" for i in range(blocks) for layer in ("l1", "l2")
    ]
    assert prefixes(mlp) == [*expected, f"layers.{blocks + 1}"]
    assert mlp(tf.zeros([7, 3])).shape == (7, 2)


def test_residual_mlp_without_block_is_linear():
    mlp = ResidualMLP([3, 4, 2])
    x, y = normal(5, 3), normal(5, 3, seed=1)
    bias = mlp(np.zeros((5, 3), np.float32))
    np.testing.assert_allclose(mlp(x + y), mlp(x) + mlp(y) - bias, atol=1e-5)


@pytest.mark.parametrize("dims", [[3], [3, 2], [3, 4, 4, 2], [3, 4, 4, 4, 4, 2]])
def test_residual_mlp_with_an_even_number_of_hidden_layers_is_refused(dims):
    with pytest.raises(ValueError, match="odd number of hidden layers"):
        ResidualMLP(dims)


def test_residual_dropout_is_refused_where_there_is_a_block():
    with pytest.raises(NotImplementedError, match="dropout must be 0 .* got 0.1"):
        ResidualMLP([3, 4, 4, 4, 2], dropout=0.1)
    assert ResidualMLP([3, 4, 2], dropout=0.1)(tf.zeros([1, 3])).shape == (1, 2)


def test_norms_of_a_block_have_an_eps_of_a_millionth():
    block = TwoLayerPreActivationResNetLinear(4, "Tanh", use_layernorm=True)
    state, x = set_parameters(block), 1e-3 * normal(3, 4)
    # So small that eps matters: the variance before the second norm, too.
    for name in ("l1.weight", "l1.bias"):
        state[name] = 1e-3 * state[name]
    block.load_state_dict(state)
    y = linear(np.tanh(layernorm(x, state, "norm1", 1e-6)), state, "l1")
    assert y.var(-1).max() < 1e-4
    y = linear(np.tanh(layernorm(y, state, "norm2", 1e-6)), state, "l2")
    np.testing.assert_allclose(block(x), x + y, rtol=1e-3, atol=1e-3)


def test_block_with_zero_second_layer_is_the_identity():
    block = TwoLayerPreActivationResNetLinear(4)
    block.l2.weight.assign(np.zeros((4, 4)))
    block.l2.bias.assign(np.zeros(4))
    x = normal(3, 4)
    np.testing.assert_array_equal(block(x), x)


# -- both -----------------------------------------------------------------------------


def test_make_mlp_chooses_the_style():
    options = {"activation_type": "ReLU", "use_layernorm": True}
    assert type(make_mlp(False, [2, 3, 1], **options)) is MLP
    assert type(make_mlp(True, [2, 3, 1], **options)) is ResidualMLP


@pytest.mark.parametrize("kind", [MLP, ResidualMLP])
def test_unknown_argument_is_refused(kind):
    with pytest.raises(TypeError, match="use_layer_norm"):
        kind([2, 3, 1], use_layer_norm=True)


@pytest.mark.parametrize("kind", [MLP, ResidualMLP])
def test_clone_is_independent(kind):
    mlp = kind([2, 3, 3, 3, 1], use_layernorm=True, out_activation_type="Tanh")
    copy, x = clone_network(mlp), normal(4, 2)
    before = mlp(x)
    np.testing.assert_array_equal(copy(x), before)
    for parameter in copy.parameters():
        parameter.assign(parameter + 1.0)
    np.testing.assert_array_equal(mlp(x), before)
