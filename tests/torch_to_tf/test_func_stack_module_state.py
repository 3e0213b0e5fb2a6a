import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import as_torch, assert_both_refuse, random
from util.torch_to_tf import (
    nn_Linear,
    nn_Mish,
    nn_Module,
    nn_ModuleList,
    nn_Parameter,
    nn_Sequential,
    nn_Tanh,
    torch_func_functional_call,
    torch_func_stack_module_state,
    torch_optim_Adam,
    torch_vmap,
)

theirs = torch.func.stack_module_state


class Ours(nn_Module):
    """A tied parameter, and a buffer of each kind."""

    def __init__(self):
        super().__init__()
        self.a = nn_Linear(2, 2)
        self.w = self.a.weight
        self.register_buffer("k", random((3,)))
        self.register_buffer("h", np.int64(2), persistent=False)


class Theirs(torch.nn.Module):
    """The same in PyTorch."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(2, 2)
        self.w = self.a.weight
        self.register_buffer("k", torch.from_numpy(random((3,))))
        self.register_buffer("h", torch.tensor(2), persistent=False)


def network():
    return nn_Sequential(nn_Linear(3, 4), nn_Mish(), nn_Linear(4, 2))


def peer():
    layers = torch.nn.Linear(3, 4), torch.nn.Mish(), torch.nn.Linear(4, 2)
    return torch.nn.Sequential(*layers)


def test_names_order_and_values_equal_torch():
    models, peers = [Ours() for _ in range(3)], [Theirs() for _ in range(3)]
    for model, other in zip(models, peers, strict=True):
        other.load_state_dict(as_torch(model.state_dict()))
    found, expected = torch_func_stack_module_state(models), theirs(peers)
    for own, other in zip(found, expected, strict=True):
        assert list(own) == list(other)
        for name, value in own.items():
            assert value.dtype.name == other[name].detach().numpy().dtype.name
            np.testing.assert_array_equal(value, other[name].detach(), err_msg=name)


def test_trained_parameters_become_variables_of_their_own():
    models = nn_ModuleList([nn_Linear(2, 1) for _ in range(2)])
    for model in models:
        model.bias.requires_grad = False
    parameters, buffers = torch_func_stack_module_state(models)
    assert buffers == {}
    assert isinstance(parameters["weight"], tf.Variable)
    assert parameters["weight"].trainable
    assert not isinstance(parameters["bias"], tf.Variable)
    before = models[0].weight.numpy()
    parameters["weight"].assign(tf.zeros([2, 1, 2]))
    np.testing.assert_array_equal(models[0].weight.numpy(), before)


@pytest.mark.parametrize("mode", MODES)
def test_ensemble_equals_each_module_and_torch(mode):
    models, peers = [network() for _ in range(3)], [peer() for _ in range(3)]
    for model, other in zip(models, peers, strict=True):
        other.load_state_dict(as_torch(model.state_dict()))
    x = random((5, 3))

    def call(x):
        parameters, buffers = torch_func_stack_module_state(models)

        def one(parameters, buffers, x):
            return torch_func_functional_call(models[0], (parameters, buffers), x)

        return torch_vmap(one, (0, 0, None))(parameters, buffers, x)

    found = in_mode(call, mode)(tf.constant(x))
    np.testing.assert_allclose(found, [m(x) for m in models], rtol=1e-5, atol=1e-6)
    states = theirs(peers)
    expected = torch.vmap(
        lambda p, b, x: torch.func.functional_call(peers[0], (p, b), x), (0, 0, None)
    )(*states, torch.from_numpy(x))
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-6)


def test_ensemble_trains_in_compiled_code():
    models = [nn_Linear(1, 1) for _ in range(4)]
    parameters, _ = torch_func_stack_module_state(models)
    optimizer = torch_optim_Adam(parameters.values(), lr=0.05)
    x = tf.constant([[-1.0], [0.0], [1.0]])

    def step():
        with tf.GradientTape() as tape:
            out = torch_vmap(
                lambda state: torch_func_functional_call(models[0], state, x)
            )(parameters)
            loss = tf.reduce_mean((out - (2.0 * x + 1.0)) ** 2)
        optimizer.apply(tape.gradient(loss, list(parameters.values())))
        return loss

    compiled = in_mode(step, "graph")
    losses = [compiled().numpy() for _ in range(300)]
    assert losses[-1] < 1e-3 < losses[0]
    np.testing.assert_allclose(parameters["weight"], np.full((4, 1, 1), 2.0), atol=0.05)
    assert compiled.experimental_get_tracing_count() == 1


def test_no_gradient_goes_to_the_modules():
    models = [nn_Linear(2, 1) for _ in range(2)]
    weights = [model.weight.value for model in models]

    def gradients():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(torch_func_stack_module_state(models)[0]["weight"])
        return [g is None for g in tape.gradient(total, weights)]

    assert gradients() == in_mode(gradients, "graph")() == [True, True]


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "peers", "message"),
    [
        (lambda: [], lambda: [], "models must be at least one, got none"),
        (
            lambda: [nn_Linear(1, 1), nn_Linear(1, 1).eval()],
            lambda: [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1).eval()],
            r"must be in one mode, got training=\[True, False\]",
        ),
        (
            lambda: [nn_Linear(1, 1), nn_Tanh()],
            lambda: [torch.nn.Linear(1, 1), torch.nn.Tanh()],
            r"must be of one class, got \['nn_Linear', 'nn_Tanh'\]",
        ),
        (
            lambda: [nn_Linear(1, 1), nn_Linear(1, 2)],
            lambda: [torch.nn.Linear(1, 1), torch.nn.Linear(1, 2)],
            r"weight must have one shape in all models, got \[\(1, 1\), \(2, 1\)\]",
        ),
        (
            lambda: nn_Linear(1, 1),
            lambda: torch.nn.Linear(1, 1),
            "models must be a sequence of modules",
        ),
    ],
)
def test_models_that_do_not_fit_are_refused(ours, peers, message):
    assert_both_refuse(
        lambda: torch_func_stack_module_state(ours()), lambda: theirs(peers()), message
    )


def test_parameters_that_are_trained_in_some_models_only_are_refused():
    models = [nn_Linear(1, 1), nn_Linear(1, 1)]
    models[0].weight.requires_grad = False
    others = [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]
    others[0].weight.requires_grad = False
    assert_both_refuse(
        lambda: torch_func_stack_module_state(models),
        lambda: theirs(others),
        r"weight must be trained in all models or none, got \[False, True\]",
    )


@pytest.mark.parametrize("bias", [(True, False), (False, True)])
def test_parameters_that_only_some_models_have_are_refused(bias):
    """PyTorch finds that only if the first model has them."""
    models = [nn_Linear(1, 1, bias=b) for b in bias]
    with pytest.raises(ValueError, match="models must have"):
        torch_func_stack_module_state(models)


@pytest.mark.parametrize("model", [3, nn_Parameter(np.float32(1.0))])
def test_what_is_no_module_is_refused(model):
    with pytest.raises(TypeError, match="models must be modules, got"):
        torch_func_stack_module_state([model])
