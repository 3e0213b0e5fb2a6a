import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp_gaussian import Gaussian_MLP
from model.rl.gaussian_ibrl import IBRL_Gaussian
from tests.model.fakes import KnownGaussian, states
from tests.model.rl import transitions
from tests.model.rl.transitions import BATCH, OBS, WIDTH, ZERO, set_values
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.torch_file_writer import save_torch_file

ORDER = np.array([2, 0, 1])
NOISE = [ORDER, ZERO, ZERO]
TEACHER, ACTOR, TARGET_ACTOR = 1.0, 0.5, 3.0


def model(actor=None, **options) -> IBRL_Gaussian:
    """Actions 1 (teacher), 0.5 (actor) and 3 (target); critics rise with actions."""
    made = IBRL_Gaussian(
        actor or KnownGaussian(TEACHER, size=WIDTH),
        transitions.linear_critic(),
        n_critics=3,
        horizon_steps=1,
        **options,
    )
    if actor is None:
        made.network.mean.assign([ACTOR] * WIDTH)
        made.target_actor.mean.assign([TARGET_ACTOR] * WIDTH)
    set_values(made.critic_networks, [0, 1, 2], slope=1)
    set_values(made.target_networks, [1, 2, 5], slope=1)
    return made


def critic_loss(made, noise=NOISE):
    return made.loss_critic(*BATCH, 0.5, noise=noise)


def test_modules_are_saved_in_the_order_of_the_reference():
    assert transitions.parts_of_state(model()) == [
        "network",
        "target_actor",
        "bc_policy",
        "critic_networks",
        "target_networks",
    ]


# -- losses ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("slope", "action"), [(1, TARGET_ACTOR), (-1, TEACHER)])
def test_critic_loss_by_hand(mode, slope, action):
    made = model()
    set_values(made.critic_networks, [0, 1, 2])
    set_values(made.target_networks, [1, 2, 5], slope=slope)
    loss = in_mode(lambda: critic_loss(made), mode)()
    # The targets 5 and 1 are drawn; the better proposal counts; row 2 terminates.
    first = 1 + 0.5 * (1 + 2 * slope * action)
    expected = np.mean([(q - y) ** 2 for q in (0, 1, 2) for y in (first, 2)])
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_actor_climbs_the_lowest_critic(mode):
    made = model()
    set_values(made.critic_networks, [4, 3, 5], slope=2)

    loss, gradient = transitions.actor_loss(made, mode)
    assert loss == pytest.approx(-(3 + 2 * 2 * ACTOR))
    np.testing.assert_allclose(gradient, [-2, -2], rtol=1e-5)


def test_each_loss_teaches_its_own_part():
    made = model()
    assert transitions.trained_parts(made, lambda: critic_loss(made)) == {
        "critic_networks"
    }
    # The critics' gradients exist here, too; the agent applies the actor's alone.
    actor = transitions.trained_parts(made, lambda: made.loss_actor(OBS))
    assert actor == {"network", "critic_networks"}


def test_target_actor_follows_the_actor_and_the_teacher_stays():
    made = model()
    made.update_target_actor(0.25)
    expected = 0.75 * TARGET_ACTOR + 0.25 * ACTOR
    np.testing.assert_allclose(made.target_actor.mean, [expected] * WIDTH)
    np.testing.assert_array_equal(made.bc_policy.mean, [TEACHER] * WIDTH)
    assert not any(p.trainable for p in made.bc_policy.parameters())


# -- acting ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("slope", "action"), [(1, TEACHER), (-1, ACTOR), (0, ACTOR)])
def test_the_better_proposal_is_taken_and_the_actors_if_equal(mode, slope, action):
    made = model()
    set_values(made.critic_networks, [0, 1, 2], slope=slope)
    chunk = in_mode(lambda: made(OBS, noise=NOISE), mode)()
    np.testing.assert_allclose(chunk, np.full((2, 1, WIDTH), action), rtol=1e-6)


def test_deterministic_actors_do_not_choose_by_chance():
    made = model(soft_action_sample=True, soft_action_sample_beta=0.0)
    noise = [ORDER, ZERO, np.ones((2, WIDTH), np.float32)]
    set_values(made.critic_networks, [0, 1, 2], slope=-1)
    chunk = made(OBS, deterministic=True, noise=noise)
    np.testing.assert_allclose(chunk, np.full((2, 1, WIDTH), ACTOR + 1e-4), rtol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_choices_by_chance_replay_their_draws(mode):
    made = model(soft_action_sample=True)
    noise = [*NOISE, np.array([[1], [0]])]
    chunk = in_mode(lambda: made(OBS, noise=noise), mode)()
    np.testing.assert_allclose(chunk[:, 0], [[ACTOR] * 2, [TEACHER] * 2], rtol=1e-6)


def share_of_teacher(**switches) -> float:
    """How often the teacher's action is taken; values are 0.1 and 0."""
    made = model(soft_action_sample=True)
    made.network.std.assign([1e-4] * WIDTH)
    made.network.mean.assign([0.0] * WIDTH)
    made.bc_policy.mean.assign([1.0] * WIDTH)
    set_values(made.critic_networks, [0, 0, 0], slope=0.05)
    with compat_scope(switches):
        chunk = made(states(4000))
    return float(np.mean(chunk[:, 0, 0] > 0.5))


def test_choice_follows_the_softmax_of_values():
    assert share_of_teacher() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)


