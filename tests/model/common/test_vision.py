import numpy as np
import pytest
import tensorflow as tf

from model.common.vision import ImageEncoder, ImageOptions
from tests.model.fakes import normal, set_parameters
from tests.model.images import PixelBackbone, pictures
from tests.modes import MODES, in_mode
from util.compat import compat_scope, reference
from util.torch_to_tf import clone_network, nn_Linear, nn_Module

SIDE, ROWS, STATE = 5, 4, 2
PROP = normal(ROWS, STATE)


class Eyes(ImageEncoder):
    """Nothing but the way to features."""

    def __init__(self, channels: int = 3, first: bool = False, **kwargs) -> None:
        super().__init__()
        self.other = nn_Linear(1, 1)
        images = ImageOptions(**{"spatial_emb": 3, **kwargs})
        self.add_images(PixelBackbone(channels, SIDE), images, STATE, first)


def looks(module: nn_Module, rgb, **options) -> np.ndarray:
    """Features of the images."""
    return module.see(tf.constant(rgb), tf.constant(PROP), **options).numpy()


def images(steps: int = 1, channels: int = 3, seed: int = 0) -> np.ndarray:
    return pictures(ROWS, steps, channels, SIDE, SIDE, seed=seed)


def compressed(module: nn_Module, image, name: str = "compress") -> np.ndarray:
    """Features of one image, by hand."""
    patches = np.float32(image).reshape(ROWS, -1, SIDE * SIDE).transpose(0, 2, 1)
    return getattr(module, name)(tf.constant(patches), tf.constant(PROP)).numpy()


# -- which images ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_features_of_the_image_come_before_those_of_the_state(mode):
    module, rgb = Eyes(), images()
    expected = np.concatenate([compressed(module, rgb[:, 0]), PROP], axis=-1)
    out = in_mode(module.see, mode)(tf.constant(rgb), tf.constant(PROP))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_images_may_be_floats():
    module, rgb = Eyes(), images()
    np.testing.assert_array_equal(
        looks(module, rgb), looks(module, rgb.astype(np.float32))
    )


@pytest.mark.parametrize("count", [1, 2])
def test_only_the_newest_steps_are_seen(count):
    channels = 3 * count
    module, rgb = Eyes(num_img=count), images(steps=3, channels=channels)
    np.testing.assert_array_equal(looks(module, rgb), looks(module, rgb[:, -1:]))
    rgb[:, :2] = 0
    np.testing.assert_array_equal(looks(module, rgb), looks(module, rgb[:, -1:]))


def test_steps_are_joined_along_the_channels_oldest_first():
    module, rgb = Eyes(channels=6, img_cond_steps=2), images(steps=3)
    joined = rgb[:, 1:].reshape(ROWS, 6, SIDE, SIDE)
    np.testing.assert_allclose(
        looks(module, rgb)[:, :3], compressed(module, joined), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("mode", MODES)
def test_two_images_have_a_compression_each(mode):
    module, rgb = Eyes(num_img=2, channels=6, img_cond_steps=2), images(3, 6)
    set_parameters(module)
    parts = [
        compressed(
            module,
            rgb[:, 1:, 3 * i : 3 * i + 3].reshape(ROWS, 6, SIDE, SIDE),
            f"compress{i + 1}",
        )
        for i in range(2)
    ]
    out = in_mode(module.see, mode)(tf.constant(rgb), tf.constant(PROP)).numpy()
    expected = np.concatenate([*parts, PROP], axis=-1)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-3)
    assert module.images.width == 6


def test_compressions_start_equal():
    state = Eyes(num_img=2).state_dict()
    first = {k: v for k, v in state.items() if k.startswith("compress1.")}
    assert len(first) == 5
    for key, value in first.items():
        np.testing.assert_array_equal(value, state[key.replace("1", "2", 1)])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_compression_may_be_linear(count):
    options = {"spatial_emb": 0, "visual_feature_dim": 4, "num_img": count}
    module, rgb = Eyes(**options), images(channels=3 * count)
    name = "compress" if count == 1 else f"compress{count}"
    linear, norm, _, activation = getattr(module, name)
    pixels = np.float32(rgb[:, 0, -3:]).transpose(0, 2, 3, 1).reshape(ROWS, -1)
    expected = activation(norm(linear(tf.constant(pixels))))
    out = looks(module, rgb)
    assert out.shape == (ROWS, 4 * count + STATE)
    last = out[:, 4 * (count - 1) : 4 * count]
    np.testing.assert_allclose(last, expected, rtol=1e-4, atol=1e-5)


