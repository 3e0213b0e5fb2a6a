import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf.compare import as_numpy, as_torch, random
from util.torch_to_tf import (
    clone_network,
    nn_Dropout,
    nn_Linear,
    nn_Module,
    nn_Parameter,
    nn_Sequential,
    nn_Tanh,
)


class Ours(nn_Module):
    """Parameters, a buffer, submodules and an alias, in an order of its own."""

    def __init__(self, width, scale=2.0):
        super().__init__()
        self.head = nn_Linear(width, 1)
        self.register_buffer("count", np.int64(3))
        self.register_buffer("scratch", np.zeros(2, np.float32), persistent=False)
        self.zeta = nn_Parameter(np.full((2,), scale, np.float32))
        self.alpha = nn_Parameter(np.ones((1,), np.float32), requires_grad=False)
        self.body = nn_Sequential(nn_Linear(3, width), nn_Dropout(0.5))
        self.alias = self.head

    def call(self, x):
        return self.head(self.body(x)) * self.zeta


class Theirs(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        nn = torch.nn
        self.head = nn.Linear(width, 1)
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.zeta = nn.Parameter(torch.full((2,), 2.0))
        self.alpha = nn.Parameter(torch.ones(1), requires_grad=False)
        self.body = nn.Sequential(nn.Linear(3, width), nn.Dropout(0.5))
        self.alias = self.head


class Holder(nn_Module):
    """Takes modules as arguments, alone and in a list."""

    def __init__(self, one, *, many=(), **kwargs):
        super().__init__(**kwargs)
        self.one, self.many = one, nn_Sequential(*many)


def assert_states_equal(first, second):
    assert list(first) == list(second)
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


def test_names_and_order_equal_torch():
    ours, theirs = Ours(4), Theirs(4)
    for method in ("named_parameters", "named_modules"):
        names = [name for name, _ in getattr(ours, method)()]
        assert names == [name for name, _ in getattr(theirs, method)()], method
    assert len(ours.parameters()) == len(list(theirs.parameters())) == 6
    assert len(list(ours.modules())) == len(list(theirs.modules()))


def test_state_dicts_fit_both_ways_aliases_twice():
    ours, theirs = Ours(4), Theirs(4)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert "alias.weight" in ours.state_dict()
    ours.load_state_dict(as_numpy(theirs.state_dict()), strict=True)
    assert_states_equal(ours.state_dict(), as_numpy(theirs.state_dict()))
    theirs.load_state_dict(as_torch(Ours(4).state_dict()), strict=True)


def test_state_dict_is_a_copy_with_the_dtypes_of_the_variables():
    module = Ours(4)
    state = module.state_dict()
    assert state["count"].dtype == np.int64
    assert state["zeta"].dtype == np.float32
    module.zeta.assign([7.0, 7.0])
    np.testing.assert_array_equal(state["zeta"], [2.0, 2.0])


def test_last_of_two_aliases_wins_on_load_as_in_torch():
    ours, theirs = Ours(4), Theirs(4)
    state = {**ours.state_dict(), "head.bias": np.float32([1])}
    state["alias.bias"] = np.float32([2])
    ours.load_state_dict(state)
    theirs.load_state_dict(as_torch(state))
    assert ours.head.bias.numpy() == theirs.head.bias.detach().numpy() == [2.0]


def test_loose_loading_reports_and_ignores_other_keys():
    ours, theirs = Ours(4), Theirs(4)
    state = {"zeta": np.float32([5, 6]), "other.weight": np.zeros(3, np.float32)}
    missing, unexpected = ours.load_state_dict(state, strict=False)
    expected = theirs.load_state_dict(as_torch(state), strict=False)
    assert missing == expected.missing_keys
    assert unexpected == expected.unexpected_keys == ["other.weight"]
    np.testing.assert_array_equal(ours.zeta.numpy(), [5, 6])


def test_strict_loading_refuses_other_keys_and_changes_nothing():
    module = Ours(4)
    before = module.state_dict()
    state = {key: value + 1 for key, value in before.items() if key != "alpha"}
    with pytest.raises(ValueError, match="Ours: missing keys: alpha; unexpected .*x$"):
        module.load_state_dict({**state, "x": np.zeros(1)})
    assert_states_equal(module.state_dict(), before)


@pytest.mark.parametrize("strict", [True, False])
def test_another_shape_is_refused_and_changes_nothing(strict):
    module = Ours(4)
    before = module.state_dict()
    state = {**{k: v + 1 for k, v in before.items()}, "zeta": np.zeros((3,))}
    with pytest.raises(ValueError, match=r"zeta has shape \(3,\), expected \(2,\)"):
        module.load_state_dict(state, strict)
    assert_states_equal(module.state_dict(), before)


def test_buffers_are_not_parameters_and_only_persistent_ones_are_saved():
    module = Ours(4)
    assert module.count.numpy() == 3
    assert not module.count.trainable
    names = {name for name, _ in module.named_parameters()}
    assert not {"count", "scratch"} & names
    assert "scratch" not in module.state_dict()


def test_module_under_a_name_that_keras_keeps():
    module = nn_Module()
    module.add_module("layers", nn_Linear(1, 1))
    assert list(module.state_dict()) == ["layers.weight", "layers.bias"]


def test_children_are_the_direct_submodules():
    module = Holder(nn_Tanh(), many=[nn_Linear(1, 1)])
    assert dict(module.named_children()) == {"one": module.one, "many": module.many}


def test_modes_are_set_below_and_returned():
    module = Ours(4)
    assert all(m.training for m in module.modules())
    assert module.eval() is module
    assert not any(m.training for m in module.modules())
    assert module.train() is module
    assert all(m.training for m in module.modules())


def test_requires_grad_reaches_every_parameter():
    module = Ours(4)
    assert module.requires_grad_(False) is module
    assert not any(p.requires_grad for p in module.parameters())
    module.requires_grad_()
    assert all(p.requires_grad for p in module.parameters())


def test_frozen_parameters_get_no_gradient():
    module = Ours(4).eval()
    module.body.requires_grad_(False)
    with tf.GradientTape() as tape:
        out = tf.reduce_sum(module(tf.ones([1, 3])))
    gradients = tape.gradient(out, module.parameters())
    given = {
        name: gradient is not None
        for (name, _), gradient in zip(
            module.named_parameters(), gradients, strict=True
        )
    }
    assert given == {
        "zeta": True,
        "alpha": False,
        "head.weight": True,
        "head.bias": True,
        "body.0.weight": False,
        "body.0.bias": False,
    }


def test_call_does_not_cast_its_input():
    assert nn_Tanh()(tf.ones([1], tf.float64)).dtype == tf.float64


def test_works_inside_a_functional_keras_model():
    layer, x = nn_Linear(3, 2), random((4, 3))
    inputs = keras.Input((3,))
    model = keras.Model(inputs, nn_Tanh()(layer(inputs)))
    np.testing.assert_allclose(model(x), np.tanh(layer(x)), rtol=1e-6)
    assert len(model.trainable_variables) == 2


def test_config_holds_the_constructor_arguments():
    assert Ours(4).get_config() == {"width": 4, "scale": 2.0}
    assert Ours(scale=1.0, width=4).get_config() == {"width": 4, "scale": 1.0}


def test_config_of_modules_among_the_arguments():
    holder = Holder(nn_Linear(2, 3), many=[nn_Tanh(), nn_Linear(3, 1)], name="h")
    copy = Holder.from_config(holder.get_config())
    assert copy.get_config() == holder.get_config()
    assert copy.name == "h"
    assert isinstance(copy.one, nn_Linear)
    assert copy.one is not holder.one
    assert [type(m) for m in copy.many] == [nn_Tanh, nn_Linear]


def test_clone_has_equal_state_and_no_shared_variable():
    module = Ours(4, scale=3.0)
    module.head.bias.assign([9.0])
    copy = clone_network(module)
    assert_states_equal(copy.state_dict(), module.state_dict())
    before = module.state_dict()
    for parameter in copy.parameters():
        parameter.assign(parameter + 1.0)
    assert_states_equal(module.state_dict(), before)
    assert copy.alias is copy.head


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="unexpected keyword argument 'witdh'"):
        Ours(4, witdh=4)
    with pytest.raises(TypeError, match="missing a required argument: 'width'"):
        Ours()
    with pytest.raises(ValueError, match="Unrecognized keyword .*foo"):
        Holder(nn_Tanh(), foo=1)
