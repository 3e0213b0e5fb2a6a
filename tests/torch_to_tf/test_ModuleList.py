import pytest
import torch

from tests.torch_to_tf.compare import (
    as_torch,
    assert_both_refuse,
    assert_configurable,
)
from tests.torch_to_tf.container_cases import (
    EDITS,
    assert_edits_equal_torch,
    inputs,
    keys,
    linears,
)
from util.torch_to_tf import nn_Linear, nn_Module, nn_ModuleList, nn_Tanh


class Ours(nn_Module):
    def __init__(self):
        super().__init__()
        self.items = nn_ModuleList([nn_Linear(2, 3), nn_Tanh()])
        self.items.append(nn_Linear(3, 1))


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.items = nn.ModuleList([nn.Linear(2, 3), nn.Tanh()])
        self.items.append(nn.Linear(3, 1))


def test_keys_and_order_equal_torch():
    ours, theirs = Ours(), Theirs()
    theirs.load_state_dict(as_torch(ours.state_dict()), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_append_extends_and_returns_the_list():
    modules = nn_ModuleList()
    tanh = nn_Tanh()
    assert modules.append(tanh) is modules
    assert len(modules) == 1
    assert modules[0] is modules[-1] is tanh
    assert list(modules) == [tanh]


def test_cannot_be_called_as_in_torch():
    with pytest.raises(NotImplementedError):
        nn_ModuleList([nn_Tanh()])(1.0)


def test_config_round_trip():
    assert_configurable(nn_ModuleList([nn_Linear(2, 3, bias=False), nn_Tanh()]))


def test_a_changed_list_has_a_config():
    modules = nn_ModuleList([nn_Linear(2, 3)])
    modules.append(nn_Tanh())
    assert_configurable(modules)
    copy = nn_ModuleList.from_config(modules.get_config())
    assert [type(m) for m in copy] == [nn_Linear, nn_Tanh]


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_changes_equal_torch(edit):
    ours, theirs = (
        make(linears(linear))
        for make, linear in (
            (nn_ModuleList, nn_Linear),
            (torch.nn.ModuleList, torch.nn.Linear),
        )
    )
    assert_edits_equal_torch(edit, ours, theirs)


def test_slices_are_numbered_anew():
    ours = nn_ModuleList(linears(nn_Linear))
    theirs = torch.nn.ModuleList(linears(torch.nn.Linear))
    for part in (slice(1, None), slice(None, None, -1), slice(0, 0), slice(-1, None)):
        assert type(ours[part]) is nn_ModuleList
        assert keys(ours[part]) == keys(theirs[part])
        assert inputs(ours[part]) == inputs(theirs[part])
    assert ours[2:][0] is ours[2]


def test_sums_equal_torch():
    ours = nn_ModuleList(linears(nn_Linear, 2))
    theirs = torch.nn.ModuleList(linears(torch.nn.Linear, 2))
    assert keys(ours + ours) == keys(theirs + theirs)
    assert keys(ours + list(ours)) == keys(theirs + list(theirs))
    ours += linears(nn_Linear, 1)
    theirs += linears(torch.nn.Linear, 1)
    assert inputs(ours) == inputs(theirs) == [1, 2, 1]


def test_any_iterable_is_taken():
    assert inputs(nn_ModuleList(iter(linears(nn_Linear)))) == [1, 2, 3, 4]
    assert len(nn_ModuleList()) == len(nn_ModuleList(None)) == 0


@pytest.mark.parametrize(
    ("operation", "match"),
    [
        (lambda m: m[4], r"idx must be in \[-4, 3\], got 4"),
        (lambda m: m[-5], r"idx must be in \[-4, 3\], got -5"),
        (lambda m: m[1.0], "float"),
        (lambda m: m.pop(4), "idx must be"),
        (lambda m: m.__setitem__(4, m[0]), "idx must be"),
        (lambda m: m.append("layer"), "module must be an nn_Module, got 'layer'"),
        (lambda m: m.extend(3), "modules must be iterable, got 3"),
        (lambda m: type(m)([3]), "module must be an nn_Module, got 3"),
        (lambda m: type(m)(3), "modules must be iterable, got 3"),
    ],
)
def test_what_torch_refuses_is_refused(operation, match):
    assert_both_refuse(
        lambda: operation(nn_ModuleList(linears(nn_Linear))),
        lambda: operation(torch.nn.ModuleList(linears(torch.nn.Linear))),
        match,
    )


def test_places_to_insert_at_are_those_of_a_list():
    # PyTorch takes any, and loses modules.
    for place in (5, -5):
        with pytest.raises(IndexError, match=rf"must be in \[-4, 4\], got {place}"):
            nn_ModuleList(linears(nn_Linear)).insert(place, nn_Tanh())
