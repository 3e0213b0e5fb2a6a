import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import as_numpy, as_torch, assert_both_refuse
from util.torch_to_tf import (
    nn_Linear,
    nn_Module,
    nn_Parameter,
    nn_Sequential,
    torch_register_buffer,
)

VALUES = {
    "mean": np.float32([1, 2]),
    "whole": np.array(3),
    "mask": np.array([[True, False]]),
    "empty": np.zeros((0, 2), np.float64),
}


def both(register):
    """A module of ours and one of PyTorch after `register(module, function)`."""
    ours, theirs = nn_Module(), torch.nn.Module()
    register(ours, lambda m, name, x, *args: torch_register_buffer(m, name, x, *args))
    register(
        theirs,
        lambda m, name, x, *args: m.register_buffer(
            name, None if x is None else torch.from_numpy(np.asarray(x)), *args
        ),
    )
    return ours, theirs


def assert_same(ours, theirs):
    state, expected = ours.state_dict(), as_numpy(theirs.state_dict())
    assert list(state) == list(expected)
    for key, value in state.items():
        assert value.dtype == expected[key].dtype
        np.testing.assert_array_equal(value, expected[key])
    names = [name for name, _ in ours.named_buffers()]
    assert names == [name for name, _ in theirs.named_buffers()]
    theirs.load_state_dict(as_torch(state), strict=True)
    assert ours.load_state_dict(expected) == ([], [])


def test_values_types_and_keys_equal_torch():
    def register(module, function):
        for name, value in VALUES.items():
            function(module, name, value)

    ours, theirs = both(register)
    assert_same(ours, theirs)
    for name, value in VALUES.items():
        np.testing.assert_array_equal(getattr(ours, name), value)


def test_a_buffer_that_is_not_persistent_is_not_saved():
    def register(module, function):
        function(module, "kept", VALUES["mean"])
        function(module, "scratch", VALUES["mean"], False)

    assert_same(*both(register))


def test_none_is_a_buffer_without_an_entry():
    ours, theirs = both(lambda module, function: function(module, "late", None))
    assert ours.late is theirs.late is None
    assert_same(ours, theirs)
    ours.late, theirs.late = VALUES["mean"], torch.from_numpy(VALUES["mean"])
    assert_same(ours, theirs)
    ours.late = theirs.late = None
    assert_same(ours, theirs)


@pytest.mark.parametrize("flags", [(True, False), (False, True), (True, True)])
def test_a_buffer_may_be_registered_again(flags):
    def register(module, function):
        function(module, "one", VALUES["mean"], flags[0])
        function(module, "two", VALUES["whole"])
        function(module, "one", np.float64([[5]]), flags[1])

    ours, theirs = both(register)
    assert_same(ours, theirs)
    np.testing.assert_array_equal(ours.one, [[5.0]])
    assert len(ours.variables) == 2


def test_assignment_changes_the_buffer():
    ours, theirs = both(lambda m, f: f(m, "mean", VALUES["mean"], True))
    for value in (VALUES["mean"] + 1, np.float32([1, 2, 3])):
        ours.mean, theirs.mean = tf.constant(value), torch.from_numpy(value)
        assert_same(ours, theirs)


def test_a_parameter_takes_the_place_of_a_buffer():
    ours, theirs = both(lambda m, f: f(m, "x", VALUES["mean"]))
    ours.x = nn_Parameter(VALUES["mean"])
    theirs.x = torch.nn.Parameter(torch.from_numpy(VALUES["mean"]))
    assert_same(ours, theirs)
    assert [name for name, _ in ours.named_parameters()] == ["x"]


@pytest.mark.parametrize("mode", MODES)
def test_compiled_code_can_assign(mode):
    module = nn_Module()
    torch_register_buffer(module, "steps", tf.constant(0.0))

    def count(x):
        module.steps = module.steps + x
        return 2.0 * module.steps

    function = in_mode(count, mode)
    assert [function(tf.constant(3.0)).numpy() for _ in range(2)] == [6.0, 12.0]
    assert module.steps.numpy() == 6.0
    assert module.state_dict()["steps"] == 6.0


def test_the_value_is_copied_and_never_trained():
    value = np.zeros(1000, np.float32)
    module = nn_Module()
    torch_register_buffer(module, "x", value)
    value[:] = 1.0
    np.testing.assert_array_equal(module.x, np.zeros(1000))
    assert not module.x.trainable
    assert module.parameters() == []


def test_buffers_of_inner_modules_have_their_path():
    def build(nn, register, first, second):
        inner = nn()
        register(inner, "x", first)
        outer = nn()
        outer.first, outer.second = inner, inner
        register(outer, "y", second, False)
        return outer

    values = np.ones(2), np.zeros(2)
    ours = build(nn_Module, torch_register_buffer, *values)
    theirs = build(
        torch.nn.Module,
        torch.nn.Module.register_buffer,
        *map(torch.from_numpy, values),
    )
    assert_same(ours, theirs)
    assert [tuple(b.shape) for b in ours.buffers()] == [(2,), (2,)]
    assert nn_Sequential(ours).state_dict().keys() == {"0.first.x", "0.second.x"}


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a.b", "must not be empty or have a dot, got 'a.b'"),
        ("", "must not be empty or have a dot, got ''"),
        (1, "name must be a string, got 1"),
        ("training", "name must be free, but 'training' is an attribute"),
        ("weight", "name must be free, but 'weight' is an attribute"),
        ("forward_or_call", None),
    ],
)
def test_names_are_refused_as_in_torch(name, match):
    ours, theirs, x = nn_Linear(1, 1), torch.nn.Linear(1, 1), torch.ones(1)
    if match is None:
        torch_register_buffer(ours, name, np.ones(1))
        theirs.register_buffer(name, x)
        return
    assert_both_refuse(
        lambda: torch_register_buffer(ours, name, np.ones(1)),
        lambda: theirs.register_buffer(name, x),
        match,
    )
    assert list(ours.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize("value", [1, [1.0], "a"])
def test_values_that_are_no_tensors_are_refused(value):
    assert_both_refuse(
        lambda: torch_register_buffer(nn_Module(), "x", value),
        lambda: torch.nn.Module().register_buffer("x", value),
        "buffer 'x' must be a tensor or None",
    )
    ours, theirs = both(lambda m, f: f(m, "x", VALUES["mean"]))
    assert_both_refuse(
        lambda: setattr(ours, "x", value),
        lambda: setattr(theirs, "x", value),
        "buffer 'x' must be a tensor or None",
    )
    assert_same(ours, theirs)


def test_another_module_is_refused():
    with pytest.raises(TypeError, match="module must be an nn_Module, got 3"):
        torch_register_buffer(3, "x", np.ones(1))
