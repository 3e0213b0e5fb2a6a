import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp import ResidualMLP
from model.common.mlp_gaussian import Gaussian_MLP, Gaussian_VisionMLP, StdBounds
from tests.model.fakes import count_parameters, set_parameters, states
from tests.model.images import encoder, seen
from tests.model.recorded import assert_state_as_recorded, recorded_networks
from tests.modes import MODES, in_mode

SIZES = {"action_dim": 2, "horizon_steps": 3, "cond_dim": 4, "mlp_dims": [5, 5]}


def network(**options) -> Gaussian_MLP:
    return Gaussian_MLP(**{**SIZES, **options})


def randomised(**options) -> tuple[Gaussian_MLP, dict]:
    """A network whose parameters are random, except the bounds."""
    module = network(**options)
    bounds = {k: v for k, v in module.state_dict().items() if k.startswith("logvar_m")}
    set_parameters(module)
    module.load_state_dict(bounds, strict=False)
    return module, states(6, 2, 2)


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        *[({}, mode) for mode in MODES],
        ({"fixed_std": 0.1}, "graph"),
        ({"fixed_std": 0.1, "learn_fixed_std": True}, "graph"),
    ],
)
def test_shapes_and_types(options, mode):
    mean, std = in_mode(network(**options), mode)(states(6, 2, 2))
    for out in (mean, std):
        assert out.shape == (6, 6)
        assert out.dtype == tf.float32


def test_fixed_std_is_constant():
    module, cond = randomised(fixed_std=0.3)
    np.testing.assert_array_equal(module(cond)[1], np.full((6, 6), 0.3, np.float32))
    assert "logvar" not in module.state_dict()


def test_learned_std_is_one_per_action_dimension_within_its_bounds():
    module, cond = randomised(
        fixed_std=0.1, learn_fixed_std=True, std_min=0.05, std_max=0.5
    )
    module.logvar.assign(np.log(np.square([0.2, 3.0])))
    std = module(cond)[1]
    np.testing.assert_allclose(std, np.tile([0.2, 0.5], (6, 3)), rtol=1e-5)
    module.logvar.assign(np.log(np.square([0.001, 0.4])))
    std = module(cond)[1]
    np.testing.assert_allclose(std, np.tile([0.05, 0.4], (6, 3)), rtol=1e-5)


def test_learned_std_starts_at_the_given_value():
    module = network(fixed_std=0.1, learn_fixed_std=True)
    np.testing.assert_allclose(module(states(6, 2, 2))[1], 0.1, rtol=1e-5)


def test_learned_std_learns_inside_its_bounds_only():
    module, cond = randomised(fixed_std=0.1, learn_fixed_std=True)
    module.logvar.assign(np.log(np.square([0.2, 3.0])))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(module(cond)[1])
    # d std / d logvar = std / 2, summed over 6 rows and 3 steps; 0 where clipped.
    gradient = tape.gradient(total, module.logvar)
    np.testing.assert_allclose(gradient, [0.2 / 2 * 18, 0.0], rtol=1e-5)


def test_predicted_std_is_squashed_between_its_bounds():
    module, cond = randomised(std_min=0.05, std_max=0.5)
    features = module.mlp_base(tf.reshape(cond["state"], [6, 4]))
    squashed = np.tanh(module.mlp_logvar(features))
    low, high = np.log(0.05**2), np.log(0.5**2)
    expected = np.exp(0.5 * (low + 0.5 * (high - low) * (squashed + 1)))
    std = module(cond)[1]
    np.testing.assert_allclose(std, expected, rtol=1e-5)
    assert np.all((std >= 0.0499) & (std <= 0.5001))


@pytest.mark.parametrize("fixed_std", [None, 0.1])
def test_tanh_on_the_mean_can_be_left_out(fixed_std):
    squashed, cond = randomised(fixed_std=fixed_std)
    free = network(fixed_std=fixed_std, tanh_output=False)
    free.load_state_dict(squashed.state_dict())
    np.testing.assert_allclose(squashed(cond)[0], np.tanh(free(cond)[0]), rtol=1e-6)


def test_bounds_are_saved_but_not_trained():
    module = network(std_min=0.05, std_max=0.5)
    state = module.state_dict()
    assert state["logvar_min"] == pytest.approx(np.log(0.05**2))
    assert state["logvar_max"] == pytest.approx(np.log(0.5**2))
    assert state["logvar_min"].shape == ()
    frozen = [n for n, p in module.named_parameters() if not p.requires_grad]
    assert frozen == ["logvar_min", "logvar_max"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["logvar_min", "logvar_max", "mlp_base", "mlp_mean", "mlp_logvar"]),
        ({"fixed_std": 0.1}, ["logvar_min", "logvar_max", "mlp_mean"]),
        (
            {"fixed_std": 0.1, "learn_fixed_std": True},
            ["logvar", "logvar_min", "logvar_max", "mlp_mean"],
        ),
    ],
)
def test_state_has_the_order_of_the_reference(options, names):
    found = dict.fromkeys(key.split(".")[0] for key in network(**options).state_dict())
    assert list(found) == names


