import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp import ResidualMLP
from model.common.mlp_gmm import GMM_MLP
from tests.model.fakes import set_parameters, states
from tests.model.recorded import (
    assert_initials_as_recorded,
    assert_state_as_recorded,
    recorded_initials,
    recorded_networks,
)
from tests.modes import MODES, in_mode

TARGET = "model.common.mlp_gmm.GMM_MLP"
MODES_, STEPS, WIDTH = 3, 2, 2
SIZES = {"action_dim": WIDTH, "horizon_steps": STEPS, "cond_dim": 4, "mlp_dims": [5, 5]}


def network(**options) -> GMM_MLP:
    return GMM_MLP(**{**SIZES, "num_modes": MODES_, **options})


def randomised(**options) -> tuple[GMM_MLP, dict]:
    """A network whose parameters are random, except the bounds."""
    module = network(**options)
    bounds = {k: v for k, v in module.state_dict().items() if k.startswith("logvar_m")}
    set_parameters(module)
    module.load_state_dict(bounds, strict=False)
    return module, states(6, 2, 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options", [{}, {"fixed_std": 0.1}, {"fixed_std": 0.1, "learn_fixed_std": True}]
)
def test_shapes_and_types(options, mode):
    mean, std, logits = in_mode(network(**options), mode)(states(6, 2, 2))
    for out in (mean, std):
        assert out.shape == (6, MODES_, STEPS * WIDTH)
        assert out.dtype == tf.float32
    assert logits.shape == (6, MODES_)


def test_means_are_squashed_and_ordered_by_mode():
    module, cond = randomised()
    flat = tf.reshape(cond["state"], [6, 4])
    expected = np.tanh(module.mlp_mean(flat)).reshape(6, MODES_, STEPS * WIDTH)
    np.testing.assert_allclose(module(cond)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(module(cond)[2], module.mlp_weights(flat), rtol=1e-6)


def test_predicted_std_is_clipped_to_its_bounds():
    module, cond = randomised(std_min=0.05, std_max=0.5)
    raw = module.mlp_logvar(tf.reshape(cond["state"], [6, 4])).numpy()
    expected = np.clip(np.exp(0.5 * raw), 0.05, 0.5).reshape(6, MODES_, -1)
    assert (expected == 0.05).any()
    assert (expected == 0.5).any()
    np.testing.assert_allclose(module(cond)[1], expected, rtol=1e-5)


def test_fixed_std_is_constant():
    module, cond = randomised(fixed_std=0.3)
    np.testing.assert_array_equal(module(cond)[1], np.full((6, 3, 4), np.float32(0.3)))
    assert "logvar" not in module.state_dict()


def test_learned_std_is_one_per_mode_and_action_dimension():
    module, cond = randomised(fixed_std=0.1, learn_fixed_std=True, std_max=0.5)
    deviations = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 3.0]])
    module.logvar.assign(np.log(np.square(deviations)).ravel())
    expected = np.tile(np.minimum(deviations, 0.5), [1, STEPS])
    np.testing.assert_allclose(module(cond)[1], np.tile(expected, (6, 1, 1)), rtol=1e-5)


def test_learned_std_learns_inside_its_bounds_only():
    module, cond = randomised(fixed_std=0.1, learn_fixed_std=True)
    deviations = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 3.0])
    module.logvar.assign(np.log(np.square(deviations)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(module(cond)[1])
    # d std / d logvar = std / 2, summed over 6 rows and 2 steps; 0 where clipped.
    expected = np.where(deviations < 1, deviations / 2 * 12, 0.0)
    np.testing.assert_allclose(tape.gradient(total, module.logvar), expected, rtol=1e-5)


def test_every_part_learns():
    module, cond = randomised(std_min=1e-4, std_max=1e4)
    trained = [p.value for p in module.parameters() if p.trainable]
    with tf.GradientTape() as tape:
        total = tf.add_n([tf.reduce_sum(out**2) for out in module(cond)])
    gradients = tape.gradient(total, trained)
    assert all(np.abs(g).max() > 0 for g in gradients)
    assert len(trained) == 3 * 3 * 2


def test_options_reach_the_networks():
    keys = network(use_layernorm=True).state_dict()
    assert "mlp_weights.moduleList.1.norm_1.weight" in keys
    residual = network(residual_style=True, mlp_dims=[5, 5, 5])
    assert isinstance(residual.mlp_logvar, ResidualMLP)
    relu, mish = network(activation_type="ReLU"), network()
    mish.load_state_dict(relu.state_dict())
    cond = states(2, 2, 2)
    assert not np.allclose(relu(cond)[0], mish(cond)[0])


@pytest.mark.parametrize("entry", recorded_networks(TARGET), ids=lambda e: e["id"])
def test_state_is_that_of_the_reference(entry):
    assert_state_as_recorded(entry)


def test_fresh_values_are_those_of_the_reference():
    assert_initials_as_recorded(recorded_initials(TARGET))


def test_mixture_without_modes_is_refused():
    with pytest.raises(ValueError, match="num_modes must be >= 1, got 0"):
        network(num_modes=0)


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="num_mode'"):
        network(num_mode=3)
