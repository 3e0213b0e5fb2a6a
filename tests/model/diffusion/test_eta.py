import numpy as np
import pytest
import tensorflow as tf

from model.diffusion.eta import EtaAction, EtaFixed, EtaState, EtaStateAction
from tests.model.fakes import states
from tests.modes import MODES, in_mode
from util.torch_to_tf import nn_Module

COND = states(5, 2, 2)
NETWORKS: dict[str, type[nn_Module]] = {"state": EtaState, "action": EtaStateAction}


def eta_network(kind: str, **options) -> nn_Module:
    sizes = {"input_dim": 4, "mlp_dims": [6]}
    if kind == "action":
        sizes["action_dim"] = 3
    return NETWORKS[kind](**sizes, **options)


def gradient(module: nn_Module) -> list:
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(module(COND))
    return tape.gradient(total, module.parameters())


@pytest.mark.parametrize("mode", MODES[:2])
@pytest.mark.parametrize(
    ("module", "width"),
    [
        (EtaFixed(0.7), 1),
        (EtaAction(3, 0.7), 3),
        (EtaState(4, [6], base_eta=0.7, gain=0.0), 1),
        (EtaStateAction(4, [6], 3, base_eta=0.7, gain=0.0), 3),
    ],
    ids=["fixed", "action", "state", "state_action"],
)
def test_starts_at_the_given_value_for_every_row(module, width, mode):
    out = in_mode(module, mode)(COND)
    assert out.dtype == tf.float32
    np.testing.assert_allclose(out, np.full((5, width), 0.7), rtol=1e-6)


@pytest.mark.parametrize("kind", [EtaFixed, lambda *a: EtaAction(3, *a)])
def test_value_lies_between_its_bounds(kind):
    module = kind(0.5, 0.2, 1.0)
    # Position (eta - min) / (max - min) is (tanh(logit) + 1) / 2.
    logit = module.state_dict()["eta_logit"]
    np.testing.assert_allclose(np.tanh(logit), 2 * (0.5 - 0.2) / 0.8 - 1, rtol=1e-5)
    for value, bound in ((1e3, 1.0), (-1e3, 0.2), (0.0, 0.6)):
        module.eta_logit.assign(np.full_like(logit, value))
        np.testing.assert_allclose(module(COND), bound, rtol=1e-6)


def test_value_at_its_upper_bound_has_an_infinite_logit_as_in_checkpoints():
    module = EtaFixed(1.0, 0.1, 1.0)
    assert np.isposinf(module.state_dict()["eta_logit"]).all()
    np.testing.assert_array_equal(module(COND), np.ones((5, 1)))


def test_value_at_its_lower_bound():
    np.testing.assert_allclose(EtaFixed(0.1, 0.1, 1.0)(COND), 0.1, rtol=1e-6)


def test_fixed_eta_does_not_learn_and_eta_of_actions_does():
    assert gradient(EtaFixed(0.5)) == [None]
    # d eta / d logit = (1 - tanh^2) (max - min) / 2, summed over 5 rows.
    tanh = 2 * (0.5 - 0.1) / 0.9 - 1
    expected = np.full(3, 5 * (1 - tanh**2) * 0.9 / 2)
    np.testing.assert_allclose(gradient(EtaAction(3, 0.5))[0], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_network_adds_a_squashed_residual_and_clips(kind):
    module = eta_network(kind, base_eta=0.5, min_eta=0.3, max_eta=0.6, gain=3.0)
    residual = np.tanh(module.mlp_res(tf.reshape(COND["state"], [5, 4])))
    assert residual.min() < -0.2
    assert residual.max() > 0.1
    np.testing.assert_allclose(
        module(COND), np.clip(residual + 0.5, 0.3, 0.6), rtol=1e-6
    )
    assert all(g is not None for g in gradient(module))


@pytest.mark.parametrize("kind", NETWORKS)
def test_network_starts_with_small_weights_and_no_biases(kind):
    sizes = {"action_dim": 100} if kind == "action" else {}
    module = NETWORKS[kind](200, [300], gain=0.5, **sizes)
    state = module.state_dict()
    weight = state["mlp_res.moduleList.0.linear_1.weight"]
    assert weight.std() == pytest.approx(0.5 * np.sqrt(2 / 500), rel=0.02)
    assert not np.any(state["mlp_res.moduleList.0.linear_1.bias"])


def test_network_options():
    module = EtaState(4, [6], "Tanh", "ReLU", base_eta=0.5, gain=3.0)
    flat = tf.reshape(COND["state"], [5, 4])
    state = module.mlp_res.state_dict()
    hidden = np.tanh(flat @ state["moduleList.0.linear_1.weight"].T)
    out = np.maximum(hidden @ state["moduleList.1.linear_1.weight"].T, 0)
    expected = np.clip(np.tanh(out) + 0.5, 0.1, 1.0)
    np.testing.assert_allclose(module(COND), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_network_refuses_images(kind):
    with pytest.raises(NotImplementedError, match="'rgb'. Use EtaFixed or EtaAction"):
        eta_network(kind)({**COND, "rgb": tf.zeros([5, 1])})


@pytest.mark.parametrize("kind", [EtaFixed, lambda *a: EtaAction(3, *a)])
@pytest.mark.parametrize("values", [(0.05, 0.1, 1.0), (1.1, 0.1, 1.0)])
def test_value_outside_its_bounds_is_refused(kind, values):
    with pytest.raises(ValueError, match="min_eta <= base_eta <= max_eta must hold"):
        kind(*values)


def test_unknown_argument_is_refused_and_those_of_other_kinds_are_listed():
    with pytest.raises(TypeError, match="eta'"):
        EtaFixed(eta=1.0)
    assert set(EtaFixed.dead_config_keys) == {"input_dim", "mlp_dims", "action_dim"}
    assert set(EtaAction.dead_config_keys) == {"input_dim", "mlp_dims"}
    assert set(EtaState.dead_config_keys) == {"action_dim"}