def test_options_reach_the_networks():
    options = {"activation_type": "ReLU", "use_layernorm": True}
    keys = network(**options).state_dict()
    assert "mlp_base.moduleList.1.norm_1.weight" in keys
    assert "mlp_mean.moduleList.0.norm_1.weight" not in keys
    fixed = network(fixed_std=0.1, **options).state_dict()
    assert "mlp_mean.moduleList.1.norm_1.weight" in fixed
    assert "mlp_mean.moduleList.2.norm_1.weight" not in fixed
    residual = network(fixed_std=0.1, residual_style=True, mlp_dims=[5, 5, 5])
    assert isinstance(residual.mlp_mean, ResidualMLP)
    assert isinstance(network(residual_style=True).mlp_base, ResidualMLP)


def test_dropout_acts_in_training_mode_only():
    module, cond = randomised(dropout=0.5, fixed_std=0.1, mlp_dims=[50])
    assert not np.array_equal(module(cond)[0], module(cond)[0])
    module.eval()
    np.testing.assert_array_equal(module(cond)[0], module(cond)[0])


def test_has_the_parameters_of_the_reference():
    module = Gaussian_MLP(
        action_dim=7,
        horizon_steps=4,
        cond_dim=23,
        mlp_dims=[512, 512, 512],
        residual_style=True,
        fixed_std=0.1,
        learn_fixed_std=True,
    )
    assert count_parameters(module) == 551973


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.1, 1.0), (0.5, 0.1)])
def test_impossible_bounds_are_refused(low, high):
    with pytest.raises(ValueError, match=f"0 < std_min <= .* got {low} and {high}"):
        network(std_min=low, std_max=high)


def test_learned_std_without_start_is_refused():
    with pytest.raises(ValueError, match="learn_fixed_std needs fixed_std"):
        StdBounds(0.1, 1.0, None, True, 2)


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="fix_std"):
        network(fix_std=0.1)


# -- from images ----------------------------------------------------------------------

LOOKING = {
    "action_dim": 2,
    "horizon_steps": 3,
    "cond_dim": 5,
    "mlp_dims": [5, 4],
    "spatial_emb": 6,
}


def looking(**options) -> Gaussian_VisionMLP:
    return Gaussian_VisionMLP(encoder(), **{**LOOKING, **options})


def features_of(module, cond):
    """What the image and the state give."""
    state = cond["state"][:, 0]
    visual = module.compress(module.backbone(cond["rgb"][:, 0]), state)
    return tf.concat([visual, state], axis=-1)


@pytest.mark.parametrize("mode", MODES)
def test_std_from_images_is_clamped_not_squashed(mode):
    # About half of the values lie between the bounds.
    module, cond = looking(std_min=0.97, std_max=1.05), seen(6)
    features = features_of(module, cond)
    mean, std = in_mode(module, mode)(cond)
    expected = np.tanh(module.mlp_mean(features))
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)
    free = np.exp(0.5 * module.mlp_logvar(features).numpy())
    assert free.min() < 0.97 or free.max() > 1.05
    np.testing.assert_allclose(std, np.clip(free, 0.97, 1.05), rtol=1e-4)


def test_head_of_the_std_has_one_hidden_layer_of_the_last_width():
    module = looking(residual_style=True, mlp_dims=[7, 7, 4], use_layernorm=True)
    assert isinstance(module.mlp_mean, ResidualMLP)
    keys = module.state_dict()
    assert keys["mlp_logvar.moduleList.0.linear_1.weight"].shape == (4, 11)
    assert keys["mlp_logvar.moduleList.1.linear_1.weight"].shape == (6, 4)
    assert "mlp_logvar.moduleList.0.norm_1.weight" in keys
    assert "mlp_mean.layers.1.norm1.weight" in keys


@pytest.mark.parametrize("learned", [False, True])
def test_std_may_be_fixed_with_images(learned):
    module, cond = looking(fixed_std=0.3, learn_fixed_std=learned), seen(6)
    mean, std = module(cond)
    assert mean.shape == std.shape == (6, 6)
    np.testing.assert_allclose(std, 0.3, rtol=1e-5)
    found = dict.fromkeys(key.split(".")[0] for key in module.state_dict())
    expected = ["logvar_min", "logvar_max", "backbone", "compress", "mlp_mean"]
    assert list(found) == (["logvar", *expected] if learned else expected)


def test_gradients_reach_every_parameter_behind_the_images():
    module, cond = looking(spatial_emb=0, visual_feature_dim=3, std_min=1e-9), seen(6)
    with tf.GradientTape() as tape:
        mean, std = module(cond)
        loss = tf.reduce_sum(mean**2) + tf.reduce_sum(std**2)
    trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    gradients = tape.gradient(loss, [p for _, p in trained])
    for (name, _), gradient in zip(trained, gradients, strict=True):
        assert np.any(gradient), name


@pytest.mark.parametrize(
    "entry", recorded_networks("model.common.mlp_gaussian.Gaussian_VisionMLP")
)
def test_state_with_images_is_that_of_the_reference(entry):
    assert_state_as_recorded(entry)
