"""What masks hide from attention."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.attention_cases import (
    HEADS,
    MASKS,
    OPTIONS,
    L,
    N,
    S,
    alone,
    causal,
    cross,
    hidden,
    pair,
    sequences,
)
from tests.torch_to_tf.module_cases import assert_same_calls, share_state


@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_masks_hide_keys_as_in_torch(masks, need_weights):
    call = cross(need_weights=need_weights, masks=masks)
    assert_same_calls(*pair(), [*sequences(), *masks.values()], call)


@pytest.mark.parametrize("options", OPTIONS[2:])
@pytest.mark.parametrize("need_weights", [True, False])
def test_masks_do_not_hide_added_keys(options, need_weights):
    masks = MASKS["all"]
    call = cross(need_weights=need_weights, masks=masks)
    assert_same_calls(*pair(**options), [*sequences(), *masks.values()], call)


@pytest.mark.parametrize("kind", ["two axes", "float", "padding", "by head"])
def test_masks_without_a_batch(kind):
    ((name, mask),) = MASKS[kind].items()
    mask = {"padding": mask[0], "by head": mask[:HEADS]}.get(kind, mask)
    call = cross(average_attn_weights=False, masks=[name])
    assert_same_calls(*pair(), [*sequences(batched=False), mask], call)


def test_batch_first_has_masks_in_the_same_place():
    masks = MASKS["all"]
    given = [*sequences(batch_first=True), *masks.values()]
    assert_same_calls(*pair(batch_first=True), given, cross(masks=masks))


@pytest.mark.parametrize("batched", [True, False])
def test_weights_by_head(batched):
    call = cross(average_attn_weights=False)
    assert_same_calls(*pair(), sequences(batched=batched), call)


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"batch_first": True}])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("is_hidden", [True, False])
def test_causal_hint_equals_torch(options, need_weights, is_hidden):
    x = sequences(batch_first="batch_first" in options)[0]
    size, rows = x.shape[0 if "batch_first" not in options else 1], N
    padding = {"key_padding_mask": hidden(rows, size)} if is_hidden else {}

    def call(module, x, mask, *padding_):
        how = dict(zip(padding, padding_, strict=True))
        out = module(
            x, x, x, attn_mask=mask, is_causal=True, need_weights=need_weights, **how
        )
        return out[0]

    given = [x, causal(size), *padding.values()]
    assert_same_calls(*pair(**options), given, call)


def test_causal_hint_hides_later_entries_whatever_the_mask():
    ours, theirs = pair()
    nothing = np.zeros((L, L), bool)

    def call(module, x, mask):
        return alone(module, x, attn_mask=mask, is_causal=True)

    assert_same_calls(ours, theirs, [sequences()[0], nothing], call)
    x = tf.constant(sequences()[0])
    np.testing.assert_allclose(
        call(ours, x, nothing), alone(ours, x, attn_mask=causal(L)), atol=1e-6
    )


# A query, or all of one entry of the batch, that see no key.
BLIND = {
    "query": ("attn_mask", np.eye(L, 1, -1, bool) | np.zeros((L, S), bool)),
    "float": (
        "attn_mask",
        np.where(np.eye(L, 1, -1), -np.inf, np.zeros((L, S))).astype(np.float32),
    ),
    "entry": ("key_padding_mask", np.eye(N, 1, -1, bool) | np.zeros((N, S), bool)),
}


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("query", m) for m in MODES] + [("float", MODES[0]), ("entry", MODES[0])],
)
def test_without_a_key_the_result_is_zero_before_the_projection(kind, mode):
    name, mask = BLIND[kind]
    call = cross(need_weights=False, masks=[name])
    assert_same_calls(*pair(), [*sequences(), mask], call, mode=mode)


@pytest.mark.parametrize(("name", "mask"), BLIND.values(), ids=BLIND)
def test_without_a_key_the_result_is_not_a_number_if_weights_are_needed(name, mask):
    ours, theirs = pair()
    share_state(ours, theirs)
    call = cross(masks=[name])
    expected = call(theirs, *map(torch.from_numpy, [*sequences(), mask]))
    found = call(ours, *[*sequences(), mask])
    for one, other in zip(found, expected, strict=True):
        assert np.isnan(one).any()
        np.testing.assert_allclose(one, other.detach(), rtol=1e-5, atol=1e-6)
