import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_configurable, random
from tests.torch_to_tf.module_cases import (
    assert_dtype_and_device_are_taken,
    assert_same_calls,
    assert_unknown_sizes_work,
)
from util.torch_to_tf import nn_Embedding

INDEX = np.array([[1, 0, 3, 1], [4, 4, 4, 2]])
OPTIONS = [
    {},
    {"padding_idx": 4},
    {"padding_idx": -2},
    {"scale_grad_by_freq": True},
    {"scale_grad_by_freq": True, "padding_idx": 1},
]


def pair(*arguments, **options):
    return tuple(c(*arguments, **options) for c in (nn_Embedding, torch.nn.Embedding))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", OPTIONS)
def test_values_gradients_and_state_equal_torch(options, mode):
    assert_same_calls(*pair(5, 3, **options), [INDEX], mode=mode)


@pytest.mark.parametrize(
    "index",
    [np.int64(2), np.zeros((0, 4), np.int64), np.array([3, 0], np.int32)],
    ids=["scalar", "none", "int32"],
)
@pytest.mark.parametrize("options", OPTIONS[:2])
def test_shapes_and_types_of_indices(index, options):
    assert_same_calls(*pair(5, 3, **options), [np.asarray(index)])


def test_float64_equals_torch():
    ours = nn_Embedding(5, 3, dtype="float64")
    theirs = torch.nn.Embedding(5, 3, dtype=torch.float64)
    assert_same_calls(ours, theirs, [INDEX], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding_idx", [None, 4])
@pytest.mark.parametrize("mode", MODES[:2])
def test_sparse_gradient_names_the_rows_looked_up(padding_idx, mode):
    options = {"padding_idx": padding_idx, "sparse": True}
    ours, theirs = pair(5, 3, **options)
    theirs.load_state_dict({"weight": torch.from_numpy(random((5, 3)))})
    ours.load_state_dict({"weight": random((5, 3))})
    factor = random((2, 4, 3), 1)
    (theirs(torch.from_numpy(INDEX)) * torch.from_numpy(factor)).sum().backward()

    def gradient(index):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(ours(index) * factor)
        return tape.gradient(total, ours.weight.value)

    found = in_mode(gradient, mode)(tf.constant(INDEX))
    assert isinstance(found, tf.IndexedSlices)
    dense = tf.convert_to_tensor(found)
    expected = theirs.weight.grad.to_dense()
    np.testing.assert_allclose(dense, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("norm_type", "most"), [(2.0, 1.0), (1.0, 2.0), (np.inf, 0.5)])
def test_rows_are_renormalised_in_the_table(norm_type, most, mode):
    ours, theirs = pair(5, 3, max_norm=most, norm_type=norm_type)
    table = random((5, 3)) * np.array([[1.0], [3.0], [1.0], [0.1], [2.0]], np.float32)
    theirs.load_state_dict({"weight": torch.from_numpy(table)})
    ours.load_state_dict({"weight": table})
    index = np.array([[1, 3, 1], [4, 3, 0]])
    expected = theirs(torch.from_numpy(index))
    expected.square().sum().backward()

    def call(index):
        with tf.GradientTape() as tape:
            out = ours(index)
            total = tf.reduce_sum(out**2)
        return out, tape.gradient(total, ours.weight.value)

    out, gradient = in_mode(call, mode)(tf.constant(index))
    np.testing.assert_allclose(out, expected.detach(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient, theirs.weight.grad, rtol=1e-5, atol=1e-6)
    after = ours.state_dict()["weight"]
    np.testing.assert_allclose(after, theirs.weight.detach(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(after[2], table[2])
    assert not np.array_equal(after, table)


@pytest.mark.parametrize("norm_type", [0.0, 3.0])
def test_other_norms_equal_torch(norm_type):
    ours, theirs = pair(5, 3, max_norm=1.0, norm_type=norm_type)
    theirs.load_state_dict({"weight": torch.from_numpy(3.0 * random((5, 3)))})
    ours.load_state_dict({"weight": 3.0 * random((5, 3))})
    expected = theirs(torch.from_numpy(INDEX)).detach()
    np.testing.assert_allclose(ours(INDEX), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("freeze", [True, False])
def test_from_pretrained_takes_the_table_and_freezes_it(freeze):
    table = random((5, 3)).astype(np.float64)
    ours = nn_Embedding.from_pretrained(table, freeze, padding_idx=-1, max_norm=9.0)
    theirs = torch.nn.Embedding.from_pretrained(
        torch.from_numpy(table), freeze, padding_idx=-1, max_norm=9.0
    )
    np.testing.assert_array_equal(ours(INDEX), theirs(torch.from_numpy(INDEX)).detach())
    assert ours.weight.requires_grad is theirs.weight.requires_grad is not freeze
    assert ours.padding_idx == theirs.padding_idx == 4
    assert (ours.num_embeddings, ours.embedding_dim) == (5, 3)
    table[:] = 0.0
    assert ours.state_dict()["weight"].all()
    assert_configurable(ours)


def test_initial_values_are_standard_normal_with_a_row_of_zeros():
    weight = nn_Embedding(2000, 10, padding_idx=3).state_dict()["weight"]
    assert not weight[3].any()
    assert weight.mean() == pytest.approx(0.0, abs=0.03)
    assert weight.std() == pytest.approx(1.0, rel=0.03)
    assert weight.dtype == np.float32


def test_unknown_sizes_work_and_others_stay():
    layer = nn_Embedding(5, 3, padding_idx=1)
    assert_unknown_sizes_work(layer.call, [INDEX], [(None, 4)], [None, 4, 3])
    assert_unknown_sizes_work(layer.call, [INDEX], [(None, None)], [None, None, 3])


def test_config_round_trip():
    assert_configurable(nn_Embedding(5, 3, -1, 2.0, 1.0, True))


def test_dtype_and_device_are_taken():
    assert_dtype_and_device_are_taken(lambda **where: nn_Embedding(5, 3, **where))


@pytest.mark.parametrize(
    ("index", "error", "match"),
    [
        (np.array([5]), IndexError, r"input must be in \[0, 4\], got 5 to 5"),
        (np.array([2, -1]), IndexError, r"input must be in \[0, 4\], got -1 to 2"),
        (np.array([1.0]), TypeError, "input must be int32 or int64, got float64"),
        (np.array([True]), TypeError, "input must be int32 or int64, got bool"),
        (np.array([1], np.int16), TypeError, "input must be int32 or int64, got int16"),
    ],
)
def test_what_torch_refuses_is_refused(index, error, match):
    assert_both_refuse(
        lambda: nn_Embedding(5, 3)(index),
        lambda: torch.nn.Embedding(5, 3)(torch.from_numpy(index)),
        match,
    )
    with pytest.raises(error):
        nn_Embedding(5, 3)(index)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"padding_idx": 5}, r"padding_idx must be in \[-5, 4\], got 5"),
        ({"padding_idx": -6}, r"padding_idx must be in \[-5, 4\], got -6"),
        ({"_weight": np.zeros((3, 5), np.float32)}, r"_weight must have shape \(5, 3"),
    ],
)
def test_what_does_not_fit_the_table_is_refused(options, match):
    given = {
        name: torch.from_numpy(value) if name == "_weight" else value
        for name, value in options.items()
    }
    with pytest.raises(AssertionError):
        torch.nn.Embedding(5, 3, **given)
    with pytest.raises(ValueError, match=match):
        nn_Embedding(5, 3, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((-1, 3), {}, "num_embeddings and embedding_dim must be >= 0, got -1 and 3"),
        ((5, 3), {"norm_type": -1.0}, "norm_type must be >= 0, got -1.0"),
        ((5, 3), {"sparse": True, "scale_grad_by_freq": True}, "must be False if"),
    ],
)
def test_impossible_options_are_refused(arguments, options, match):
    with pytest.raises(ValueError, match=match):
        nn_Embedding(*arguments, **options)


@pytest.mark.parametrize("table", [np.zeros(3, np.float32), np.zeros((1, 2, 3))])
def test_tables_of_other_ranks_are_refused(table):
    with pytest.raises(ValueError, match="embeddings must have 2 axes"):
        nn_Embedding.from_pretrained(table)
