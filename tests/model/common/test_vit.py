import json

import numpy as np
import pytest
import tensorflow as tf

from model.common.vit import (
    MinVit,
    MultiHeadAttention,
    PatchEmbed1,
    PatchEmbed2,
    TransformerLayer,
    VitEncoder,
    VitEncoderConfig,
    as_config,
    init_weights_vit_timm,
    named_apply,
)
from tests.model.fakes import normal, set_parameters
from tests.model.images import SIZE, encoder, pictures
from tests.model.recorded import (
    assert_initials_as_recorded,
    assert_state_as_recorded,
    recorded_initials,
)
from tests.modes import MODES, in_mode
from util.torch_to_tf import clone_network, nn_Linear, nn_ReLU, nn_Sequential

ENCODER = "model.common.vit.VitEncoder"


# -- patches --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_patches_side_by_side_are_numbered_row_by_row(mode):
    module = PatchEmbed1(5, num_channel=2, img_h=17, img_w=24)
    set_parameters(module)
    image = normal(3, 2, 17, 24)
    out = in_mode(module, mode)(tf.constant(image))
    weight, bias = module.state_dict().values()
    assert out.shape == (3, module.num_patch, 5) == (3, 6, 5)
    for number in range(6):
        top, left = 8 * (number // 3), 8 * (number % 3)
        patch = image[:, :, top : top + 8, left : left + 8]
        expected = np.einsum("bchw,echw->be", patch, weight) + bias
        np.testing.assert_allclose(out[:, number], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("use_norm", [0, 1])
def test_overlapping_patches_pass_two_convolutions(use_norm):
    module = PatchEmbed2(4, use_norm, num_channel=2, img_h=24, img_w=20)
    set_parameters(module)
    image = tf.constant(normal(3, 2, 24, 20))
    first, norm, activation, second = module.embed
    y = second(activation(norm(first(image))))
    assert module.num_patch == 2
    expected = np.reshape(y, [3, 4, 2]).transpose(0, 2, 1)
    np.testing.assert_allclose(module(image), expected, rtol=1e-5)
    assert ("embed.1.weight" in module.state_dict()) is bool(use_norm)


@pytest.mark.parametrize(
    ("size", "side_by_side", "overlapping"),
    [((96, 96), 144, 121), ((84, 84), 100, 81), ((64, 90), 88, 70), ((16, 16), 4, 1)],
)
def test_patches_are_counted_as_the_convolutions_make_them(
    size, side_by_side, overlapping
):
    height, width = size
    image = tf.zeros([1, 3, height, width])
    for kind, count in ((PatchEmbed1, side_by_side), (PatchEmbed2, overlapping)):
        options = {"use_norm": False} if kind is PatchEmbed2 else {}
        module = kind(embed_dim=2, img_h=height, img_w=width, **options)
        assert module.num_patch == count
        assert module(image).shape == (1, count, 2)


@pytest.mark.parametrize("style", ["embed1", "embed2"])
@pytest.mark.parametrize("mode", MODES)
def test_images_that_patches_do_not_fill_work(style, mode):
    module = encoder(size=21, embed_style=style)
    out = in_mode(module, mode)(tf.constant(pictures(2, 3, 21, 21)))
    assert out.shape == (2, module.num_patch, 8)


def test_images_without_a_patch_are_refused():
    with pytest.raises(ValueError, match="at least one patch, got 7 and 96"):
        PatchEmbed1(4, img_h=7)
    with pytest.raises(ValueError, match="at least one patch, got 96 and 15"):
        PatchEmbed2(4, False, img_w=15)


# -- the transformer ------------------------------------------------------------------


def attention(module, x, mask=0.0):
    """The closed form, head by head."""
    state = module.state_dict()
    mixed = x @ state["qkv_proj.weight"].T + state["qkv_proj.bias"]
    q, k, v = np.split(mixed, 3, axis=-1)
    heads = []
    for head in range(module.num_head):
        part = slice(head * module.head_dim, (head + 1) * module.head_dim)
        scores = q[..., part] @ k[..., part].swapaxes(1, 2)
        scores = scores / np.sqrt(module.head_dim) + mask
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., part])
    joined = np.concatenate(heads, axis=-1)
    return joined @ state["out_proj.weight"].T + state["out_proj.bias"]


