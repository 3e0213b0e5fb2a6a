import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.attention_cases import (
    HEADS,
    MASKS,
    OPTIONS,
    E,
    L,
    N,
    S,
    added,
    alone,
    causal,
    cross,
    hidden,
    pair,
    sequences,
)
from tests.torch_to_tf.compare import assert_both_refuse, assert_configurable, random
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_same_calls,
    assert_unknown_sizes_work,
    share_state,
)
from util.torch_to_tf import (
    compute_in,
    nn_DataParallel,
    nn_MultiheadAttention,
    replay_dropout,
)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_values_gradients_and_state_equal_torch(options, batched, need_weights):
    call = cross(need_weights=need_weights)
    assert_same_calls(*pair(**options), sequences(batched=batched), call)


@pytest.mark.parametrize("batched", [True, False])
def test_batch_may_come_first(batched):
    given = sequences(batch_first=batched, batched=batched)
    assert_same_calls(*pair(batch_first=True), given, cross())


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bias": False}])
@pytest.mark.parametrize("batched", [True, False])
def test_attention_to_itself_equals_torch(options, batched):
    given = sequences(batch_first="batch_first" in options, batched=batched)[:1]
    assert_same_calls(*pair(**options), given, alone)


@pytest.mark.parametrize("options", OPTIONS[:3])
def test_key_and_value_may_differ(options):
    x, y = sequences()
    z = random(y.shape, 8)
    assert_same_calls(*pair(**options), [x, y, z])


@pytest.mark.parametrize("options", [{}, {"bias": False, "add_bias_kv": True}])
@pytest.mark.parametrize(("kdim", "vdim"), [(7, 6), (None, 6)])
def test_key_and_value_may_have_other_sizes(options, kdim, vdim):
    x, y = sequences()
    key, value = y[..., : kdim or E].copy(), y[..., :vdim].copy()
    modules = pair(kdim=kdim, vdim=vdim, **options)
    assert_same_calls(*modules, [x, key, value])


def test_one_and_as_many_heads_as_numbers_equal_torch():
    for heads in (1, E):
        assert_same_calls(*pair(E, heads), sequences(), cross())


# -- modes, types, sizes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "need_weights"), [("graph", True), ("graph", False), ("jit", True)]
)
def test_compiled_equals_torch(mode, need_weights):
    masks = MASKS["all"]
    modules = pair(add_bias_kv=True, add_zero_attn=True)
    call = cross(need_weights=need_weights, masks=masks)
    assert_same_calls(*modules, [*sequences(), *masks.values()], call, mode=mode)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_causal_attention_to_itself_equals_torch(mode):
    def call(module, x, mask):
        return alone(module, x, attn_mask=mask, is_causal=True)

    assert_same_calls(*pair(), [sequences()[0], causal(L)], call, mode=mode)