def test_choice_follows_the_softmax_of_exponentials_in_the_reference():
    expected = 1 / (1 + np.exp(-(np.e - 1)))
    assert share_of_teacher(ibrl_exp_of_exp=True) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("stale", "action"), [(False, ACTOR), (True, TEACHER)])
def test_trained_critics_act_and_untrained_ones_in_the_reference(stale, action):
    with compat_scope({"stale_ensemble_checkpoint": stale}):
        made = model()
    set_values(made.trained_critics, [0, 1, 2], slope=-1)
    chunk = made(OBS, noise=NOISE)
    np.testing.assert_allclose(chunk, np.full((2, 1, WIDTH), action), rtol=1e-6)


def test_gradients_flow_through_the_actor_if_asked_for():
    made = model()
    set_values(made.critic_networks, [0, 1, 2], slope=-1)
    for asked, slope in ((True, 2.0), (False, 0.0)):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(made(OBS, reparameterize=asked, noise=NOISE))
        gradient = tape.gradient(total, made.network.mean.value)
        np.testing.assert_array_equal(gradient, [slope] * WIDTH)


# -- the teacher ----------------------------------------------------------------------


def network(**options) -> Gaussian_MLP:
    return Gaussian_MLP(WIDTH, 1, 2, mlp_dims=[32], fixed_std=0.1, **options)


def teachers_actions(made) -> list[np.ndarray]:
    """Twice the teacher's mean action, while the model is trained."""
    made.train()
    set_values(made.critic_networks, [0, 0, 0], slope=0)
    made.soft_action_sample = True
    noise = [*NOISE, np.zeros((2, 1), np.int64)]
    return [made(OBS, noise=noise).numpy() for _ in range(2)]


def test_teacher_drops_nothing():
    made = model(network(dropout=0.5))
    assert not any(part.training for part in made.bc_policy.modules())
    first, second = teachers_actions(made)
    np.testing.assert_array_equal(first, second)
    assert made.network.training
    assert made.target_actor.training


def test_teacher_drops_features_in_the_reference():
    with compat_scope({"ibrl_teacher_dropout": True}):
        made = model(network(dropout=0.5))
        first, second = teachers_actions(made)
    assert not np.allclose(first, second)


def filled(value: float) -> dict[str, np.ndarray]:
    state = network().state_dict()
    return {f"network.{k}": np.full_like(v, value) for k, v in state.items()}


def first_bias(module) -> float:
    return float(module.mlp_mean.moduleList[0].linear_1.bias.numpy()[0])


@pytest.mark.parametrize(("raw", "value"), [(False, 2.0), (True, 1.0)])
def test_policies_start_from_averaged_weights_and_raw_ones_in_the_reference(
    tmp_path, raw, value
):
    content = {"model": filled(1.0), "ema": filled(2.0)}
    save_torch_file(content, tmp_path / "a.pt")
    with compat_scope({"raw_weights": raw}):
        made = model(network(), network_path=str(tmp_path / "a.pt"))
    found = [made.bc_policy, made.network, made.target_actor]
    assert [first_bias(module) for module in found] == [value] * 3


def test_fine_tuned_checkpoint_restores_everything(tmp_path):
    tuned = model(network())
    for i, part in enumerate((tuned.network, tuned.target_actor, tuned.bc_policy)):
        part.mlp_mean.moduleList[0].linear_1.bias.assign(np.full(32, i + 1.0))
    save_state(tmp_path / "state_1", {"model": tuned.state_dict(), "itr": 1}, {})
    made = IBRL_Gaussian(
        network(),
        transitions.linear_critic(),
        n_critics=3,
        horizon_steps=1,
        network_path=str(tmp_path / "state_1"),
    )
    for key, value in tuned.state_dict().items():
        np.testing.assert_array_equal(made.state_dict()[key], value)


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="soft_sample"):
        model(soft_sample=True)


def test_draws_follow_the_generator():
    made = model(soft_action_sample=True)
    first = made(OBS, noise=None).numpy()
    assert first.shape == (2, 1, WIDTH)
    made.set_rng(tf.random.Generator.from_seed(3))
    again = [made(OBS).numpy() for _ in range(2)]
    made.set_rng(tf.random.Generator.from_seed(3))
    np.testing.assert_array_equal(made(OBS), again[0])
    assert not np.array_equal(again[0], again[1])
