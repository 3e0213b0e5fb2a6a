import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp import MLP, ResidualMLP
from model.diffusion.mlp_diffusion import DiffusionMLP, VisionDiffusionMLP
from model.diffusion.modules import predict_at
from tests.model.fakes import count_parameters, normal, states
from tests.model.images import encoder, seen
from tests.model.recorded import assert_state_as_recorded, recorded_networks
from tests.modes import MODES, in_mode

SIZES = {
    "action_dim": 3,
    "horizon_steps": 2,
    "cond_dim": 4,
    "time_dim": 8,
    "mlp_dims": [5, 5, 5],
}
X, TIME = normal(6, 2, 3), np.arange(6)


def network(**options) -> DiffusionMLP:
    return DiffusionMLP(**{**SIZES, **options})


# action_dim, horizon_steps, cond_dim, options, number of parameters in the reference
COUNTS = {
    "hopper": (3, 4, 11, {"mlp_dims": [512] * 3}, 553020),
    "walker2d": (6, 4, 17, {"mlp_dims": [512] * 3}, 568392),
    "can": (7, 4, 23, {"mlp_dims": [512] * 3}, 575564),
    "avoid": (2, 4, 4, {"mlp_dims": [512] * 3}, 545336),
    "kitchen": (9, 4, 60, {"mlp_dims": [256] * 3, "cond_mlp_dims": [128, 32]}, 175604),
    "square": (
        7,
        4,
        23,
        {"mlp_dims": [1024] * 3, "cond_mlp_dims": [512, 64], "time_dim": 32},
        2305212,
    ),
    "transport": (14, 8, 59, {"mlp_dims": [1024] * 3, "time_dim": 32}, 2427088),
    "one_leg": (
        10,
        8,
        58,
        {
            "mlp_dims": [1024] * 7,
            "cond_mlp_dims": [512, 64],
            "time_dim": 32,
            "use_layernorm": True,
        },
        6640368,
    ),
}


@pytest.mark.parametrize("task", COUNTS)
def test_has_the_parameters_of_the_reference(task):
    *sizes, options, count = COUNTS[task]
    options = {"residual_style": True, "activation_type": "ReLU", **options}
    assert count_parameters(DiffusionMLP(*sizes, **options)) == count


@pytest.mark.parametrize("mode", MODES)
def test_predicts_in_the_shape_of_the_chunk(mode):
    out = in_mode(network(), mode)(tf.constant(X), tf.constant(TIME), states(6, 2, 2))
    assert out.shape == X.shape
    assert out.dtype == tf.float32


def test_input_is_chunk_then_time_then_state():
    module, cond = network(), states(6, 2, 2)
    embedding = module.time_embedding(tf.constant(TIME))
    parts = [X.reshape(6, 6), embedding, np.reshape(cond["state"], [6, 4])]
    expected = module.mlp_mean(np.concatenate(parts, axis=-1))
    out = module(X, TIME, cond)
    np.testing.assert_allclose(np.reshape(out, [6, 6]), expected, rtol=1e-5, atol=1e-6)


def test_state_can_be_encoded_first():
    module, cond = network(cond_mlp_dims=[7, 3]), states(6, 2, 2)
    embedding = module.time_embedding(tf.constant(TIME))
    state = module.cond_mlp(np.reshape(cond["state"], [6, 4]))
    expected = module.mlp_mean(np.concatenate([X.reshape(6, 6), embedding, state], -1))
    out = module(X, TIME, cond)
    np.testing.assert_allclose(np.reshape(out, [6, 6]), expected, rtol=1e-5, atol=1e-6)


def test_rows_do_not_mix_and_steps_matter():
    module, cond = network(), states(6, 2, 2)
    out = module(X, TIME, cond).numpy()
    changed = TIME + np.eye(6, dtype=int)[2]
    other = module(X, changed, cond).numpy()
    rows = [np.allclose(a, b) for a, b in zip(out, other, strict=True)]
    assert rows == [True, True, False, True, True, True]


def test_steps_may_form_a_column():
    module, cond = network(), states(6, 2, 2)
    column = module(X, TIME[:, None], cond)
    np.testing.assert_array_equal(column, module(X, TIME, cond))


