import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.torch_to_tf import transformer_cases as cases
from tests.torch_to_tf.attention_cases import E, L, N, causal, sequences
from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.module_cases import (
    assert_same_calls,
    assert_unknown_sizes_work,
    share_state,
)
from util.torch_to_tf import (
    compute_in,
    nn_LayerNorm,
    nn_TransformerEncoder,
    nn_TransformerEncoderLayer,
)


def ours(count=2, norm=False, **options):
    layer = nn_TransformerEncoderLayer(**cases.sizes(), **options)
    return nn_TransformerEncoder(layer, count, nn_LayerNorm(E) if norm else None)


def theirs(count=2, norm=False, **options):
    layer = torch.nn.TransformerEncoderLayer(**cases.sizes(), **options)
    last = torch.nn.LayerNorm(E) if norm else None
    return torch.nn.TransformerEncoder(layer, count, last, enable_nested_tensor=False)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_values_gradients_and_state_equal_torch(norm, norm_first):
    stacks = (make(norm=norm, norm_first=norm_first) for make in (ours, theirs))
    assert_same_calls(*stacks, sequences()[:1], atol=3e-5)


@pytest.mark.parametrize("masks", [cases.OWN, cases.OWN_FLOAT], ids=["bool", "float"])
def test_masks_hide_entries_as_in_torch(masks):
    def call(stack, x, mask, padding):
        return stack(x, mask=mask, src_key_padding_mask=padding)

    given = [sequences()[0], *masks.values()]
    assert_same_calls(ours(), theirs(), given, call, atol=3e-5)


@pytest.mark.parametrize("hint", [True, False, None])
def test_causal_hint_equals_torch(hint):
    def call(stack, x, mask):
        return stack(x, mask, is_causal=hint)

    given = [sequences()[0], causal(L)]
    assert_same_calls(ours(), theirs(), given, call, atol=3e-5)


@pytest.mark.parametrize("mode", ["graph", "jit"])
def test_compiled_equals_torch(mode):
    stacks = (make(norm=True, batch_first=True) for make in (ours, theirs))
    given = sequences(batch_first=True)[:1]
    assert_same_calls(*stacks, given, mode=mode, atol=3e-5)


def test_layers_are_copies_of_the_one_given():
    layer = nn_TransformerEncoderLayer(**cases.sizes(0.1), activation="gelu")
    layer.linear1.weight.requires_grad = False
    layer.self_attn.eval()
    stack = nn_TransformerEncoder(layer, 3, nn_LayerNorm(E))
    cases.assert_made_of_copies(stack, layer, theirs(3, norm=True))


def test_copies_multiply_in_the_type_of_the_layer_given():
    layer = nn_TransformerEncoderLayer(**cases.sizes())
    compute_in("bfloat16", layer)
    x = tf.constant(sequences()[0])
    np.testing.assert_array_equal(nn_TransformerEncoder(layer, 1)(x), layer(x))


def test_hidden_entries_are_computed_where_torch_may_return_zeros():
    own = nn_TransformerEncoder(
        nn_TransformerEncoderLayer(**cases.sizes(), batch_first=True), 1
    ).eval()
    their = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(**cases.sizes(), batch_first=True), 1
    ).eval()
    share_state(own, their, 0.5)
    x = sequences(batch_first=True)[0]
    padding = np.arange(L)[None] >= np.array([[L], [2], [3]])
    with torch.no_grad():
        fast = their(torch.from_numpy(x), src_key_padding_mask=torch.tensor(padding))
    found = own(x, src_key_padding_mask=padding).numpy()
    np.testing.assert_allclose(found[~padding], fast[~padding], rtol=1e-4, atol=1e-5)
    assert not fast[padding].any()
    assert found[padding].all()


def test_unknown_sizes_work_and_others_stay():
    assert_unknown_sizes_work(ours(), sequences()[:1], [(L, None, E)], [L, None, E])


def test_a_sequence_of_another_size_is_refused():
    with pytest.raises((RuntimeError, AssertionError)):
        theirs()(torch.zeros(L, N, E - 1))
    with pytest.raises(ValueError, match="must have last sizes"):
        ours()(tf.zeros([L, N, E - 1]))


def test_a_stack_without_layers_is_refused():
    assert_both_refuse(
        lambda: ours(0)(tf.zeros([L, N, E])),
        lambda: theirs(0)(torch.zeros(L, N, E)),
        "num_layers must be >= 1, got 0",
    )
