import numpy as np
import pytest
import tensorflow as tf

from model.common.critic import (
    CriticObs,
    CriticObsAct,
    ViTCritic,
    flat_state,
    repeat_rows,
)
from model.common.mlp import MLP, ResidualMLP
from tests.model.fakes import count_parameters, normal, set_parameters, states
from tests.model.images import encoder, seen
from tests.model.recorded import assert_state_as_recorded, recorded_networks
from tests.modes import MODES, in_mode
from util.compat import reference


def test_flat_state_has_time_outside_and_features_inside():
    state = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(flat_state({"state": state}), [[0, 1, 2, 3, 4, 5]])


def test_flat_state_keeps_its_width_for_an_unknown_batch():
    spec = tf.TensorSpec([None, 2, 3])
    function = tf.function(lambda s: flat_state({"state": s}))
    assert function.get_concrete_function(spec).outputs[0].shape.as_list() == [None, 6]


def test_repeated_rows_follow_each_other():
    cond = {"state": tf.constant([[[1.0]], [[2.0]]])}
    assert repeat_rows(cond, 1) is cond
    repeated = repeat_rows(cond, 3)["state"].numpy()
    assert repeated.ravel().tolist() == [1, 1, 1, 2, 2, 2]
    assert repeated.shape == (6, 1, 1)


# -- V(s) -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_state_value_is_the_network_on_the_flat_state(mode):
    critic, cond = CriticObs(cond_dim=6, mlp_dims=[4]), states(5, 2, 3)
    out = in_mode(critic, mode)(cond)
    assert out.shape == (5, 1)
    expected = critic.Q1(tf.reshape(cond["state"], [5, 6]))
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-7)


def test_state_value_takes_features_as_they_are():
    critic, features = CriticObs(cond_dim=6, mlp_dims=[4]), normal(5, 6)
    np.testing.assert_array_equal(critic(features), critic.Q1(features))


@pytest.mark.parametrize(
    ("cond_dim", "count"), [(11, 134913), (17, 136449), (23, 137985)]
)
def test_state_value_has_the_parameters_of_the_reference(cond_dim, count):
    critic = CriticObs(cond_dim, [256, 256, 256], residual_style=True)
    assert count_parameters(critic) == count


def test_state_value_options_reach_the_network():
    options = {"activation_type": "Tanh", "use_layernorm": True}
    plain = CriticObs(2, [3, 3, 3], **options)
    residual = CriticObs(2, [3, 3, 3], residual_style=True, **options)
    assert isinstance(plain.Q1, MLP)
    assert isinstance(residual.Q1, ResidualMLP)
    assert "Q1.moduleList.0.norm_1.weight" in plain.state_dict()
    assert "Q1.moduleList.3.norm_1.weight" not in plain.state_dict()
    assert "Q1.layers.1.norm1.weight" in residual.state_dict()


# -- Q(s, a) --------------------------------------------------------------------------


def expected_q(mlp, cond, action):
    rows = len(action)
    flat = [np.reshape(cond["state"], [rows, -1]), np.reshape(action, [rows, -1])]
    return mlp(np.concatenate(flat, axis=-1)).numpy()[:, 0]


@pytest.mark.parametrize("mode", MODES)
def test_two_action_values_of_the_joined_state_and_action(mode):
    critic = CriticObsAct(6, [4], action_dim=2, action_steps=3)
    cond, action = states(5, 2, 3), normal(5, 3, 2)
    values = in_mode(critic, mode)(cond, tf.constant(action))
    for value, mlp in zip(values, (critic.Q1, critic.Q2), strict=True):
        assert value.shape == (5,)
        expected = expected_q(mlp, cond, action)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(values[0], values[1])


def test_flat_actions_give_the_same_values():
    critic, cond, action = CriticObsAct(2, [4], 2, 3), states(5), normal(5, 3, 2)
    first, second = critic(cond, action)[0], critic(cond, action.reshape(5, 6))[0]
    np.testing.assert_array_equal(first, second)