def test_unknown_batch_size():
    module = network()
    specs = [
        tf.TensorSpec([None, 2, 3]),
        tf.TensorSpec([None], tf.int64),
        {"state": tf.TensorSpec([None, 2, 2])},
    ]
    function = in_mode(module.call, "graph", input_signature=specs)
    for rows in (1, 6):
        out = function(X[:rows], TIME[:rows], states(rows, 2, 2))
        assert out.shape == (rows, 2, 3)


def test_modules_have_the_order_of_the_reference():
    keys = network(cond_mlp_dims=[7, 3]).state_dict()
    assert list(dict.fromkeys(key.split(".")[0] for key in keys)) == [
        "time_embedding",
        "cond_mlp",
        "mlp_mean",
    ]
    assert "cond_mlp" not in {key.split(".")[0] for key in network().state_dict()}


def test_options_reach_the_networks():
    plain, residual = network(use_layernorm=True), network(residual_style=True)
    assert isinstance(plain.mlp_mean, MLP)
    assert isinstance(residual.mlp_mean, ResidualMLP)
    assert "mlp_mean.moduleList.2.norm_1.weight" in plain.state_dict()
    assert "mlp_mean.moduleList.3.norm_1.weight" not in plain.state_dict()
    out = network(out_activation_type="Tanh")(100 * X, TIME, states(6, 2, 2))
    assert np.abs(out).max() <= 1.0


def test_gradients_reach_every_parameter():
    module = network(cond_mlp_dims=[7, 3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(X, TIME, states(6, 2, 2)) ** 2)
    for (name, _), gradient in zip(
        module.named_parameters(),
        tape.gradient(loss, module.parameters()),
        strict=True,
    ):
        assert np.count_nonzero(gradient) > 0, name


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="mlp_dim'"):
        DiffusionMLP(3, 2, 4, mlp_dim=[5])


# -- from images ----------------------------------------------------------------------


def looking(**options) -> VisionDiffusionMLP:
    sizes = {**SIZES, "cond_dim": 5, "spatial_emb": 6, "backbone": encoder()}
    return VisionDiffusionMLP(**{**sizes, **options})


@pytest.mark.parametrize("mode", MODES)
def test_images_come_after_time_and_before_the_state(mode):
    module, cond = looking(), seen(6)
    state = cond["state"][:, 0]
    visual = module.compress(module.backbone(cond["rgb"][:, 0]), state)
    embedding = module.time_embedding(tf.constant(TIME))
    parts = [X.reshape(6, 6), embedding, visual, state]
    expected = module.mlp_mean(tf.concat(parts, axis=-1))
    out = in_mode(module, mode)(tf.constant(X), tf.constant(TIME), cond)
    np.testing.assert_allclose(np.reshape(out, [6, 6]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_images_are_encoded_once_for_all_steps(mode):
    module, cond, traced = looking(), seen(6), []
    original = module.backbone.call
    module.backbone.call = lambda *args: traced.append(1) or original(*args)

    def predict(x):
        function = predict_at(module, cond, tf.constant([9, 4, 0], tf.int64))
        return [function(x, i) for i in range(3)]

    outputs = in_mode(predict, mode)(tf.constant(X))
    assert len(traced) == 1
    for step, out in zip([9, 4, 0], outputs, strict=True):
        expected = module(X, np.full(6, step), cond)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter_behind_the_images():
    module = looking(num_img=2, spatial_emb=0, visual_feature_dim=3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(X, TIME, seen(6, channels=6)) ** 2)
    gradients = tape.gradient(loss, module.parameters())
    for (name, _), gradient in zip(module.named_parameters(), gradients, strict=True):
        assert np.any(gradient), name


def test_options_reach_the_networks_behind_the_images():
    plain = looking(use_layernorm=True, out_activation_type="Tanh")
    assert isinstance(plain.mlp_mean, MLP)
    assert "mlp_mean.moduleList.2.norm_1.weight" in plain.state_dict()
    assert np.abs(plain(100 * X, TIME, seen(6))).max() <= 1.0
    assert isinstance(looking(residual_style=True).mlp_mean, ResidualMLP)


def test_an_encoder_of_the_state_is_refused_with_images():
    with pytest.raises(TypeError, match="cond_mlp_dims"):
        looking(cond_mlp_dims=[4, 2])


@pytest.mark.parametrize(
    "entry", recorded_networks("model.diffusion.mlp_diffusion.VisionDiffusionMLP")
)
def test_state_with_images_is_that_of_the_reference(entry):
    assert_state_as_recorded(entry)