@pytest.mark.parametrize("mode", MODES)
def test_attention_by_closed_form(mode):
    module, x = MultiHeadAttention(8, 2), normal(5, 3, 8)
    out = in_mode(module, mode)(tf.constant(x))
    np.testing.assert_allclose(out, attention(module, x), rtol=1e-4, atol=1e-5)


def test_a_mask_is_added_to_the_scores():
    module, x = MultiHeadAttention(8, 2), normal(5, 3, 8)
    mask = np.float32([[0, -np.inf, -np.inf], [0, 0, -np.inf], [0, 0, 0]])
    out = module(tf.constant(x), tf.constant(mask)).numpy()
    np.testing.assert_allclose(out, attention(module, x, mask), rtol=1e-4, atol=1e-5)
    changed = module(tf.constant(x * [[[1], [1], [-1]]], tf.float32), mask).numpy()
    np.testing.assert_allclose(changed[:, :2], out[:, :2], rtol=1e-4, atol=1e-6)
    assert not np.allclose(changed[:, 2], out[:, 2])


def test_a_layer_normalises_before_and_adds_after():
    layer = TransformerLayer(8, 2, dropout=0.0)
    set_parameters(layer)
    x = tf.constant(normal(5, 3, 8))
    half = x + layer.mha(layer.layer_norm1(x))
    hidden = layer.linear1(layer.layer_norm2(half))
    expected = half + layer.linear2(tf.nn.gelu(hidden, approximate=False))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)


def test_a_layer_drops_in_training_mode_only():
    layer, x = TransformerLayer(8, 2, dropout=0.5), tf.constant(normal(5, 3, 8))
    assert not np.array_equal(layer(x), layer(x))
    layer.eval()
    np.testing.assert_array_equal(layer(x), layer(x))


def test_heads_that_do_not_divide_the_features_are_refused():
    with pytest.raises(ValueError, match="num_head must divide embed_dim=8, got 3"):
        MultiHeadAttention(8, 3)


# -- the encoder ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [{}, {"embed_style": "embed1"}, {"depth": 2}])
def test_bytes_are_scaled_and_encoded(options, mode):
    module, images = encoder(**options), pictures(3, 3, SIZE, SIZE)
    out = in_mode(module, mode)(tf.constant(images))
    vit, scaled = module.vit, tf.constant(images / np.float32(255) - np.float32(0.5))
    x = vit.patch_embed(scaled) + vit.pos_embed
    for layer in vit.net:
        x = layer(x)
    np.testing.assert_allclose(out, vit.norm(x), rtol=1e-3, atol=1e-4)
    assert out.shape == (3, module.num_patch, module.patch_repr_dim)


def test_floats_count_as_bytes_do():
    module, images = encoder(), pictures(3, 3, SIZE, SIZE)
    floats = images.astype(np.float32)
    np.testing.assert_array_equal(module(images), module(floats))


def test_features_may_be_joined():
    module, images = encoder(), pictures(3, 3, SIZE, SIZE)
    flat = module(images, flatten=True)
    assert flat.shape == (3, module.repr_dim)
    np.testing.assert_array_equal(flat, np.reshape(module(images), [3, -1]))


def test_one_trace_serves_any_number_of_images():
    module = encoder()
    specs = [tf.TensorSpec([None, 3, SIZE, SIZE], tf.uint8)]
    function = in_mode(module.call, "graph", input_signature=specs)
    for rows in (1, 3):
        assert function(pictures(rows, 3, SIZE, SIZE)).shape == (rows, 4, 8)
    assert function.experimental_get_tracing_count() == 1


