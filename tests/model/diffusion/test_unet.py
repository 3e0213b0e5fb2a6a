import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.modules import predict_at
from model.diffusion.unet import ResidualBlock1D, Unet1D, VisionUnet1D
from tests.model.fakes import count_parameters, normal, set_parameters, states
from tests.model.images import encoder, seen
from tests.model.recorded import (
    assert_initials_as_recorded,
    assert_state_as_recorded,
    recorded_initials,
    recorded_networks,
)
from tests.modes import MODES, in_mode
from util.torch_to_tf import clone_network

MODULE = "model.diffusion.unet"
ROWS, STEPS, WIDTH = 6, 4, 3
X, TIME = normal(ROWS, STEPS, WIDTH), np.arange(ROWS)
SIZES = {
    "action_dim": WIDTH,
    "cond_dim": 5,
    "diffusion_step_embed_dim": 8,
    "dim": 4,
    "dim_mults": [1, 2],
    "n_groups": 2,
    "cond_predict_scale": True,
}


def network(**options) -> Unet1D:
    return Unet1D(**{**SIZES, **options})


def looking(**options) -> VisionUnet1D:
    images = {"backbone": encoder(), "spatial_emb": 6}
    return VisionUnet1D(**{**SIZES, **images, **options})


# -- a block --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [3, 4])
def test_a_block_adds_what_the_condition_gives_between_two_blocks(channels, mode):
    block = ResidualBlock1D(channels, 4, cond_dim=5, n_groups=2)
    x, cond = tf.constant(normal(6, channels, 8)), tf.constant(normal(6, 5))
    first, second = block.blocks
    between = first(x) + block.cond_encoder(cond)[:, :, None]
    expected = second(between) + block.residual_conv(x)
    out = in_mode(block, mode)(x, cond)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    assert ("residual_conv.weight" in block.state_dict()) is (channels != 4)


def test_a_block_may_scale_first():
    block = ResidualBlock1D(3, 4, cond_dim=5, n_groups=2, cond_predict_scale=True)
    x, cond = tf.constant(normal(6, 3, 8)), tf.constant(normal(6, 5))
    scale, summand = np.split(block.cond_encoder(cond).numpy()[:, :, None], 2, axis=1)
    first, second = block.blocks
    expected = second(first(x) * scale + summand) + block.residual_conv(x)
    np.testing.assert_allclose(block(x, cond), expected, rtol=1e-4, atol=1e-5)


def test_the_encoder_of_the_condition_has_one_or_three_layers():
    small = ResidualBlock1D(3, 4, cond_dim=5).cond_encoder
    large = ResidualBlock1D(3, 4, cond_dim=5, larger_encoder=True).cond_encoder
    shapes = {name: tuple(p.shape) for name, p in large.named_parameters()}
    assert shapes == {
        "0.weight": (4, 5),
        "0.bias": (4,),
        "2.weight": (4, 4),
        "2.bias": (4,),
        "4.weight": (4, 4),
        "4.bias": (4,),
    }
    assert list(small.state_dict()) == ["1.weight", "1.bias"]
    cond = tf.constant(normal(6, 5))
    activated = small[0](cond)
    np.testing.assert_allclose(small(cond), small[1](activated), rtol=1e-5, atol=1e-6)


def test_kernels_that_change_the_length_are_refused():
    with pytest.raises(ValueError, match="kernel_size must be odd .* got 4"):
        ResidualBlock1D(3, 4, cond_dim=5, kernel_size=4)


# -- from the state -------------------------------------------------------------------


@pytest.mark.parametrize("entry", recorded_networks(f"{MODULE}.Unet1D"))
def test_state_is_that_of_the_reference(entry):
    assert_state_as_recorded(entry)


def test_fresh_parameters_are_distributed_as_in_the_reference():
    assert_initials_as_recorded(recorded_initials(f"{MODULE}.Unet1D"))


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ({"action_dim": 7, "cond_dim": 23, "dim": 40, "dim_mults": [1, 2]}, 652455),
        ({"action_dim": 7, "cond_dim": 23, "dim": 64, "dim_mults": [1, 2]}, 1623255),
        ({"action_dim": 14, "cond_dim": 59, "dim": 64, "dim_mults": [1, 2]}, 1681694),
        (
            {"action_dim": 10, "cond_dim": 58, "dim": 64, "dim_mults": [1, 2, 4]},
            6856346,
        ),
    ],
)
def test_has_the_parameters_of_the_reference(sizes, count):
    options = {"diffusion_step_embed_dim": 16, "n_groups": 8}
    module = Unet1D(**sizes, **options, cond_predict_scale=True)
    assert count_parameters(module) == count


