import pytest
import tensorflow as tf
import torch

import util.torch_to_tf
from tests.torch_to_tf import transformer_cases as cases
from tests.torch_to_tf.attention_cases import E, L, N, S, causal, sequences
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.module_cases import assert_same_calls, assert_unknown_sizes_work
from util.torch_to_tf import (
    nn_LayerNorm,
    nn_TransformerDecoder,
    nn_TransformerDecoderLayer,
)


def ours(count=2, norm=False, **options):
    layer = nn_TransformerDecoderLayer(**cases.sizes(), **options)
    return nn_TransformerDecoder(layer, count, nn_LayerNorm(E) if norm else None)


def theirs(count=2, norm=False, **options):
    layer = torch.nn.TransformerDecoderLayer(**cases.sizes(), **options)
    last = torch.nn.LayerNorm(E) if norm else None
    return torch.nn.TransformerDecoder(layer, count, last)


def test_both_names_are_one_class():
    assert util.torch_to_tf.torch_nn_TransformerDecoder is nn_TransformerDecoder


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_values_gradients_and_state_equal_torch(norm, norm_first):
    stacks = (make(norm=norm, norm_first=norm_first) for make in (ours, theirs))
    assert_same_calls(*stacks, sequences(), atol=1e-4)


def test_masks_hide_entries_as_in_torch():
    def call(stack, x, memory, mask, padding, memory_mask, memory_padding):
        return stack(x, memory, mask, memory_mask, padding, memory_padding)

    given = [*sequences(), *cases.OWN.values(), *cases.OTHER.values()]
    assert_same_calls(ours(), theirs(), given, call, atol=1e-4)


@pytest.mark.parametrize("hint", [True, False, None])
def test_causal_hints_equal_torch(hint):
    def call(stack, x, memory, mask, memory_mask):
        hints = {"tgt_is_causal": hint, "memory_is_causal": bool(hint)}
        return stack(x, memory, mask, memory_mask, **hints)

    given = [*sequences(), causal(L), causal(S)[:L]]
    assert_same_calls(ours(), theirs(), given, call, atol=1e-4)


@pytest.mark.parametrize("mode", ["graph", "jit"])
def test_compiled_equals_torch(mode):
    stacks = (make(norm=True, batch_first=True) for make in (ours, theirs))
    assert_same_calls(*stacks, sequences(batch_first=True), mode=mode, atol=1e-4)


def test_layers_are_copies_of_the_one_given():
    layer = nn_TransformerDecoderLayer(**cases.sizes(0.1), activation="gelu")
    layer.linear2.bias.requires_grad = False
    layer.multihead_attn.eval()
    stack = nn_TransformerDecoder(layer, 3, nn_LayerNorm(E))
    cases.assert_made_of_copies(stack, layer, theirs(3, norm=True))


def test_unknown_sizes_work_and_others_stay():
    shapes = [(L, None, E), (S, None, E)]
    assert_unknown_sizes_work(ours(), sequences(), shapes, [L, None, E])


def test_a_memory_of_another_size_is_refused():
    with pytest.raises((RuntimeError, AssertionError)):
        theirs()(torch.zeros(L, N, E), torch.zeros(S, N, E - 1))
    with pytest.raises(ValueError, match="must have last sizes"):
        ours()(tf.zeros([L, N, E]), tf.zeros([S, N, E - 1]))


def test_a_stack_without_layers_is_refused():
    assert_both_refuse(
        lambda: ours(0)(tf.zeros([L, N, E]), tf.zeros([L, N, E])),
        lambda: theirs(0)(torch.zeros(L, N, E), torch.zeros(L, N, E)),
        "num_layers must be >= 1, got 0",
    )