def test_float64_equals_torch():
    ours = nn_MultiheadAttention(E, HEADS, dtype="float64")
    theirs = torch.nn.MultiheadAttention(E, HEADS, dtype=torch.float64)
    given = [x.astype(np.float64) for x in [*sequences(), added(L, S)]]
    call = cross(masks=["attn_mask"])
    assert_same_calls(ours, theirs, given, call, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("sizes", [(0, 3, 5), (4, 0, 5), (4, 3, 0)])
def test_empty_sequences_and_batches_equal_torch(sizes):
    length, batch, keys = sizes
    given = [random((length, batch, E)), random((keys, batch, E))]
    assert_same_calls(*pair(), given, cross())


@pytest.mark.parametrize("batch_first", [True, False])
def test_unknown_sizes_work_and_others_stay(batch_first):
    layer = nn_MultiheadAttention(E, HEADS, batch_first=batch_first, add_bias_kv=True)
    given = [*sequences(batch_first), MASKS["by head"]["attn_mask"]]

    def call(x, y, mask):
        return layer(x, y, y, attn_mask=mask)[0]

    open_batch = [None, L, E] if batch_first else [L, None, E]
    keys = [None, S, E] if batch_first else [S, None, E]
    assert_unknown_sizes_work(call, given, [open_batch, keys, (None, L, S)], open_batch)
    shapes = [(None, None, E), (None, None, E), (None, None, None)]
    assert_unknown_sizes_work(call, given, shapes, [None, None, E])


def test_causal_hint_with_an_unknown_length():
    layer = nn_MultiheadAttention(E, HEADS)

    def call(x, mask):
        return alone(layer, x, attn_mask=mask, is_causal=True)

    given = [sequences()[0], causal(L)]
    assert_unknown_sizes_work(call, given, [(None, N, E), (None, None)], [None, N, E])


def test_initial_values_are_those_of_torch():
    layer = nn_MultiheadAttention(64, 4, add_bias_kv=True)
    state = layer.state_dict()
    for name, bound in [
        ("in_proj_weight", np.sqrt(6 / (4 * 64))),
        ("out_proj.weight", 1 / np.sqrt(64)),
    ]:
        assert 0.99 * bound < np.abs(state[name]).max() <= bound
        assert state[name].std() == pytest.approx(bound / np.sqrt(3), rel=0.03)
    assert not state["in_proj_bias"].any()
    assert not state["out_proj.bias"].any()
    both = np.concatenate([state["bias_k"], state["bias_v"]])
    assert both.std() == pytest.approx(1 / 8, rel=0.2)
    separate = nn_MultiheadAttention(64, 4, kdim=128).state_dict()
    bound = np.sqrt(6 / (64 + 128))
    assert 0.99 * bound < np.abs(separate["k_proj_weight"]).max() <= bound


def test_attention_to_itself_is_one_product_to_start_with():
    layer = nn_MultiheadAttention(E, HEADS)

    def products(call, *inputs):
        graph = tf.function(call, autograph=False).get_concrete_function(*inputs).graph
        return sum("MatMul" in op.type for op in graph.get_operations())

    x, y = map(tf.constant, sequences())
    assert products(lambda x: alone(layer, x), x) == 4
    assert products(lambda x, y: layer(x, y, y)[0], x, y) == 5
    assert products(lambda x, y: layer(x, y, y + 1.0)[0], x, y) == 6


# -- dropout and rounding ------------------------------------------------------------


@pytest.mark.parametrize("need_weights", [True, False])
def test_replayed_dropout_equals_torch(need_weights, monkeypatch):
    ours, theirs = pair(dropout=0.5)
    share_state(ours, theirs)
    mask = 2.0 * hidden(N, HEADS, L, S).astype(np.float32)

    def dropout(weights, p=0.5, training=True):
        return weights * torch.from_numpy(mask).reshape(weights.shape)

    def attend(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False):
        assert dropout_p == 0.5
        scores = q @ k.transpose(-1, -2) / np.sqrt(q.shape[-1])
        return dropout(torch.softmax(scores, -1)) @ v

    monkeypatch.setattr(torch.nn.functional, "dropout", dropout)
    name = "scaled_dot_product_attention"
    monkeypatch.setattr(torch.nn.functional, name, attend)
    call = cross(need_weights=need_weights)
    given = sequences()
    expected = call(theirs, *map(torch.from_numpy, given))
    with replay_dropout([mask]):
        found = call(ours, *given)
    expected, found = (x if need_weights else [x] for x in (expected, found))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.detach(), rtol=1e-5, atol=1e-6)


def test_dropout_is_for_training_only_and_several_devices_refuse_it():
    layer = nn_MultiheadAttention(E, HEADS, dropout=0.5)
    assert layer.dropout == 0.5
    x = sequences()[0]
    assert not np.array_equal(alone(layer, x), alone(layer, x))
    layer.eval()
    np.testing.assert_array_equal(alone(layer, x), alone(layer, x))
    with pytest.raises(
        ValueError, match="must draw nothing, got a nn_MultiheadAttention"
    ):
        nn_DataParallel(("/CPU:0", "/CPU:0"), layer)