@pytest.mark.parametrize(
    ("steps", "mults", "mode"),
    [
        (1, [1], "graph"),
        (2, [1, 2], "graph"),
        *((4, [1, 2, 4], mode) for mode in MODES),
        (16, [1, 2], "graph"),
    ],
)
def test_predicts_in_the_shape_of_the_chunk(steps, mults, mode):
    module, x = network(dim_mults=mults), tf.constant(normal(ROWS, steps, WIDTH))
    out = in_mode(module, mode)(x, tf.constant(TIME), states(ROWS, 1, 5))
    assert out.shape == x.shape
    assert out.dtype == tf.float32
    expected = module(x, TIME, states(ROWS, 1, 5))
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def chunk_first(module: Unet1D, x, g):
    """The trunk with the layers as they are, channels first, as in PyTorch."""
    x, skips = tf.transpose(x, [0, 2, 1]), []
    for first, second, down in module.down_modules:
        x = second(first(x, g), g)
        skips.append(x)
        x = down.conv(x) if hasattr(down, "conv") else x
    for block in module.mid_modules:
        x = block(x, g)
    for (first, second, up), skip in zip(
        module.up_modules, reversed(skips), strict=False
    ):
        x = up.conv(second(first(tf.concat([x, skip], axis=1), g), g))
    for layer in module.final_conv:
        x = layer(x)
    return tf.transpose(x, [0, 2, 1])


def test_levels_are_joined_by_what_they_had_on_the_way_down():
    module = network(dim_mults=[1, 2, 4])
    set_parameters(module)
    cond = states(ROWS, 1, 5)
    g = tf.concat([module.embed(tf.constant(TIME)), module.encode(cond)], axis=-1)
    expected = chunk_first(module, tf.constant(X), g).numpy()
    out = module(X, TIME, cond)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(out / scale, expected / scale, atol=1e-5)


def test_state_can_be_encoded_first():
    module = network(cond_mlp_dims=[7, 2])
    encoded = module.encode(states(ROWS, 1, 5))
    assert encoded.shape == (ROWS, 2)
    expected = module.cond_mlp(states(ROWS, 1, 5)["state"][:, 0])
    np.testing.assert_allclose(encoded, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "is_large"),
    [
        ({}, True),
        ({"smaller_encoder": True}, False),
        ({"cond_mlp_dims": [7, 2]}, False),
    ],
)
def test_blocks_have_the_larger_encoder_unless_there_is_another(options, is_large):
    keys = network(**options).state_dict()
    assert ("mid_modules.0.cond_encoder.4.weight" in keys) is is_large


def test_modules_have_the_order_of_the_reference():
    keys = network(cond_mlp_dims=[7, 2]).state_dict()
    assert list(dict.fromkeys(key.split(".")[0] for key in keys)) == [
        "time_mlp",
        "cond_mlp",
        "mid_modules",
        "down_modules",
        "up_modules",
        "final_conv",
    ]


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_prediction_at_a_step_equals_the_whole_network(mode):
    module, cond = network(cond_mlp_dims=[7, 2]), states(ROWS, 1, 5)

    def predict(x, i):
        return predict_at(module, cond, tf.constant([9, 4, 0], tf.int64))(x, i)

    got = in_mode(predict, mode)(tf.constant(X), tf.constant(1))
    expected = module(X, np.full(ROWS, 4), cond=cond)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_rows_do_not_mix_and_steps_matter():
    module, cond = network(), states(ROWS, 1, 5)
    out = module(X, TIME, cond).numpy()
    other = module(X, TIME + np.eye(ROWS, dtype=int)[2], cond).numpy()
    rows = [np.allclose(a, b) for a, b in zip(out, other, strict=True)]
    assert rows == [True, True, False, True, True, True]


