import numpy as np
import pytest
import tensorflow as tf

from model.common.mlp_gaussian import Gaussian_MLP
from model.rl.gaussian_calql import CalQL_Gaussian
from tests.model.fakes import KnownGaussian, normal
from tests.model.rl import transitions
from tests.model.rl.transitions import (
    ACTIONS,
    OBS,
    REWARDS,
    ROWS,
    WIDTH,
    ZERO,
    set_values,
)
from tests.modes import MODES, in_mode
from util.checkpoint import save_state
from util.config import compat_scope
from util.torch_file_writer import save_torch_file

RETURNS = tf.constant([3.0, 0.0])
RANDOM = tf.constant(normal(ROWS, 3, 1, WIDTH, seed=5))
ZEROS = [np.zeros((ROWS * 2, WIDTH), np.float32), ZERO, ZERO]
LOG_UNIFORM = -WIDTH * np.log(2)


def model(actor=None, **options) -> CalQL_Gaussian:
    """Critics 1 and 2, their targets 0.5 and 0.7, whatever the action."""
    options = {"cql_n_actions": 2, "cql_min_q_weight": 0.5, **options}
    made = CalQL_Gaussian(
        actor or KnownGaussian(size=WIDTH),
        transitions.linear_critic(double_q=True),
        horizon_steps=1,
        tanh_output=True,
        **options,
    )
    set_values(made.critic, [1, 2])
    set_values(made.target_critic, [0.5, 0.7])
    return made


def critic_loss(made, returns=RETURNS, noise=ZEROS, rows=slice(None)):
    cut = [{"state": cond["state"][rows]} for cond in (OBS, transitions.NEXT_OBS)]
    data = [
        x[rows] for x in (ACTIONS, RANDOM, REWARDS, returns, transitions.TERMINATED)
    ]
    return made.loss_critic(*cut, *data, gamma=0.5, noise=noise)


def log_sum_exp(*values: float) -> float:
    return float(np.log(np.sum(np.exp(np.float64(values)))))


def bellman_errors() -> float:
    """Targets: 1 + 0.5 * 0.5, and 2 where the episode ends."""
    first, second = 1.25, 2.0
    return sum(((q - first) ** 2 + (q - second) ** 2) / 2 for q in (1, 2))


def gaps(log_uniform: float = LOG_UNIFORM) -> np.ndarray:
    """log sum exp Q of three random and two policy actions, less Q; (critic, row)."""
    return np.array(
        [
            [
                log_sum_exp(
                    *[q - log_uniform] * 3,
                    *[max(q, low) - transitions.LOGPROB_OF_ZERO] * 2,
                )
                - q
                for low in RETURNS.numpy()
            ]
            for q in (1, 2)
        ]
    )


def test_modules_are_saved_in_the_order_of_the_reference():
    assert transitions.parts_of_state(model()) == ["network", "critic", "target_critic"]


# -- losses ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_critic_loss_by_hand(mode):
    made = model()
    loss = in_mode(lambda: critic_loss(made), mode)()
    expected = bellman_errors() + 0.5 * gaps().mean(1).sum()
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_uniform_proposal_has_its_density_in_the_reference():
    with compat_scope({"calql_density": True}):
        loss = critic_loss(model())
    expected = bellman_errors() + 0.5 * gaps(0.5**WIDTH).mean(1).sum()
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def random_policy() -> CalQL_Gaussian:
    """One whose values and densities depend on the row."""
    actor = Gaussian_MLP(WIDTH, 1, 2, mlp_dims=[4], tanh_output=False)
    made = model(actor)
    set_values(made.critic, [1, 2], slope=0.7)
    return made


NOISE = [normal(n, WIDTH, seed=n) for n in (ROWS * 2, ROWS, ROWS)]


def losses_of_rows(made) -> list[float]:
    cut = [
        [NOISE[0][2 * i : 2 * i + 2], *(x[i : i + 1] for x in NOISE[1:])]
        for i in range(ROWS)
    ]
    return [
        float(critic_loss(made, noise=noise, rows=slice(i, i + 1)))
        for i, noise in enumerate(cut)
    ]


def test_loss_is_the_mean_of_rows_that_do_not_mix():
    made = random_policy()
    together = critic_loss(made, noise=NOISE).numpy()
    assert together == pytest.approx(np.mean(losses_of_rows(made)), rel=1e-5)


def test_rows_mix_in_the_reference():
    made = random_policy()
    with compat_scope({"calql_broadcast": True}):
        together = critic_loss(made, noise=NOISE).numpy()
        # Each of both policy actions counts once for every row's density.
        assert together > np.mean(losses_of_rows(made)) + 0.1


