import numpy as np
import pytest

from agent.finetune.train_ppo_gaussian_agent import TrainPPOGaussianAgent
from agent.pretrain.train_gaussian_agent import TrainGaussianAgent
from tests.agent.runs import returns
from tests.agent.tiny import (
    changed,
    moved,
    record_losses,
    tiny_config,
    trained_row,
    weights,
    write_dataset,
)
from util.checkpoint import load_state
from util.config import compat_scope

# One minibatch in each training iteration: line by line, each takes a while.
SMALL = (
    "train.n_steps=2",
    "train.batch_size=4",
    "train.update_epochs=1",
    "model.actor.mlp_dims=[16]",
    "model.critic.mlp_dims=[16]",
)
LEARNED_STD = (
    "model.actor.fixed_std=0.1",
    "model.actor.learn_fixed_std=true",
    "model.actor.std_max=0.2",
)
# An entropy bonus strong enough to be seen after one step.
ENTROPY = ("train.ent_coef=1", "train.actor_lr=0.01")


def make_agent(tmp_path, *overrides, kind="ppo gaussian"):
    cfg = tiny_config(kind, tmp_path, *SMALL, *overrides)
    return TrainPPOGaussianAgent(cfg)


def run(tmp_path, *overrides, losses=None):
    """An agent that has run; `losses` collects those of minibatches."""
    agent = make_agent(tmp_path, *overrides)
    if losses is not None:
        record_losses(agent, losses)
    agent.run()
    return agent


# -- one compiled run ----------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Iterations 0, 2, 4 evaluate; slices of 3 do not divide the 8 rows."""
    folder = tmp_path_factory.mktemp("ppo_gaussian")
    options = ("train.n_train_itr=5", "train.n_steps=4", "train.logprob_batch_size=3")
    return run(folder, *options), folder


def test_compiled_functions_are_traced_once(compiled):
    agent, _ = compiled
    functions = {
        "sample with noise": agent._sample[True],
        "sample without": agent._sample[False],
        "value": agent.value,
        "learn_step": agent.learn_step,
    }
    counts = {k: f.experimental_get_tracing_count() for k, f in functions.items()}
    assert counts == dict.fromkeys(functions, 1)


def test_training_metrics_are_those_of_the_reference(compiled):
    row = trained_row(compiled[1])
    assert set(row) == {
        "step",
        "time",
        "total env step",
        "loss",
        "pg loss",
        "value loss",
        "entropy",
        "std",
        "approx kl",
        "ratio",
        "clipfrac",
        "explained variance",
        "avg episode reward - train",
        "num episode - train",
        # In the reference only where observations are images.
        "bc loss",
        "actor lr",
        "critic lr",
    }
    # Two training iterations of 4 chunks of 2 steps in 2 environments.
    assert (row["step"], row["total env step"]) == (3, 32)
    assert 0.01 < row["std"] < 1.0


def test_checkpoint_says_what_policy_it_holds(compiled):
    agent, folder = compiled
    state, meta = load_state(folder / "checkpoint" / "state_4")
    assert meta["network"]["class"] == "Gaussian_MLP"
    assert meta["horizon_steps"] == 4
    assert not changed(state["model"], weights(agent.model))
    assert {"actor learner", "critic learner", "reward scaler"} <= set(state["run"])


# -- acting ----------------------------------------------------------------------------


def test_whole_chunks_and_their_likelihood_are_remembered(tmp_path, eager):
    agent = make_agent(tmp_path)
    obs = {"state": np.zeros((2, 1, 3))}
    actions, extras = agent.act(obs, explore=True)
    assert actions.shape == (2, 4, 2)
    np.testing.assert_array_equal(extras["samples"], actions)
    again, *_ = agent.model.get_logprobs({"state": np.zeros((2, 1, 3), "f")}, actions)
    np.testing.assert_allclose(extras["logprobs"], again, rtol=1e-4, atol=1e-5)