def test_gradients_reach_every_parameter():
    module, images = encoder(depth=2, embed_norm=1), pictures(3, 3, SIZE, SIZE)
    set_parameters(module)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(images) ** 3)
    gradients = tape.gradient(loss, module.parameters())
    for (name, _), gradient in zip(module.named_parameters(), gradients, strict=True):
        assert np.any(gradient), name


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 24, 24\), got \(3, 24, 20\)"):
        encoder()(pictures(1, 3, SIZE, 20))
    with pytest.raises(ValueError, match=r"\(3, 24, 24\), got \(6, 24, 24\)"):
        encoder()(pictures(1, 6, SIZE, SIZE))


def test_another_style_is_refused():
    with pytest.raises(ValueError, match="'embed1' or 'embed2', got 'embed3'"):
        encoder(embed_style="embed3")


# -- construction ---------------------------------------------------------------------


def test_fresh_parameters_are_distributed_as_in_the_reference():
    assert_initials_as_recorded(recorded_initials(ENCODER))


def test_state_is_that_of_the_reference():
    entry = recorded_initials(ENCODER)
    shapes = {key: value["shape"] for key, value in entry["params"].items()}
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    assert_state_as_recorded({**entry, "state_dict": shapes, "n_params": count})


def test_config_may_be_a_mapping_or_an_object():
    cfg = VitEncoderConfig(embed_dim=16, num_heads=2, embed_style="embed1")
    plain = {"embed_dim": 16, "num_heads": 2, "embed_style": "embed1"}
    assert as_config(plain) == cfg
    assert as_config(cfg) is cfg
    shapes = [
        {key: value.shape for key, value in VitEncoder([3], c).state_dict().items()}
        for c in (cfg, plain)
    ]
    assert shapes[0] == shapes[1]


def test_default_sizes_are_those_of_the_reference():
    cfg = VitEncoderConfig()
    assert (cfg.depth, cfg.embed_dim, cfg.num_heads) == (1, 128, 4)
    assert (cfg.embed_style, cfg.embed_norm) == ("embed2", 0)


def test_unknown_key_is_refused():
    with pytest.raises(ValueError, match="unknown keys \\['embed_size'\\]"):
        as_config({"embed_size": 16})


def test_a_copy_gives_the_same_features_and_a_plain_description():
    module, images = encoder(), pictures(2, 3, SIZE, SIZE)
    np.testing.assert_array_equal(clone_network(module)(images), module(images))
    described = VitEncoder(
        (3,), VitEncoderConfig(embed_dim=8, num_heads=2)
    ).get_config()
    assert json.loads(json.dumps(described)) == described
    assert described["cfg"]["embed_dim"] == 8


# -- helpers --------------------------------------------------------------------------


def test_linear_layers_are_drawn_anew_and_others_left():
    layer, other = nn_Linear(300, 200), nn_ReLU()
    init_weights_vit_timm(layer, "name")
    init_weights_vit_timm(other)
    assert np.std(layer.weight) == pytest.approx(0.02, rel=0.05)
    np.testing.assert_array_equal(layer.bias, np.zeros(200))
    init_weights_vit_timm(nn_Linear(3, 2, bias=False))


def test_functions_are_applied_below_a_module():
    inner = nn_Sequential(nn_ReLU())
    module = nn_Sequential(inner, nn_ReLU())

    def visited(**options):
        names = []
        found = named_apply(lambda module, name: names.append(name), module, **options)
        assert found is module
        return names

    assert visited() == ["0.0", "0", "1"]
    assert visited(depth_first=False) == ["0", "0.0", "1"]
    assert visited(include_root=True, name="top") == [
        "top.0.0",
        "top.0",
        "top.1",
        "top",
    ]
    assert visited(include_root=True, depth_first=False) == ["", "0", "0.0", "1"]


def test_only_linear_layers_of_the_transformer_have_its_initial_values():
    module = MinVit("embed2", 64, 0, num_head=4, depth=1)
    state = module.state_dict()
    assert np.std(state["net.0.linear1.weight"]) == pytest.approx(0.02, rel=0.1)
    bound = 1.0 / np.sqrt(3 * 8 * 8)
    first = state["patch_embed.embed.0.weight"]
    assert np.abs(first).max() == pytest.approx(bound, rel=0.02)