def test_next_actions_are_judged_in_the_next_state():
    made = model(cql_min_q_weight=1.0)
    set_values(made.critic, [1, 2], of_state=1)
    here, there = (c["state"].numpy().sum((1, 2)) for c in (OBS, transitions.NEXT_OBS))
    expected = 0.0
    for base in (1, 2):
        for row, (low, target) in enumerate(((3.0, 1.25), (0.0, 2.0))):
            q, next_q = base + here[row], base + there[row]
            policy = [max(v, low) - transitions.LOGPROB_OF_ZERO for v in (q, next_q)]
            gap = log_sum_exp(*[q - LOG_UNIFORM] * 3, *policy) - q
            expected += ((q - target) ** 2 + gap) / 2
    assert critic_loss(made).numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_gap_of_a_row_is_clipped(mode):
    low, high = 3.5, 4.0
    made = model(cql_clip_diff_min=low, cql_clip_diff_max=high)
    loss = in_mode(lambda: critic_loss(made), mode)()
    clipped = np.clip(gaps(), low, high)
    assert {low, high} < set(clipped.flat), "the test needs gaps within and without"
    expected = bellman_errors() + 0.5 * clipped.mean(1).sum()
    assert loss.numpy() == pytest.approx(expected, rel=1e-5)


def test_target_is_the_best_of_several_next_actions():
    made = model(cql_min_q_weight=0.0)
    set_values(made.target_critic, [0.0, 1.0], slope=1)
    next_noise = np.float32([[0, 0], [1, 1], [3, 3], [3, 3]])
    loss = critic_loss(made, noise=[next_noise, ZERO, ZERO]).numpy()
    target = 1 + 0.5 * 2 * np.tanh(1)
    expected = sum(((q - target) ** 2 + (q - 2) ** 2) / 2 for q in (1, 2))
    assert loss == pytest.approx(expected, rel=1e-5)


def gradient_of_critic(returns: float) -> float:
    """How the loss falls when the first critic's values of all actions rise."""
    made = model(cql_min_q_weight=1.0)
    set_values(made.target_critic, [1, 1])
    with tf.GradientTape() as tape:
        loss = critic_loss(made, returns=tf.fill([ROWS], returns))
        loss -= sum(
            tf.reduce_mean((q - y) ** 2)
            for y in [tf.constant([1.5, 2.0])]
            for q in made.critic(OBS, ACTIONS)
        )
    bias = made.critic.parameters()[1]
    return float(tape.gradient(loss, bias.value)[0])


def test_values_below_the_return_are_not_pushed_down():
    # Moving all values of a state together changes no gap.
    assert gradient_of_critic(returns=0.0) == pytest.approx(0.0, abs=1e-5)
    # Here those of the policy's actions are held, and the data's are pushed up.
    assert gradient_of_critic(returns=30.0) == pytest.approx(-1.0, abs=1e-4)


def test_data_actions_gain_on_others():
    made = model(cql_min_q_weight=100.0)
    with tf.GradientTape() as tape:
        loss = critic_loss(made)
    weight = made.critic.parameters()[0]
    step = -0.01 * tape.gradient(loss, weight.value)
    weight.assign(weight + step)
    data = made.critic(OBS, ACTIONS)[0].numpy()
    others = [made.critic(OBS, RANDOM[:, i])[0].numpy() for i in range(3)]
    assert data.mean() > np.mean(others)


@pytest.mark.parametrize("mode", MODES)
def test_actor_loss_by_hand(mode):
    made = model()
    set_values(made.critic, [1, 2], slope=3)

    loss, gradient = transitions.actor_loss(made, mode, 0.5)
    assert loss == pytest.approx(0.5 * transitions.LOGPROB_OF_ZERO - 1, rel=1e-5)
    np.testing.assert_allclose(gradient, [-3, -3], rtol=1e-4)


def test_targets_do_not_learn():
    made = model()
    assert "target_critic" not in transitions.trained_parts(
        made, lambda: critic_loss(made)
    )


# -- construction ---------------------------------------------------------------------


def saved(tmp_path, state, own=True) -> str:
    path = tmp_path / ("state_1" if own else "state_1.pt")
    content = {"model": state, "itr": 1}
    save_state(path, content, {}) if own else save_torch_file(content, path)
    return str(path)


@pytest.mark.parametrize("own", [True, False])
def test_checkpoint_restores_everything(tmp_path, own):
    offline = model()
    set_values(offline.critic, [7, 8])
    set_values(offline.target_critic, [5, 6])
    offline.network.mean.assign([0.1, 0.2])
    online = CalQL_Gaussian(
        KnownGaussian(size=WIDTH),
        transitions.linear_critic(double_q=True),
        network_path=saved(tmp_path, offline.state_dict(), own),
        horizon_steps=1,
    )
    for key, value in offline.state_dict().items():
        np.testing.assert_array_equal(online.state_dict()[key], value)


def test_cloned_policy_is_no_start(tmp_path):
    state = {k: v for k, v in model().state_dict().items() if k.startswith("network")}
    path = saved(tmp_path, state)
    with pytest.raises(ValueError, match=r"state_1 is of another .* missing keys: Q1"):
        model(network_path=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cql_n_actions": 0}, "cql_n_actions must be >= 1, got 0"),
        (
            {"cql_clip_diff_min": 2.0, "cql_clip_diff_max": 1.0},
            "cql_clip_diff_min must be <= cql_clip_diff_max=1.0, got 2.0",
        ),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)
