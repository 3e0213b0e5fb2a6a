import numpy as np
import pytest
import tensorflow as tf

from model.common.modules import RandomShiftsAug, SpatialEmb
from tests.model.fakes import normal, set_parameters
from tests.model.images import pictures
from tests.model.recorded import (
    assert_initials_as_recorded,
    assert_state_as_recorded,
    recorded_initials,
)
from tests.modes import MODES, in_mode

MODULE = "model.common.modules"


# -- compression of patches -----------------------------------------------------------


def embedding(prop_dim: int, dropout: float = 0.0) -> SpatialEmb:
    module = SpatialEmb(4, 3, prop_dim, 6, dropout)
    set_parameters(module)
    return module


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prop_dim", [0, 2])
def test_each_feature_of_all_patches_is_one_row(prop_dim, mode):
    module = embedding(prop_dim)
    feat, prop = normal(5, 4, 3), normal(5, 2)
    state = module.state_dict()
    known = np.repeat(prop[:, None], 3, axis=1)[..., :prop_dim]
    rows = np.concatenate([feat.transpose(0, 2, 1), known], axis=-1)
    hidden = rows @ state["input_proj.0.weight"].T + state["input_proj.0.bias"]
    hidden -= hidden.mean(-1, keepdims=True)
    hidden /= np.sqrt((hidden**2).mean(-1, keepdims=True) + 1e-5)
    hidden = hidden * state["input_proj.1.weight"] + state["input_proj.1.bias"]
    expected = (state["weight"] * np.maximum(hidden, 0.0)).sum(axis=1)
    out = in_mode(module, mode)(tf.constant(feat), tf.constant(prop))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_gradients_reach_patches_and_what_else_is_known():
    module, feat, prop = (
        embedding(2),
        *map(tf.constant, (normal(5, 4, 3), normal(5, 2))),
    )
    with tf.GradientTape() as tape:
        tape.watch([feat, prop])
        loss = tf.reduce_sum(module(feat, prop) ** 2)
    for gradient in tape.gradient(loss, [feat, prop, *module.parameters()]):
        assert np.any(gradient)


def test_features_are_dropped_in_training_mode_only():
    module, feat, prop = embedding(2, dropout=0.5), normal(500, 4, 3), normal(500, 2)
    kept = module(tf.constant(feat), tf.constant(prop)).numpy()
    full = module.eval()(tf.constant(feat), tf.constant(prop)).numpy()
    is_kept = kept != 0.0
    np.testing.assert_allclose(kept[is_kept], 2.0 * full[is_kept], rtol=1e-5)
    assert 0.4 < is_kept[full != 0.0].mean() < 0.6


def test_fresh_parameters_are_distributed_as_in_the_reference():
    entry = recorded_initials(f"{MODULE}.SpatialEmb")
    assert_initials_as_recorded(entry)
    shapes = {key: value["shape"] for key, value in entry["params"].items()}
    assert_state_as_recorded(
        {**entry, "state_dict": shapes, "n_params": 128 * 128 + 130 * 128 + 3 * 128}
    )


# -- random shifts --------------------------------------------------------------------


def cropped(image, along_x, along_y, pad):
    """A crop of the padded image."""
    padded = np.pad(image, [[0, 0], [pad, pad], [pad, pad]], mode="edge")
    _, height, width = image.shape
    return padded[:, along_y : along_y + height, along_x : along_x + width]


SHIFTS = [[0, 0], [8, 8], [4, 4], [8, 0], [3, 6], [1, 0]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [(7, 7), (6, 9)])
def test_a_shift_is_a_crop_of_the_padded_image(size, dtype, mode):
    x = pictures(6, 3, *size, dtype=dtype)
    out = in_mode(RandomShiftsAug(4), mode)(tf.constant(x), tf.constant(SHIFTS))
    expected = [cropped(i, *s, 4) for i, s in zip(x, SHIFTS, strict=True)]
    np.testing.assert_array_equal(out, expected)
    assert out.dtype == dtype


def test_shifts_may_have_the_form_of_the_reference():
    x, aug = pictures(6, 3, 7, 7), RandomShiftsAug(4)
    theirs = np.float32(SHIFTS).reshape(6, 1, 1, 2)
    np.testing.assert_array_equal(aug(x, theirs), aug(x, SHIFTS))


def test_whole_rows_and_columns_may_be_shifted_out():
    x = pictures(1, 1, 3, 3)
    out = RandomShiftsAug(4)(x, [[8, 4]])
    np.testing.assert_array_equal(out[0, 0], np.repeat(x[0, 0, :, -1:], 3, axis=1))


@pytest.mark.parametrize("mode", MODES)
def test_every_shift_is_drawn_equally_often_along_both_axes(mode):
    pad, count = 1, 4500
    # Values tell the place that came to the middle.
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
    x = tf.constant(np.repeat(image[None], count, axis=0))
    aug = RandomShiftsAug(pad, tf.random.Generator.from_seed(3))
    middle = in_mode(aug, mode)(x)[:, 0, 1, 1].numpy()
    found = np.bincount(middle, minlength=9)
    # Six standard deviations of a binomial.
    assert np.abs(found - 500).max() < 6 * np.sqrt(500)


@pytest.mark.parametrize("mode", MODES)
def test_draws_follow_the_generator_and_go_on(mode):
    x = tf.constant(pictures(20, 1, 9, 9))

    def outputs():
        aug = RandomShiftsAug(4, tf.random.Generator.from_seed(3))
        compiled = in_mode(lambda: aug(x), mode)
        return compiled().numpy(), compiled().numpy()

    first, second = outputs()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(outputs(), (first, second))


def test_number_of_images_may_be_unknown():
    spec, aug = tf.TensorSpec([None, 3, 7, 7], tf.uint8), RandomShiftsAug(4)
    function = in_mode(aug, "graph", input_signature=[spec])
    (out,) = function.get_concrete_function().outputs
    assert out.shape.as_list() == [None, 3, 7, 7]
    assert function(pictures(5, 3, 7, 7)).shape == (5, 3, 7, 7)


def test_no_shift_leaves_images_as_they_are():
    x = pictures(5, 3, 7, 7)
    np.testing.assert_array_equal(RandomShiftsAug(0)(x), x)


def test_gradients_go_where_pixels_came_from():
    x = tf.constant(normal(1, 1, 3, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(RandomShiftsAug(1)(x, [[2, 1]]))
    expected = np.tile([0.0, 1.0, 2.0], (3, 1))
    np.testing.assert_array_equal(tape.gradient(loss, x)[0, 0], expected)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="pad must be >= 0, got -1"):
        RandomShiftsAug(-1)
