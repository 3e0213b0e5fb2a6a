import numpy as np
import pytest
import tensorflow as tf

from model.rl.gmm_ppo import PPO_GMM
from tests.model.fakes import KnownMixture, MeanCritic, normal, states
from tests.modes import MODES, in_mode
from util.config import compat_scope

ROWS, STEPS, WIDTH = 6, 2, 2
COND = states(ROWS)
ACTIONS = tf.constant(normal(ROWS, STEPS, WIDTH, seed=1))
RETURNS, OLD_VALUES, ADVANTAGES = (
    tf.constant(normal(ROWS, seed=seed)) for seed in (2, 3, 4)
)
BATCH = (RETURNS, OLD_VALUES, ADVANTAGES)
JOINT = {"gmm_joint_logprob_clamp": True}


def model(std=1.0, **options) -> PPO_GMM:
    actor = KnownMixture([-0.5, 0.5], [std, std], [0.3, 0.7])
    options = {"clip_ploss_coef": 0.1, "horizon_steps": STEPS, **options}
    return PPO_GMM(actor=actor, critic=MeanCritic(), **options)


@pytest.mark.parametrize("mode", MODES)
def test_terms_by_hand(mode):
    made = model()
    joint = made.forward_train(COND).log_prob(ACTIONS).numpy().astype(np.float64)
    old = np.float32(joint / 4 + np.linspace(-0.3, 0.3, ROWS))
    losses = in_mode(lambda old: made.loss(COND, ACTIONS, *BATCH, old), mode)(
        tf.constant(old)
    )
    logratio = joint / 4 - old
    ratio = np.exp(logratio)
    weighted = np.float64(ADVANTAGES)
    weighted = (weighted - weighted.mean()) / (weighted.std(ddof=1) + 1e-8)
    clipped = np.clip(ratio, 0.9, 1.1)
    values = COND["state"].numpy().mean((1, 2))
    expected = {
        "pg_loss": np.maximum(-weighted * ratio, -weighted * clipped).mean(),
        "entropy_loss": -4 * (0.5 + 0.5 * np.log(2 * np.pi)),
        "v_loss": 0.5 * ((values - RETURNS) ** 2).numpy().mean(),
        "clipfrac": (np.abs(ratio - 1) > 0.1).mean(),
        "approx_kl": (ratio - 1 - logratio).mean(),
        "ratio": ratio.mean(),
        "bc_loss": 0.0,
        "std": 1.0,
    }
    assert 0 < expected["clipfrac"] < 1
    for name, value in expected.items():
        found = float(getattr(losses, name))
        assert found == pytest.approx(value, rel=1e-4, abs=1e-6), name


def policy_gradient(made) -> list[np.ndarray]:
    """Of means, deviations and logits, for samples of the policy itself."""
    made.set_rng(tf.random.Generator.from_seed(0))
    actions, old = made.forward(COND, get_logprob=True)
    variables = [p.value for p in made.network.parameters()]
    with tf.GradientTape() as tape:
        loss = made.loss(COND, actions, *BATCH, old).pg_loss
    return [gradient.numpy() for gradient in tape.gradient(loss, variables)]


def test_concentrated_policy_learns():
    """A deviation of 0.1 gives each chunk a joint log-density of about 5."""
    assert all(np.abs(g).max() > 1e-3 for g in policy_gradient(model(std=0.1)))


def test_concentrated_policy_does_not_learn_in_the_reference():
    with compat_scope(JOINT):
        for gradient in policy_gradient(model(std=0.05)):
            np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


def test_entropy_of_the_joint_is_what_a_bonus_sees():
    made = model()
    losses = made.loss(COND, ACTIONS, *BATCH, tf.zeros([ROWS]))
    entropy = made.forward_train(COND).entropy()
    assert float(losses.entropy_loss) == pytest.approx(-float(entropy), rel=1e-6)


def test_advantages_may_be_weighed_beforehand():
    made, old = model(), tf.fill([ROWS], -1.5)
    weighed = made.weigh_advantages(ADVANTAGES)
    one = made.loss(COND, ACTIONS, *BATCH, old)
    other = made.loss(COND, ACTIONS, RETURNS, OLD_VALUES, weighed, old, weighed=True)
    assert float(one.pg_loss) == pytest.approx(float(other.pg_loss), rel=1e-6)


def test_actor_and_critic_learn_from_their_own_terms():
    made = model()
    with tf.GradientTape(persistent=True) as tape:
        losses = made.loss(COND, ACTIONS, *BATCH, tf.fill([ROWS], -1.5))
    actor, critic = made.network.mean.value, made.critic.factor.value
    assert np.abs(tape.gradient(losses.pg_loss, actor)).max() > 0
    assert tape.gradient(losses.pg_loss, critic) is None
    assert np.abs(tape.gradient(losses.v_loss, critic)) > 0
    assert tape.gradient(losses.v_loss, actor) is None


def test_there_is_no_base_policy_to_imitate():
    with pytest.raises(ValueError, match="use_bc_loss must be false: a PPO_GMM keeps"):
        model().loss(COND, ACTIONS, *BATCH, tf.zeros([ROWS]), use_bc_loss=True)


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="clip_coef"):
        model(clip_coef=0.1)