@pytest.mark.parametrize("mode", MODES)
def test_projections_are_rounded_if_asked_for_and_scores_are_not(mode):
    layer = nn_MultiheadAttention(16, 2)
    x = tf.constant(random((8, 16, 16)))

    def function(x):
        with tf.GradientTape() as tape:
            output = alone(layer, x)
            loss = tf.reduce_mean(output**2)
        sources = [p.value for p in layer.parameters() if len(p.shape) == 2]
        return [output, *tape.gradient(loss, sources)]

    exact = function(x)
    compute_in("bfloat16", layer)
    for one, other in zip(exact, in_mode(function, mode)(x), strict=True):
        assert other.dtype == tf.float32
        assert 0 < np.abs(other - one).max() / np.abs(one).max() < 0.03
    graph = in_mode(lambda x: alone(layer, x), "graph").get_concrete_function(x).graph
    types = [
        op.outputs[0].dtype for op in graph.get_operations() if "MatMul" in op.type
    ]
    assert types == [tf.bfloat16, tf.float32, tf.float32, tf.bfloat16]


# -- arguments -----------------------------------------------------------------------


def test_config_round_trip():
    assert_configurable(nn_MultiheadAttention(E, HEADS, 0.1, False, True, True))
    assert_configurable(nn_MultiheadAttention(E, HEADS, kdim=3, batch_first=True))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(
        lambda **where: nn_MultiheadAttention(E, HEADS, add_bias_kv=True, **where)
    )


@pytest.mark.parametrize(("size", "heads"), [(0, 1), (4, 0), (4, 3), (-2, 1)])
def test_heads_that_do_not_divide_the_size_are_refused(size, heads):
    with pytest.raises((ValueError, AssertionError)):
        torch.nn.MultiheadAttention(size, heads)
    message = f"num_heads must be .* got {heads} and {size}"
    with pytest.raises(ValueError, match=message):
        nn_MultiheadAttention(size, heads)


X, Y = (4, 3, 8), (5, 3, 8)
# Shapes of query, key and value; arguments, what the message says.
REFUSED = [
    ((X, Y, X), {}, "value must have as many entries as key"),
    (((4, 8), Y, Y), {}, r"query, key and value must all have 3 axes.* \[2, 3, 3\]"),
    (((8,), (8,), (8,)), {}, "query, key and value must all have 3 axes"),
    (((4, 3, 7), Y, Y), {}, r"must have last sizes \[8, 8, 8\], got \[7, 8, 8\]"),
    ((X, (5, 3, 7), (5, 3, 7)), {}, r"must have last sizes .* got \[8, 7, 7\]"),
    ((X, (5, 2, 8), (5, 2, 8)), {}, "key must have the batch of query"),
    ((X, Y, Y), {"is_causal": True}, "attn_mask must be given for is_causal=True"),
    ((X, Y, Y), {"attn_mask": np.zeros((5, 5), bool)}, r"\(4, 5\) or \(6, 4, 5\), got"),
    ((X, Y, Y), {"attn_mask": np.zeros((3, 4, 5), bool)}, "attn_mask must have shape"),
    ((X, Y, Y), {"attn_mask": np.zeros(5, bool)}, "attn_mask must have shape"),
    ((X, Y, Y), {"attn_mask": np.zeros((4, 5), int)}, "must be bool or float32, got i"),
    ((X, Y, Y), {"attn_mask": np.zeros((4, 5))}, "must be bool or float32, got float6"),
    ((X, Y, Y), {"key_padding_mask": np.zeros((5, 3), bool)}, r"shape \(3, 5\), got"),
    (
        (X, Y, Y),
        {"key_padding_mask": np.zeros(5, bool)},
        "padding_mask must have shape",
    ),
]


@pytest.mark.parametrize(("shapes", "options", "match"), REFUSED)
def test_what_torch_refuses_is_refused(shapes, options, match):
    ours, theirs = pair()
    as_torch = {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }
    with pytest.raises((RuntimeError, AssertionError)):
        theirs(*map(torch.zeros, shapes), **as_torch)
    with pytest.raises((ValueError, TypeError), match=match):
        ours(*map(tf.zeros, shapes), **options)


def test_inputs_of_another_type_are_refused():
    ours, theirs = pair()
    assert_both_refuse(
        lambda: ours(*[tf.zeros(X, tf.float64)] * 3),
        lambda: theirs(*[torch.zeros(X, dtype=torch.float64)] * 3),
        "query must be float32 as the parameters are, got float64",
    )
