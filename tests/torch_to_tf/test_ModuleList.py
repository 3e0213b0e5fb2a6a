import pytest
import torch

from tests.torch_to_tf.compare import as_torch, assert_configurable
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