def test_features_are_dropped_in_training_mode_only():
    for options in ({}, {"spatial_emb": 0}):
        module, rgb = Eyes(dropout=0.5, **options), images()
        assert not np.array_equal(looks(module, rgb), looks(module, rgb))
        module.eval()
        np.testing.assert_array_equal(looks(module, rgb), looks(module, rgb))


# -- augmentation ---------------------------------------------------------------------


class FixedShifts:
    """A generator whose draws are known."""

    def __init__(self, *shifts: int) -> None:
        self.shifts = list(shifts)

    def uniform(self, shape, maxval, dtype):
        return tf.fill(shape, tf.cast(self.shifts.pop(0), dtype))


def rolled(image, shift: int):
    """An image whose pixels all went by `shift` - 4 along both axes."""
    padded = np.pad(image, [[0, 0], [0, 0], [4, 4], [4, 4]], mode="edge")
    return padded[:, :, shift : shift + SIDE, shift : shift + SIDE]


@pytest.mark.parametrize("mode", MODES)
def test_each_image_has_a_shift_of_its_own(mode):
    module, rgb = Eyes(num_img=2, augment=True), images(channels=6)
    module.shift.generator = FixedShifts(2, 7)
    out = in_mode(module.see, mode)(tf.constant(rgb), tf.constant(PROP)).numpy()
    moved = [rolled(rgb[:, 0, :3], 2), rolled(rgb[:, 0, 3:], 7)]
    plain = Eyes(num_img=2)
    plain.load_state_dict(module.state_dict())
    expected = looks(plain, np.concatenate(moved, axis=1)[:, None])
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    assert module.shift.generator.shifts == []


def is_shifted(module: nn_Module, **options) -> bool:
    """Whether two looks at the same images differ."""
    rgb = images()
    return not np.array_equal(
        looks(module, rgb, **options), looks(module, rgb, **options)
    )


def test_images_are_shifted_in_training_mode_only():
    module = Eyes(augment=True)
    assert is_shifted(module)
    module.eval()
    assert not is_shifted(module)
    np.testing.assert_array_equal(
        looks(module, images()), looks(module, images(), augment=False)
    )


def test_images_are_shifted_in_every_mode_in_the_reference():
    module = Eyes(augment=True).eval()
    for scope in (reference(), compat_scope({"augment_in_eval": True})):
        with scope:
            assert is_shifted(module)
            assert not is_shifted(module, augment=False)
            assert not is_shifted(Eyes())


def test_shifting_can_be_asked_for_and_declined():
    module = Eyes()
    assert not is_shifted(module)
    assert is_shifted(module, augment=True)
    assert is_shifted(module.eval(), augment=True)
    assert not is_shifted(Eyes(augment=True), augment=False)


def test_compiled_code_keeps_its_mode():
    module, rgb = Eyes(augment=True), tf.constant(images())
    compiled = in_mode(lambda: module.see(rgb, tf.constant(PROP)), "jit")
    first = compiled().numpy()
    module.eval()
    assert not np.array_equal(first, compiled())


# -- modules --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "order"),
    [
        (False, ["other", "compress1", "compress2"]),
        (True, ["compress1", "compress2", "other"]),
    ],
)
def test_modules_stand_first_or_last(first, order):
    module = Eyes(num_img=2, first=first)
    found = dict.fromkeys(key.split(".")[0] for key in module.state_dict())
    assert list(found) == order
    names = [name for name, _ in module.named_children() if name != "backbone"]
    assert names[:3] == order


def test_a_copy_has_the_same_features():
    module = Eyes(num_img=2)
    set_parameters(module)
    rgb = images(channels=6)
    np.testing.assert_array_equal(looks(clone_network(module), rgb), looks(module, rgb))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_img": 0}, "num_img must be >= 1, got 0"),
        ({"img_cond_steps": 0}, "img_cond_steps must be >= 1, got 0"),
        ({"spatial_emb": 1}, "spatial_emb must be 0 or > 1, got 1"),
        ({"spatial_emb": -3}, "spatial_emb must be 0 or > 1, got -3"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ImageOptions(**options)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"img_cond_steps": 2}, [ROWS, 1, 3, SIDE, SIDE]),
        ({"num_img": 2}, [ROWS, 1, 3, SIDE, SIDE]),
        ({}, [ROWS, 3, SIDE, SIDE]),
    ],
)
def test_other_images_are_refused(options, shape):
    with pytest.raises(ValueError, match=r'cond\["rgb"\] must be .* got \(4, '):
        looks(Eyes(**options), np.zeros(shape, np.uint8))