def test_one_trace_serves_any_number_of_rows():
    module = network()
    specs = [
        tf.TensorSpec([None, STEPS, WIDTH]),
        tf.TensorSpec([None], tf.int64),
        {"state": tf.TensorSpec([None, 1, 5])},
    ]
    function = in_mode(module.call, "graph", input_signature=specs)
    for rows in (1, ROWS):
        out = function(X[:rows], TIME[:rows], states(rows, 1, 5))
        expected = module(X[:rows], TIME[:rows], states(rows, 1, 5))
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    assert function.experimental_get_tracing_count() == 1


def unused(module) -> list[str]:
    """Parameters that no gradient reaches."""
    cond = seen(ROWS)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(X, TIME, cond) ** 2)
    gradients = tape.gradient(loss, module.parameters())
    return [
        name
        for (name, _), gradient in zip(
            module.named_parameters(), gradients, strict=True
        )
        if gradient is None or not np.any(gradient)
    ]


@pytest.mark.parametrize(
    "options", [{}, {"cond_mlp_dims": [7, 2], "cond_predict_scale": False}]
)
def test_gradients_reach_every_parameter(options):
    assert unused(network(**options)) == []


def test_a_chunk_that_cannot_be_halved_is_refused():
    module = network(dim_mults=[1, 2, 4])
    with pytest.raises(ValueError, match="horizon_steps must be a multiple of 4 .* 6"):
        module(normal(2, 6, WIDTH), TIME[:2], states(2, 1, 5))


@pytest.mark.parametrize("mults", [[2, 4], []])
def test_other_first_levels_are_refused(mults):
    with pytest.raises(ValueError, match="dim_mults must begin with 1, got"):
        network(dim_mults=mults)


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="dim_mult'"):
        network(dim_mult=[1])
    with pytest.raises(TypeError, match="dim_mult'"):
        looking(dim_mult=[1])
    with pytest.raises(TypeError, match="visual_dim"):
        looking(visual_dim=3)


# -- from images ----------------------------------------------------------------------


@pytest.mark.parametrize("entry", recorded_networks(f"{MODULE}.VisionUnet1D"))
def test_state_with_images_is_that_of_the_reference(entry):
    assert_state_as_recorded(entry)


@pytest.mark.parametrize("mode", MODES)
def test_images_come_after_time_and_before_the_state(mode):
    module, cond = looking(), seen(ROWS)
    state = cond["state"][:, 0]
    features = tf.concat(
        [module.compress(module.backbone(cond["rgb"][:, 0]), state), state], axis=-1
    )
    np.testing.assert_allclose(module.encode(cond), features, rtol=1e-4, atol=1e-5)
    expected = module.predict(X, module.embed(tf.constant(TIME)), features)
    out = in_mode(module, mode)(tf.constant(X), tf.constant(TIME), cond)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["eager", "jit"])
def test_images_may_be_compressed_by_a_linear_layer(mode):
    module, cond = looking(spatial_emb=0, visual_feature_dim=7), seen(ROWS)
    out = in_mode(module, mode)(tf.constant(X), tf.constant(TIME), cond)
    assert out.shape == X.shape
    assert module.encode(cond).shape == (ROWS, 7 + 5)
    assert "compress.0.weight" in module.state_dict()
    assert unused(module) == []


@pytest.mark.parametrize("mode", ["eager", "jit"])
def test_an_encoder_of_the_state_may_have_any_width(mode):
    module, cond = looking(cond_mlp_dims=[7, 2]), seen(ROWS)
    encoded = module.cond_mlp(cond["state"][:, 0])
    visual = module.compress(module.backbone(cond["rgb"][:, 0]), encoded)
    np.testing.assert_allclose(
        module.encode(cond), tf.concat([visual, encoded], axis=-1), rtol=1e-4, atol=1e-5
    )
    out = in_mode(module, mode)(tf.constant(X), tf.constant(TIME), cond)
    assert out.shape == X.shape
    assert unused(module) == []


def test_a_copy_sees_the_same():
    module, cond = looking(num_img=2), seen(ROWS, channels=6)
    copy = clone_network(module)
    assert list(copy.state_dict()) == list(module.state_dict())
    np.testing.assert_array_equal(copy(X, TIME, cond), module(X, TIME, cond))
