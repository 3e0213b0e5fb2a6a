import numpy as np
import pytest
import tensorflow as tf

from model.common.critic import CriticObs, CriticObsAct
from model.common.ensemble import (
    CriticEnsemble,
    EnsembleCritics,
    StackedLayerNorm,
    StackedLinear,
)
from model.common.gaussian import GaussianModel
from tests.model.fakes import KnownGaussian, normal, set_parameters, states
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.seeding import Draws
from util.torch_to_tf import clone_network, nn_LayerNorm, nn_Linear

ROWS, MEMBERS = 5, 3
COND, ACTIONS = states(ROWS), tf.constant(normal(ROWS, 1, 2, seed=1))
KEYS = ("Q1.moduleList.0.linear_1.weight", "Q1.moduleList.0.linear_1.bias")


def critic(**options) -> CriticObsAct:
    arguments = {"mlp_dims": [8, 8], "use_layernorm": True, **options}
    return CriticObsAct(2, action_dim=2, **{"double_q": False, **arguments})


def members(ensemble: CriticEnsemble, **options) -> list[CriticObsAct]:
    """Critics of their own with the state of each member."""
    found = [critic(**options) for _ in range(ensemble.n_critics)]
    state = ensemble.state_dict()
    for i, member in enumerate(found):
        own = {k.removeprefix(f"{i}."): v for k, v in state.items()}
        member.load_state_dict({k: own[k] for k in member.state_dict()})
    return found


# -- values ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_type": "ReLU", "use_layernorm": False},
        {"residual_tyle": True, "mlp_dims": [8, 8, 8]},
    ],
)
def test_values_are_those_of_each_member_alone(mode, options):
    ensemble = CriticEnsemble(critic(**options), MEMBERS)
    set_parameters(ensemble)
    values = in_mode(ensemble, mode)(COND, ACTIONS)
    expected = [member(COND, ACTIONS) for member in members(ensemble, **options)]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_some_members_can_be_chosen(mode):
    ensemble = CriticEnsemble(critic(), MEMBERS)
    everything = ensemble(COND, ACTIONS)
    some = in_mode(ensemble, mode)(COND, ACTIONS, tf.constant([2, 0], tf.int64))
    np.testing.assert_allclose(some, tf.gather(everything, [2, 0]), atol=1e-6)
    np.testing.assert_array_equal(ensemble(COND, ACTIONS), everything)


def test_a_value_teaches_its_member_alone():
    ensemble = CriticEnsemble(critic(), MEMBERS)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(ensemble(COND, ACTIONS)[1])
    for gradient in tape.gradient(value, ensemble.parameters()):
        assert np.any(gradient[1])
        assert not np.any(gradient[0])
        assert not np.any(gradient[2])


@pytest.mark.parametrize("mode", MODES)
def test_stacked_layers_are_the_layers_side_by_side(mode):
    linear, norm = StackedLinear(2, 3, 4), StackedLayerNorm(2, 4, eps=0.1)
    set_parameters(linear, seed=1)
    set_parameters(norm, seed=2)
    x = normal(2, ROWS, 3)

    def both(x):
        return linear(x[0]), norm(linear(x))

    shared, own = in_mode(both, mode)(tf.constant(x))
    for i in range(2):
        one_linear, one_norm = nn_Linear(3, 4), nn_LayerNorm(4, eps=0.1)
        for one, stacked in ((one_linear, linear), (one_norm, norm)):
            one.load_state_dict({k: v[i] for k, v in stacked.state_dict().items()})
        np.testing.assert_allclose(shared[i], one_linear(x[0]), rtol=1e-4, atol=1e-5)
        expected = one_norm(one_linear(x[i]))
        np.testing.assert_allclose(own[i], expected, rtol=1e-4, atol=1e-5)


# -- initial values -------------------------------------------------------------------


def spread(ensemble: CriticEnsemble) -> float:
    """Smallest difference of weights of two members, over layers with weights."""
    values = [p.numpy() for p in ensemble.parameters() if len(p.shape) == 3]
    return min(
        np.abs(v[i] - v[j]).max() for v in values for i in range(3) for j in range(i)
    )


def test_the_given_critic_is_the_first_member_and_others_differ():
    first = critic()
    ensemble = CriticEnsemble(first, MEMBERS)
    state = ensemble.state_dict()
    for key, value in first.state_dict().items():
        np.testing.assert_array_equal(state[f"0.{key}"], value)
    assert spread(ensemble) > 0.05


def test_members_are_equal_as_in_the_reference():
    with compat_scope({"identical_ensembles": True}):
        ensemble = CriticEnsemble(critic(), MEMBERS)
    stacked = [p.numpy() for p in ensemble.parameters()]
    assert all(np.array_equal(v, np.repeat(v[:1], MEMBERS, 0)) for v in stacked)


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (CriticObsAct(2, [4], 2), "CriticObsAct with double_q: true"),
        (CriticObs(2, [4]), r"CriticObs\."),
    ],
)
def test_a_critic_that_is_no_member_is_refused(wrong, name):
    with pytest.raises(ValueError, match=rf"double_q: false, .* got a {name}"):
        CriticEnsemble(wrong, MEMBERS)


# -- state ----------------------------------------------------------------------------


def test_state_has_the_entries_of_each_member():
    ensemble = CriticEnsemble(critic(mlp_dims=[]), MEMBERS)
    expected = [f"{i}.{key}" for i in range(MEMBERS) for key in KEYS]
    assert list(ensemble.state_dict()) == expected
    assert ensemble.state_dict()["1.Q1.moduleList.0.linear_1.weight"].shape == (1, 4)
    assert [p.shape for p in ensemble.parameters()] == [(MEMBERS, 1, 4), (MEMBERS, 1)]


