import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf import transformer_cases as cases
from tests.torch_to_tf.attention_cases import E, L, N, S, causal, sequences
from tests.torch_to_tf.compare import assert_both_refuse, assert_configurable
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_same_calls,
    assert_unknown_sizes_work,
)
from util.torch_to_tf import nn_TransformerDecoderLayer


def ours(**options):
    return nn_TransformerDecoderLayer(**{**cases.sizes(), **options})


def theirs(**options):
    return torch.nn.TransformerDecoderLayer(**{**cases.sizes(), **options})


def masked(layer, x, memory, mask, padding, memory_mask, memory_padding):
    return layer(x, memory, mask, memory_mask, padding, memory_padding)


@pytest.mark.parametrize("options", cases.OPTIONS.values(), ids=cases.OPTIONS)
@pytest.mark.parametrize("batched", [True, False])
def test_values_gradients_and_state_equal_torch(options, batched):
    given = sequences("batch_first" in options and batched, batched)
    assert_same_calls(ours(**options), theirs(**options), given, atol=3e-5)


@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_masks_hide_entries_as_in_torch(mode):
    given = [*sequences(), *cases.OWN.values(), *cases.OTHER.values()]
    assert_same_calls(ours(), theirs(), given, masked, mode=mode, atol=3e-5)


def test_causal_hints_equal_torch():
    def call(layer, x, memory, mask, memory_mask):
        hints = {"tgt_is_causal": True, "memory_is_causal": True}
        return layer(x, memory, mask, memory_mask, **hints)

    given = [*sequences(), causal(L), causal(S)[:L]]
    assert_same_calls(ours(), theirs(), given, call)


@pytest.mark.parametrize("hint", ["tgt_is_causal", "memory_is_causal"])
def test_causal_hints_need_a_mask(hint):
    assert_both_refuse(
        lambda: ours()(*[tf.zeros([L, N, E])] * 2, **{hint: True}),
        lambda: theirs()(*[torch.zeros(L, N, E)] * 2, **{hint: True}),
        "attn_mask must be given for is_causal=True",
    )


def test_activation_may_be_a_module_or_a_function():
    cases.assert_same_activations(ours, theirs, 2)


@pytest.mark.parametrize("norm_first", [True, False])
def test_dropout_stands_where_it_does_in_torch(norm_first, monkeypatch):
    layers = (make(dropout=0.5, norm_first=norm_first) for make in (ours, theirs))
    cases.assert_same_with_replayed_dropout(*layers, monkeypatch)


def test_sizes_and_dropout_by_default_are_those_of_torch():
    own, their = (
        nn_TransformerDecoderLayer(8, 2),
        torch.nn.TransformerDecoderLayer(8, 2),
    )
    shapes = {key: value.shape for key, value in own.state_dict().items()}
    assert shapes == {k: tuple(v.shape) for k, v in their.state_dict().items()}
    assert own.dropout.p == own.multihead_attn.dropout == their.dropout.p == 0.1


def test_unknown_sizes_work_and_others_stay():
    shapes = [(L, None, E), (S, None, E)]
    assert_unknown_sizes_work(ours(), sequences(), shapes, [L, None, E])


def test_config_round_trip():
    assert_configurable(ours(activation="gelu", norm_first=True, bias=False))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(ours)