def test_evaluation_acts_with_the_mean(tmp_path, eager):
    agent = make_agent(tmp_path)
    obs = {"state": np.zeros((2, 1, 3))}
    one, other = (agent.act(obs, explore=False)[0] for _ in range(2))
    np.testing.assert_allclose(one, other, atol=2e-3)
    assert not np.allclose(agent.act(obs, explore=True)[0], one, atol=2e-3)


# -- what learns -----------------------------------------------------------------------


def test_training_moves_actor_and_critic_but_not_the_base(tmp_path, eager):
    agent = make_agent(tmp_path)
    assert moved(agent, iterations=1) == set()  # an evaluation
    # The trained network stands under two names.
    assert moved(agent, iterations=1) == {"network", "actor_ft", "critic"}


def test_blocks_of_rows_give_what_all_rows_at_once_give(tmp_path):
    """Advantages are normalised over the minibatch of 4; 3 does not divide it."""
    ends = []
    for size in (4, 3):
        options = ("train.n_train_itr=2", f"train.block_size={size}", *ENTROPY)
        ends.append(weights(run(tmp_path / str(size), *options).model))
    for key, value in ends[0].items():
        np.testing.assert_allclose(ends[1][key], value, rtol=1e-5, atol=1e-6)


def test_warm_up_leaves_the_actor_unchanged(tmp_path, eager):
    agent = make_agent(tmp_path, "train.n_critic_warmup_itr=3")
    assert moved(agent, iterations=2) == {"critic"}
    assert trained_row(tmp_path)["ratio"] == pytest.approx(1.0, abs=1e-6)


