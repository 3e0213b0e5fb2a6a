import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import (
    as_numpy,
    assert_both_refuse,
    assert_same_function,
    random,
)
from util.torch_to_tf import (
    nn_Embedding,
    nn_LayerNorm,
    nn_Linear,
    nn_Module,
    nn_Sequential,
    nn_Tanh,
    torch_func_functional_call,
)

theirs = torch.func.functional_call
X = np.ones((1, 2), np.float32)
ZERO, TWO = np.zeros((2, 2), np.float32), np.full((2, 2), 2.0, np.float32)


class Ours(nn_Module):
    """A weight with two names, and a buffer of each kind."""

    def __init__(self):
        super().__init__()
        self.a = nn_Linear(2, 2, bias=False)
        self.w = self.a.weight
        self.c = nn_Linear(2, 1)
        self.register_buffer("k", np.ones(1, np.float32))
        self.register_buffer("h", np.ones(1, np.float32), persistent=False)
        for parameter in self.parameters():
            parameter.assign(tf.ones_like(parameter))

    def call(self, x, scale=1.0):
        return tf.matmul(self.a(x), self.w) + self.c(x) * self.k * scale + self.h


class Theirs(torch.nn.Module):
    """The same in PyTorch."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Linear(2, 2, bias=False)
        self.w = self.a.weight
        self.c = torch.nn.Linear(2, 1)
        self.register_buffer("k", torch.ones(1))
        self.register_buffer("h", torch.ones(1), persistent=False)
        for parameter in self.parameters():
            torch.nn.init.ones_(parameter)

    def forward(self, x, scale=1.0):
        return self.a(x) @ self.w + self.c(x) * self.k * scale + self.h


FULL = {
    "w": TWO,
    "a.weight": TWO,
    "c.weight": np.float32([[3.0, -1.0]]),
    "c.bias": np.float32([0.5]),
    "k": np.float32([5.0]),
    "h": np.float32([-2.0]),
}


def without(*names):
    return {name: value for name, value in FULL.items() if name not in names}


def calls(state, **options):
    """The call of ours and of PyTorch's; tensors that were one stay one."""
    made = {id(value): torch.from_numpy(value) for value in state.values()}
    peers = {name: made[id(value)] for name, value in state.items()}
    return (
        lambda: torch_func_functional_call(Ours(), dict(state), X, **options),
        lambda: theirs(Theirs(), peers, torch.from_numpy(X), **options),
    )


@pytest.mark.parametrize(
    ("state", "options"),
    [
        ({}, {}),
        ({"w": ZERO}, {}),
        ({"a.weight": ZERO}, {}),
        ({"w": ZERO, "a.weight": ZERO}, {}),
        ({"w": ZERO}, {"tie_weights": False}),
        ({"a.weight": ZERO}, {"tie_weights": False}),
        ({"w": ZERO, "a.weight": TWO}, {"tie_weights": False}),
        ({"k": FULL["k"], "h": FULL["h"]}, {}),
        ({"zz": ZERO, "a.zz": ZERO, "k": FULL["k"]}, {}),
        (FULL, {"strict": True}),
        (FULL, {"strict": True, "tie_weights": False}),
        (without("w"), {"strict": True}),
        (without("a.weight"), {"strict": True}),
        (FULL, {"kwargs": {"scale": 3.0}}),
    ],
)
def test_parameters_and_buffers_are_replaced_as_in_torch(state, options):
    ours, peer = calls(state, **options)
    np.testing.assert_allclose(ours(), peer().detach(), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_to_given_tensors_equal_torch(mode):
    layers = nn_Sequential(nn_Linear(3, 4), nn_Tanh(), nn_LayerNorm(4))
    peers = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.LayerNorm(4)
    )
    names = list(layers.state_dict())
    values = [
        random(v.shape, 3 + i) for i, v in enumerate(layers.state_dict().values())
    ]

    def call(function, module):
        return lambda x, *state: function(
            module, dict(zip(names, state, strict=True)), x
        )

    assert_same_function(
        call(torch_func_functional_call, layers),
        call(theirs, peers),
        [random((5, 3)), *values],
        mode,
        rtol=1e-4,
        atol=1e-5,
    )