def test_a_clone_is_equal_and_independent():
    ensemble = CriticEnsemble(critic(), MEMBERS)
    copy, before = clone_network(ensemble), ensemble(COND, ACTIONS)
    for parameter in ensemble.parameters():
        parameter.assign(parameter + 1.0)
    np.testing.assert_array_equal(copy(COND, ACTIONS), before)


def test_state_of_another_number_of_members_is_refused():
    state = CriticEnsemble(critic(), 2).state_dict()
    message = r"\* must have the members 0 to 2 of n_critics=3, got \['0', '1'\]"
    with pytest.raises(ValueError, match=message):
        CriticEnsemble(critic(), MEMBERS).load_state_dict(state)


@pytest.mark.parametrize("value", [None, np.zeros((1, 5), np.float32)])
def test_members_with_other_entries_are_refused(value):
    ensemble = CriticEnsemble(critic(mlp_dims=[]), MEMBERS)
    state = ensemble.state_dict()
    state.pop(f"1.{KEYS[0]}")
    if value is not None:
        state[f"1.{KEYS[0]}"] = value
    with pytest.raises(ValueError, match=rf"\*.{KEYS[0]} must have one shape in all"):
        ensemble.load_state_dict(state)


# -- critics of a policy --------------------------------------------------------------


class Policy(EnsembleCritics, GaussianModel):
    def __init__(self, n_critics=MEMBERS, network_path=None):
        super().__init__(network=KnownGaussian(), horizon_steps=2)
        self.add_critics(critic(mlp_dims=[]), n_critics, network_path)


def train(policy: Policy) -> None:
    """Changes what an optimizer changes."""
    for parameter in policy.ensemble_params.values():
        parameter.assign(parameter + 1.0)


def test_state_of_a_policy_is_that_of_the_reference():
    expected = ["network.mean", "network.std"]
    for name in ("critic_networks", "target_networks"):
        expected += [f"{name}.{i}.{key}" for i in range(MEMBERS) for key in KEYS]
    assert list(Policy().state_dict()) == expected


def test_state_of_a_policy_survives_a_round_trip():
    source, target = Policy(), Policy()
    train(source)
    assert target.load_state_dict(source.state_dict()) == ([], [])
    for key, value in source.state_dict().items():
        np.testing.assert_array_equal(target.state_dict()[key], value)
    with pytest.raises(ValueError, match=r"target_networks\.\* must have the members"):
        Policy(n_critics=2).load_state_dict(
            {k: v for k, v in source.state_dict().items() if "critic_" not in k}
        )
    with pytest.raises(ValueError, match="missing keys: .*critic_networks"):
        target.load_state_dict({"network.mean": np.zeros(4, np.float32)})


def test_trained_critics_are_saved():
    policy = Policy()
    before = policy.state_dict()
    train(policy)
    for key, value in policy.state_dict().items():
        change = 1.0 if key.startswith("critic_networks") else 0.0
        np.testing.assert_allclose(value, before[key] + change, rtol=1e-6)


def test_untrained_critics_are_saved_as_in_the_reference():
    with compat_scope({"stale_ensemble_checkpoint": True}):
        policy = Policy()
    before = policy.state_dict()
    train(policy)
    for key, value in policy.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    assert policy.trained_critics is not policy.critic_networks


@pytest.mark.parametrize("stale", [True, False])
def test_targets_follow_the_trained_critics(stale):
    with compat_scope({"stale_ensemble_checkpoint": stale}):
        policy = Policy()
    before = policy.target_networks.state_dict()
    train(policy)
    policy.update_target_critic(0.25)
    for key, value in policy.target_networks.state_dict().items():
        np.testing.assert_allclose(value, before[key] + 0.25, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_error_is_a_mean_over_critics_and_rows(mode):
    policy = Policy()
    target = tf.constant(normal(ROWS, seed=3))
    loss = in_mode(lambda y: policy.critic_error(COND, ACTIONS, y), mode)(target)
    values = policy.critic_networks(COND, ACTIONS).numpy()
    assert loss.numpy() == pytest.approx(np.mean((values - target) ** 2), rel=1e-5)


def test_a_pair_has_two_different_critics():
    policy = Policy()
    pairs = {tuple(policy.random_pair(policy.draws(None)).numpy()) for _ in range(99)}
    assert pairs == {(i, j) for i in range(3) for j in range(3) if i != j}
    recorded = policy.random_pair(Draws(policy.rng, [np.array([2, 0, 1])]))
    assert recorded.numpy().tolist() == [2, 0]


@pytest.mark.parametrize("stale", [True, False])
def test_critics_of_a_fine_tuned_checkpoint_are_restored(tmp_path, stale):
    tuned = Policy()
    train(tuned)
    save_state(tmp_path / "state_1", {"model": tuned.state_dict(), "itr": 1}, {})
    with compat_scope({"stale_ensemble_checkpoint": stale}):
        made = Policy(network_path=str(tmp_path / "state_1"))
    same = [
        np.array_equal(made.state_dict()[key], value)
        for key, value in tuned.state_dict().items()
        if "networks" in key
    ]
    assert (not any(same)) if stale else all(same)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_critics_are_refused(count):
    with pytest.raises(ValueError, match=f"n_critics must be >= 2, .* got {count}"):
        Policy(n_critics=count)
