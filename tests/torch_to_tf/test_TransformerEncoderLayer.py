import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf import transformer_cases as cases
from tests.torch_to_tf.attention_cases import E, L, N, causal, sequences
from tests.torch_to_tf.compare import assert_both_refuse, assert_configurable
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_same_calls,
    assert_unknown_sizes_work,
)
from util.torch_to_tf import nn_TransformerEncoderLayer


def ours(**options):
    return nn_TransformerEncoderLayer(**{**cases.sizes(), **options})


def theirs(**options):
    return torch.nn.TransformerEncoderLayer(**{**cases.sizes(), **options})


def masked(layer, x, mask, padding):
    return layer(x, mask, padding)


@pytest.mark.parametrize("options", cases.OPTIONS.values(), ids=cases.OPTIONS)
@pytest.mark.parametrize("batched", [True, False])
def test_values_gradients_and_state_equal_torch(options, batched):
    given = sequences("batch_first" in options and batched, batched)[:1]
    assert_same_calls(ours(**options), theirs(**options), given)


@pytest.mark.parametrize(
    ("masks", "mode"),
    [(cases.OWN, mode) for mode in MODES] + [(cases.OWN_FLOAT, MODES[0])],
)
def test_masks_hide_entries_as_in_torch(masks, mode):
    given = [sequences()[0], *masks.values()]
    assert_same_calls(ours(), theirs(), given, masked, mode=mode)


@pytest.mark.parametrize("norm_first", [True, False])
def test_causal_hint_equals_torch(norm_first):
    def call(layer, x, mask):
        return layer(x, mask, is_causal=True)

    layers = (make(norm_first=norm_first) for make in (ours, theirs))
    assert_same_calls(*layers, [sequences()[0], causal(L)], call)


def test_causal_hint_needs_a_mask():
    assert_both_refuse(
        lambda: ours()(tf.zeros([L, N, E]), is_causal=True),
        lambda: theirs()(torch.zeros(L, N, E), is_causal=True),
        "attn_mask must be given for is_causal=True",
    )


def test_activation_may_be_a_module_or_a_function():
    cases.assert_same_activations(ours, theirs, 1)


@pytest.mark.parametrize("norm_first", [True, False])
def test_dropout_stands_where_it_does_in_torch(norm_first, monkeypatch):
    layers = (make(dropout=0.5, norm_first=norm_first) for make in (ours, theirs))
    cases.assert_same_with_replayed_dropout(*layers, monkeypatch)


def test_sizes_and_dropout_by_default_are_those_of_torch():
    own, their = (
        nn_TransformerEncoderLayer(8, 2),
        torch.nn.TransformerEncoderLayer(8, 2),
    )
    shapes = {key: value.shape for key, value in own.state_dict().items()}
    assert shapes == {k: tuple(v.shape) for k, v in their.state_dict().items()}
    assert own.dropout.p == own.self_attn.dropout == their.dropout.p == 0.1


def test_unknown_sizes_work_and_others_stay():
    assert_unknown_sizes_work(ours(), sequences()[:1], [(L, None, E)], [L, None, E])


def test_config_round_trip():
    assert_configurable(ours(activation="gelu", norm_first=True, bias=False))
    assert_configurable(ours(activation=cases.ACTIVATIONS[0][0]))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(ours)