def test_gradients_go_to_the_module_where_nothing_is_given():
    layer = nn_Linear(2, 1)
    weight = tf.constant([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        out = torch_func_functional_call(layer, {"weight": weight}, tf.constant(X))
    to_weight, to_bias = tape.gradient(out, [p.value for p in layer.parameters()])
    assert to_weight is None
    np.testing.assert_array_equal(to_bias, [1.0])


@pytest.mark.parametrize("options", [{}, {"tie_weights": False}])
def test_module_keeps_its_own_even_after_an_error(options):
    module = Ours()
    before, parameters = module(X).numpy(), module.parameters()
    state = {"w": ZERO, "k": FULL["k"]}
    torch_func_functional_call(module, state, X, **options)
    with pytest.raises(ValueError, match="expected in_features=2"):
        torch_func_functional_call(module, state, tf.zeros([1, 3]), **options)
    np.testing.assert_array_equal(module(X), before)
    assert all(x is y for x, y in zip(module.parameters(), parameters, strict=True))
    assert module.w is module.a.weight is parameters[0]


def test_modules_with_several_names_are_left_as_they_were():
    """PyTorch gives them their own parameters back in the wrong order."""

    class Twice(nn_Module):
        def __init__(self):
            super().__init__()
            self.a = nn_Linear(2, 2, bias=False)
            self.b = self.a
            self.a.weight.assign(np.ones((2, 2)))

        def call(self, x):
            return self.b(self.a(x))

    module = Twice()
    for name in ("a.weight", "b.weight"):
        for tie_weights in (True, False):
            found = torch_func_functional_call(
                module, {name: tf.eye(2)}, X, tie_weights=tie_weights
            )
            np.testing.assert_array_equal(found, [[1.0, 1.0]])
            np.testing.assert_array_equal(module(X), [[4.0, 4.0]])


@pytest.mark.parametrize("mode", MODES)
def test_buffers_that_the_module_changes_are_changed_in_the_dict(mode):
    class Counting(nn_Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", np.float32(0.0))

        def call(self, x):
            self.count = self.count + 1.0
            return x + self.count

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count = self.count + 1.0
            return x + self.count

    module, state = Counting(), {"count": torch.ones(())}
    expected = theirs(Peer(), state, torch.zeros(()))

    def call(count):
        given = {"count": count}
        return torch_func_functional_call(module, given, tf.zeros([])), given["count"]

    found, count = in_mode(call, mode)(tf.ones([]))
    assert found == expected == 2.0
    assert count == state["count"] == 2.0
    assert module.count.numpy() == 0.0


def test_several_dicts_and_arguments_equal_torch():
    dicts = ({"k": FULL["k"]}, {"h": FULL["h"]})
    peers = [{k: torch.from_numpy(v) for k, v in d.items()} for d in dicts]
    found = torch_func_functional_call(Ours(), dicts, (X, 3.0))
    expected = theirs(Theirs(), peers, (torch.from_numpy(X), 3.0))
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-6)


def test_variables_and_state_dicts_may_be_given():
    peer = Theirs()
    peer.load_state_dict({k: torch.from_numpy(v) for k, v in without("h").items()})
    state = as_numpy(peer.state_dict())
    state["a.weight"] = state["w"]
    found = torch_func_functional_call(Ours(), state, X)
    np.testing.assert_allclose(found, peer(torch.from_numpy(X)).detach(), rtol=1e-6)
    variables = {k: tf.Variable(v) for k, v in state.items() if k != "a.weight"}
    np.testing.assert_array_equal(
        torch_func_functional_call(Ours(), variables, X), found
    )


def test_an_embedding_takes_a_given_table():
    table = random((5, 3))
    found = torch_func_functional_call(
        nn_Embedding(5, 3), {"weight": table}, tf.constant([4, 0])
    )
    np.testing.assert_array_equal(found, table[[4, 0]])


def test_unknown_sizes_become_those_of_the_module():
    layer = nn_Linear(3, 2)
    call = in_mode(
        lambda w: torch_func_functional_call(layer, {"weight": w}, w), "graph"
    )
    concrete = call.get_concrete_function(tf.TensorSpec([None, 3]))
    assert concrete.outputs[0].shape.as_list() == [None, 2]


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "options", "message"),
    [
        ({"w": ZERO, "a.weight": TWO}, {}, r"\['w', 'a.weight'\] are tied"),
        ({"w": ZERO, "a.weight": ZERO.copy()}, {}, "are tied and must have one tensor"),
        ({"w": ZERO}, {"strict": True}, r"missing \['k', 'h', 'c.weight', 'c.bias'\]"),
        (without("h"), {"strict": True}, r"missing \['h'\], unexpected \[\]"),
        ({**FULL, "zz": ZERO}, {"strict": True}, r"missing \[\], unexpected \['zz'\]"),
        (
            without("w"),
            {"strict": True, "tie_weights": False},
            r"missing \['w'\], unexpected",
        ),
        ({"a": ZERO}, {}, "'a' must be a parameter or buffer, it is a module"),
    ],
)
def test_states_that_do_not_fit_are_refused(state, options, message):
    assert_both_refuse(*calls(state, **options), message)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "must be a dict or several, got 3"),
        ([3], r"must be a dict or several, got \[3\]"),
        ({"k": 3.0}, "'k' must be a tensor, got 3.0"),
    ],
)
def test_what_is_no_state_is_refused(given, message):
    assert_both_refuse(
        lambda: torch_func_functional_call(Ours(), given, X),
        lambda: theirs(Theirs(), given, torch.from_numpy(X)),
        message,
    )


def test_names_in_two_dicts_are_refused():
    assert_both_refuse(
        lambda: torch_func_functional_call(Ours(), [{"k": ZERO}, {"k": ZERO}], X),
        lambda: theirs(Theirs(), [{"k": torch.ones(1)}] * 2, torch.from_numpy(X)),
        r"must have \['k'\] only once",
    )


def test_names_of_modules_that_do_not_exist_are_refused():
    with pytest.raises(AttributeError):
        theirs(Theirs(), {"q.w": torch.ones(1)}, torch.from_numpy(X))
    with pytest.raises(ValueError, match="'q.w' must be in a module, there is no 'q'"):
        torch_func_functional_call(Ours(), {"q.w": ZERO}, X)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (np.ones(2, np.float32), ValueError, r"'k' must have shape \(1,\), got \(2,\)"),
        (np.ones(1), TypeError, "'k' must have type float32, got float64"),
    ],
)
def test_other_shapes_and_types_are_refused_unlike_in_torch(value, kind, message):
    assert theirs(Theirs(), {"k": torch.from_numpy(value)}, torch.from_numpy(X)).numel()
    with pytest.raises(kind, match=message):
        torch_func_functional_call(Ours(), {"k": value}, X)


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="module must be an nn_Module, got 3"):
        torch_func_functional_call(3, {}, X)
