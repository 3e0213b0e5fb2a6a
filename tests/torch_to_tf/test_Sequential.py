import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.compare import assert_configurable, assert_same_module, random
from util.torch_to_tf import (
    clone_network,
    nn_LayerNorm,
    nn_Linear,
    nn_Mish,
    nn_Sequential,
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
    keys = {key.split(".")[0] for key in ours().state_dict()}
    assert keys == {"0", "2"}


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
