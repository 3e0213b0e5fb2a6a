from collections import OrderedDict

import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import (
    assert_both_refuse,
    assert_configurable,
    assert_same_module,
    random,
)
from tests.torch_to_tf.container_cases import (
    EDITS,
    assert_edits_equal_torch,
    keys,
    linears,
)
from util.torch_to_tf import (
    clone_network,
    nn_LayerNorm,
    nn_Linear,
    nn_Mish,
    nn_ReLU,
    nn_Sequential,
    nn_Tanh,
)


def ours() -> nn_Sequential:
    inner = nn_Sequential(nn_LayerNorm(4), nn_Linear(4, 2))
    return nn_Sequential(nn_Linear(3, 4), nn_Mish(), inner)


def theirs() -> torch.nn.Sequential:
    nn = torch.nn
    inner = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))
    return nn.Sequential(nn.Linear(3, 4), nn.Mish(), inner)


@pytest.mark.parametrize("mode", MODES)
def test_values_gradients_and_state_equal_torch(mode):
    assert_same_module(ours(), theirs(), random((5, 3)), mode, atol=1e-5)


def test_keys_leave_gaps_for_modules_without_parameters():
    names = {key.split(".")[0] for key in ours().state_dict()}
    assert names == {"0", "2"}


def test_is_a_sequence_of_its_modules():
    network = ours()
    assert len(network) == len(theirs()) == 3
    assert [type(m) for m in network] == [nn_Linear, nn_Mish, nn_Sequential]
    assert network[-1] is list(network)[2]
    with pytest.raises(IndexError):
        network[3]


def test_empty_returns_its_input():
    assert nn_Sequential()(1.5) == 1.5
    assert len(nn_Sequential()) == 0


def test_config_round_trip_and_clone_of_nested_modules():
    network = ours()
    assert_configurable(network)
    copy = clone_network(network)
    assert_same_module(copy, theirs(), random((5, 3)), atol=1e-5)
    assert copy[2][0] is not network[2][0]


class Scaled(nn_Linear):
    def __init__(self, scale: float, **options) -> None:
        super().__init__(**options)
        self.scale = scale


def test_config_has_further_arguments_under_any_name():
    part = Scaled(2.0, in_features=3, out_features=4, bias=False)
    config = part.get_config()
    assert (config["scale"], config["in_features"], config["bias"]) == (2.0, 3, False)
    copy = clone_network(part)
    assert (copy.scale, list(copy.state_dict())) == (2.0, ["weight"])


# -- names ---------------------------------------------------------------------------


def named():
    pair = OrderedDict(first=nn_Linear(3, 4), act=nn_Tanh(), last=nn_Linear(4, 2))
    nn = torch.nn
    other = OrderedDict(first=nn.Linear(3, 4), act=nn.Tanh(), last=nn.Linear(4, 2))
    return nn_Sequential(pair), nn.Sequential(other)


def test_an_ordered_dict_names_the_modules():
    own, their = named()
    assert_same_module(own, their, random((5, 3)))
    assert own.first is own[0]
    assert own.last is own[-1]
    assert_configurable(own)
    assert_same_module(clone_network(own), their, random((5, 3)))


def test_a_slice_keeps_the_names():
    own, their = named()
    for part in (slice(1, None), slice(None, None, 2), slice(0, 0), slice(-1, None)):
        assert keys(own[part]) == keys(their[part])
    assert type(own[:2]) is nn_Sequential
    assert own[1:][0] is own.act
    whole = nn_Sequential(*linears(nn_Linear, 3))
    assert keys(whole[1:]) == ["1.weight", "1.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("name", ["", "a.b", "append"])
def test_impossible_names_are_refused(name):
    with pytest.raises(KeyError):
        torch.nn.Sequential(OrderedDict({name: torch.nn.Tanh()}))
    with pytest.raises(ValueError, match="name must"):
        nn_Sequential(OrderedDict({name: nn_Tanh()}))


# -- changes -------------------------------------------------------------------------


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_changes_equal_torch(edit):
    assert_edits_equal_torch(
        edit,
        nn_Sequential(*linears(nn_Linear)),
        torch.nn.Sequential(*linears(torch.nn.Linear)),
    )


def test_a_changed_sequence_has_a_config_and_a_clone():
    network = nn_Sequential(nn_Linear(3, 4)).append(nn_Tanh())
    network.insert(1, nn_Linear(4, 4))
    del network[-1]
    assert_configurable(network)
    copy = clone_network(network)
    assert [type(m) for m in copy] == [nn_Linear, nn_Linear]
    assert len(network.trainable_variables) == 4


def test_a_replaced_module_is_called_and_saved():
    own, their = named()
    own[1], their[1] = nn_ReLU(), torch.nn.ReLU()
    own[-1], their[-1] = nn_Linear(4, 5), torch.nn.Linear(4, 5)
    assert_same_module(own, their, random((5, 3)))
    assert own.last is own[2]
    assert len(own.trainable_variables) == 4


def test_sums_and_multiples_equal_torch():
    own, their = (
        nn_Sequential(nn_Linear(3, 3)),
        torch.nn.Sequential(torch.nn.Linear(3, 3)),
    )
    pairs = [
        (own + nn_Sequential(nn_Tanh()), their + torch.nn.Sequential(torch.nn.Tanh())),
        (own * 3, their * 3),
        (2 * own, 2 * their),
    ]
    for one, other in pairs:
        assert_same_module(one, other, random((5, 3)))
    assert (own * 3)[2] is own[0]
    own += nn_Sequential(nn_Linear(3, 3))
    their += torch.nn.Sequential(torch.nn.Linear(3, 3))
    own *= 2
    their *= 2
    assert_same_module(own, their, random((5, 3)))


@pytest.mark.parametrize(
    ("operation", "match"),
    [
        (lambda m: m[4], r"idx must be in \[-4, 3\], got 4"),
        (lambda m: m[-5], r"idx must be in \[-4, 3\], got -5"),
        (lambda m: m["0"], "str"),
        (lambda m: m.__delitem__(4), "idx must be"),
        (lambda m: m.pop(-5), "idx must be"),
        (lambda m: m.append(3), "module must be an nn_Module, got 3"),
        (lambda m: m.extend(3), "modules must be iterable, got 3"),
        (lambda m: m.insert(5, m[0]), r"index must be in \[-4, 4\], got 5"),
        (lambda m: m + [m[0]], "other must be an nn_Sequential"),
        (lambda m: m * 2.0, "other must be an int, got 2.0"),
        (lambda m: m * 0, "other must be positive, got 0"),
        (lambda m: m.__imul__(-1), "other must be positive, got -1"),
        (lambda m: type(m)(3), "module must be an nn_Module, got 3"),
    ],
)
def test_what_torch_refuses_is_refused(operation, match):
    assert_both_refuse(
        lambda: operation(nn_Sequential(*linears(nn_Linear))),
        lambda: operation(torch.nn.Sequential(*linears(torch.nn.Linear))),
        match,
    )


def test_no_module_is_inserted_but_a_module():
    with pytest.raises(AssertionError):
        torch.nn.Sequential().insert(0, 3)
    with pytest.raises(TypeError, match="module must be an nn_Module, got 3"):
        nn_Sequential().insert(0, 3)