def test_first_minibatch_finds_the_policy_that_acted(tmp_path, eager):
    losses = []
    agent = run(tmp_path, "train.n_train_itr=2", "train.update_epochs=2", losses=losses)
    assert len(losses) == 2 * (2 * 2 // 4)  # Epochs; chunks, envs by batch.
    assert float(losses[0].ratio) == pytest.approx(1.0, abs=1e-5)
    assert float(losses[0].approx_kl) == pytest.approx(0.0, abs=1e-6)
    assert float(losses[-1].ratio) != pytest.approx(1.0, abs=1e-6)
    assert agent.itr == 2


def test_rows_are_chunks(tmp_path, eager):
    agent = make_agent(tmp_path)
    rollout = agent.collector.collect(agent.plan(), agent._actor(agent.plan()))
    data = agent.score(rollout)
    assert agent.rows(data) == 4
    assert data["samples"].shape == (4, 4, 2)
    assert data["logprobs"].shape == (4,)
    np.testing.assert_allclose(
        data["samples"][2], rollout.extras["samples"][1, 0], rtol=1e-6
    )


def test_loss_is_the_weighted_sum_of_its_terms(tmp_path, eager):
    options = (
        "train.use_bc_loss=true",
        "train.bc_loss_coeff=0.1",
        "train.ent_coef=0.2",
        "train.vf_coef=0.3",
    )
    losses = []
    run(tmp_path, "train.n_train_itr=2", *options, losses=losses)
    last, row = losses[-1], trained_row(tmp_path)
    assert float(last.bc_loss) != 0.0
    assert row["entropy"] == -float(last.entropy_loss)
    expected = last.pg_loss + 0.2 * last.entropy_loss + 0.3 * last.v_loss
    expected += 0.1 * last.bc_loss
    assert row["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_learned_deviation_moves_and_grows_with_an_entropy_bonus(tmp_path, eager):
    agent = make_agent(tmp_path, *LEARNED_STD, *ENTROPY, "train.n_train_itr=2")
    before = agent.model.network.logvar.numpy().copy()
    agent.run()
    assert (agent.model.network.logvar.numpy() > before).all()


# -- starting from a pre-trained policy ------------------------------------------------


def test_training_starts_from_a_pretrained_policy(tmp_path, eager):
    data = write_dataset(tmp_path / "train.npz")
    network = "model.network.mlp_dims=[16]"
    cfg = tiny_config(
        "pretrain gaussian",
        tmp_path / "pre",
        network,
        f"train_dataset_path={data}",
        "train.n_epochs=1",
    )
    cloned = TrainGaussianAgent(cfg)
    cloned.run()
    options = ("model.actor.activation_type=Mish", *LEARNED_STD)
    agent = make_agent(
        tmp_path / "ft", f"model.network_path={tmp_path / 'pre'}", *options
    )
    average = weights(cloned.ema.average.network.mlp_mean)
    for network in (agent.model.network, agent.model.actor):
        assert not changed(average, weights(network.mlp_mean))
    assert moved(agent, iterations=2) == {"network", "actor_ft", "critic"}


# -- mixtures --------------------------------------------------------------------------

JOINT = {"gmm_joint_logprob_clamp": True}
# Of 16 elements with a deviation of 0.05 the joint log-density is about 25.
SATURATED = ("horizon_steps=8", "model.actor.fixed_std=0.05")
LEARNING = (
    "env.n_envs=16",
    "env.max_episode_steps=20",
    "train.n_train_itr=9",
    "train.n_steps=10",
    "train.n_critic_warmup_itr=0",
    "train.batch_size=40",
    "train.update_epochs=4",
    "train.force_train=false",
    "train.val_freq=8",
    "train.actor_lr=0.02",
    "train.actor_lr_scheduler.min_lr=0.02",
)


def test_mixtures_act_and_remember_their_likelihood(tmp_path, eager):
    agent = make_agent(tmp_path, kind="ppo gmm")
    actions, extras = agent.act({"state": np.zeros((2, 1, 3))}, explore=True)
    assert actions.shape == (2, 4, 2)
    again, *_ = agent.model.get_logprobs({"state": np.zeros((2, 1, 3), "f")}, actions)
    np.testing.assert_allclose(extras["logprobs"], again, rtol=1e-4, atol=1e-5)


def test_first_minibatch_finds_the_mixture_that_acted(tmp_path, eager):
    losses = []
    agent = make_agent(tmp_path, "train.n_train_itr=2", kind="ppo gmm")
    record_losses(agent, losses)
    agent.run()
    assert float(losses[0].ratio) == pytest.approx(1.0, abs=1e-5)
    assert float(losses[0].approx_kl) == pytest.approx(0.0, abs=1e-6)
    assert float(losses[0].bc_loss) == 0.0


def test_mixture_moves_unless_its_joint_density_is_clamped(tmp_path, eager):
    agent = make_agent(tmp_path / "ours", *SATURATED, kind="ppo gmm")
    assert moved(agent, iterations=2) == {"network", "actor_ft", "critic"}
    with compat_scope(JOINT):
        agent = make_agent(tmp_path / "reference", *SATURATED, kind="ppo gmm")
        assert moved(agent, iterations=2) == {"critic"}


@pytest.mark.full
def test_fine_tuned_mixture_earns_more_and_that_of_the_reference_does_not(tmp_path):
    options = (*SATURATED, *LEARNING)
    agent = make_agent(tmp_path / "ours", *options, kind="ppo gmm")
    agent.run()
    assert agent.learn_step.experimental_get_tracing_count() == 1
    before, after = returns(tmp_path / "ours")
    assert after > before + 2.0
    with compat_scope(JOINT):
        agent = make_agent(tmp_path / "reference", *options, kind="ppo gmm")
        start = weights(agent.model.network)
        agent.run()
    assert not changed(start, weights(agent.model.network))
    first, last = returns(tmp_path / "reference")
    assert first == before
    assert last < after - 2.0


def test_mixture_has_no_base_policy_to_imitate(tmp_path):
    with pytest.raises(ValueError, match="use_bc_loss must be false: a PPO_GMM keeps"):
        make_agent(tmp_path, "train.use_bc_loss=true", kind="ppo gmm")