def test_single_action_value():
    critic = CriticObsAct(2, [4], 2, double_q=False)
    assert critic(states(5), normal(5, 1, 2)).shape == (5,)
    assert {key.split(".")[0] for key in critic.state_dict()} == {"Q1"}


def test_each_action_value_learns_by_itself():
    critic, cond, action = CriticObsAct(2, [4], 2), states(5), normal(5, 1, 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(critic(cond, action)[0])
    gradients = tape.gradient(loss, critic.parameters())
    for (name, _), gradient in zip(critic.named_parameters(), gradients, strict=True):
        assert (gradient is not None) is name.startswith("Q1."), name


def test_residual_switch_is_spelled_as_in_the_reference():
    assert isinstance(CriticObsAct(2, [4], 2, residual_tyle=True).Q1, ResidualMLP)
    assert isinstance(CriticObsAct(2, [4], 2).Q1, MLP)
    assert "residual_style" in CriticObsAct.dead_config_keys


@pytest.mark.parametrize("kind", [CriticObs, CriticObsAct])
def test_unknown_argument_is_refused(kind):
    arguments = {"cond_dim": 2, "mlp_dims": [4], "residual_stile": True}
    if kind is CriticObsAct:
        arguments["action_dim"] = 2
    with pytest.raises(TypeError, match="residual_stile"):
        kind(**arguments)


def test_state_of_another_width_is_refused():
    with pytest.raises(ValueError, match="last size 4, expected in_features=6"):
        CriticObs(6, [4])(states(5, 2, 2))


def test_parameters_can_all_be_set():
    critic = CriticObsAct(2, [4], 2)
    state = set_parameters(critic)
    for key, value in critic.state_dict().items():
        np.testing.assert_array_equal(value, state[key])


# -- V(images, s) ---------------------------------------------------------------------


def looking(**options) -> ViTCritic:
    sizes = {"cond_dim": 5, "spatial_emb": 6, "mlp_dims": [4], "backbone": encoder()}
    return ViTCritic(**{**sizes, **options})


@pytest.mark.parametrize("mode", MODES)
def test_value_of_images_and_state(mode):
    critic, cond = looking(), seen(7)
    state = cond["state"][:, 0]
    visual = critic.compress(critic.backbone(cond["rgb"][:, 0]), state)
    expected = critic.Q1(tf.concat([visual, state], axis=-1))
    out = in_mode(critic, mode)(cond)
    assert out.shape == (7, 1)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_values_of_two_images_come_from_one_backbone():
    critic, cond = looking(num_img=2), seen(7, channels=6)
    modules = dict.fromkeys(key.split(".")[0] for key in critic.state_dict())
    assert list(modules) == ["Q1", "backbone", "compress1", "compress2"]
    assert critic(cond).shape == (7, 1)


def test_a_critic_augments_in_training_mode_unless_told_not_to():
    critic, cond = looking(augment=True), seen(7)
    assert not np.array_equal(critic(cond), critic(cond))
    fixed = critic(cond, no_augment=True)
    np.testing.assert_array_equal(fixed, critic.eval()(cond))
    with reference():
        assert not np.array_equal(fixed, critic(cond))
        np.testing.assert_array_equal(fixed, critic(cond, no_augment=True))


def test_gradients_of_values_reach_every_parameter():
    critic, cond = looking(num_img=2), seen(7, channels=6)
    set_parameters(critic)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(critic(cond) ** 2)
    gradients = tape.gradient(loss, critic.parameters())
    for (name, _), gradient in zip(critic.named_parameters(), gradients, strict=True):
        assert np.any(gradient), name


def test_arguments_of_the_value_reach_it_and_unknown_ones_are_refused():
    residual = looking(mlp_dims=[4, 4, 4], residual_style=True, activation_type="ReLU")
    assert isinstance(residual.Q1, ResidualMLP)
    with pytest.raises(TypeError, match="residual_stile"):
        looking(residual_stile=True)


@pytest.mark.parametrize("entry", recorded_networks("model.common.critic.ViTCritic"))
def test_state_of_a_critic_that_sees_is_that_of_the_reference(entry):
    assert_state_as_recorded(entry)
