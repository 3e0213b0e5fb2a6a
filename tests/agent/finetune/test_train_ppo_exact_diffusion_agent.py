import numpy as np
import pytest
import tensorflow as tf

from agent.finetune.train_ppo_exact_diffusion_agent import TrainPPOExactDiffusionAgent
from tests.agent import runs
from tests.agent.runs import final_states, returns, traces
from tests.agent.tiny import changed, moved, record_losses, trained_row

# One minibatch of all chunks in each training iteration.
SMALL = (
    "model.sde_step_size=null",
    "denoising_steps=3",
    "train.n_steps=2",
    "train.batch_size=4",
    "train.update_epochs=1",
    "model.actor.mlp_dims=[16]",
    "model.critic.mlp_dims=[16]",
)


def make_agent(folder, *overrides):
    return runs.make_agent("ppo exact", folder, *SMALL, *overrides)


def run(folder, *overrides, **options):
    return runs.run("ppo exact", folder, *SMALL, *overrides, **options)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Iterations 0, 2, 4 evaluate; chunks are scored and learned from in halves."""
    folder = tmp_path_factory.mktemp("exact")
    sizes = ("train.logprob_batch_size=2", "train.block_size=2")
    return run(folder, "train.n_train_itr=5", *sizes), folder


def test_compiled_functions_are_traced_once(compiled):
    assert set(traces(compiled[0], "rescore", "learn_step", "value").values()) == {1}


def test_training_metrics_are_those_of_the_reference(compiled):
    row = trained_row(compiled[1])
    assert set(row) == {
        *("step", "time", "total env step", "explained variance"),
        *("loss", "pg loss", "value loss", "approx kl", "ratio", "clipfrac"),
        *("avg episode reward - train", "num episode - train"),
        # In the reference only where denoising steps are learned from.
        *("bc loss", "actor lr", "critic lr"),
    }
    assert (row["step"], row["total env step"]) == (3, 16)


def test_keys_of_denoising_steps_have_no_effect_and_that_is_said():
    dead = TrainPPOExactDiffusionAgent.dead_config_keys
    assert set(dead) == {"train.ent_coef", "reward_horizon"}


def test_a_cpu_evaluates_few_rows_at_once(tmp_path):
    assert make_agent(tmp_path).block_size == 250


# -- what learns -----------------------------------------------------------------------


def test_training_moves_actor_and_critic_but_not_the_base(tmp_path, eager):
    agent = make_agent(tmp_path)
    assert moved(agent, iterations=1) == set()  # an evaluation
    assert moved(agent, iterations=1) == {"actor_ft", "critic"}


def test_warm_up_leaves_the_actor_unchanged(tmp_path, eager):
    agent = make_agent(tmp_path, "train.n_critic_warmup_itr=3")
    assert moved(agent, iterations=2) == {"critic"}


def test_rows_are_chunks_with_their_likelihood(tmp_path, eager):
    agent = make_agent(tmp_path, "train.logprob_batch_size=3")
    rollout = agent.collector.collect(agent.plan(), agent._actor(agent.plan()))
    data = agent.score(rollout)
    assert agent.rows(data) == 4
    assert set(data) == {"obs", "samples", "logprobs"}
    samples = rollout.extras["samples"]
    np.testing.assert_array_equal(samples, rollout.extras["chains"][:, :, -1])
    np.testing.assert_array_equal(data["samples"][2], samples[1, 0])
    assert data["logprobs"].shape == (4,)


def give_equal_probes(agent):
    """All probes of an agent are ones, two for each of 4 chunks."""
    ones = tf.ones([4 * 2, 4, 2], tf.int64)
    agent.draws.recorded = lambda count: [ones] * count


def test_first_minibatch_finds_the_policy_that_acted(tmp_path, eager):
    losses = []
    agent = make_agent(tmp_path, "train.n_train_itr=2", "train.update_epochs=2")
    record_losses(agent, losses)
    give_equal_probes(agent)
    agent.run()
    assert len(losses) == 2
    assert float(losses[0].ratio) == pytest.approx(1.0, abs=1e-6)
    assert float(losses[1].ratio) != pytest.approx(1.0, abs=1e-6)


def test_minibatches_have_probes_of_their_own(tmp_path, eager):
    losses = []
    run(tmp_path, "train.n_train_itr=2", losses=losses)
    assert float(losses[0].ratio) == pytest.approx(1.0, abs=0.2)
    assert float(losses[0].ratio) != pytest.approx(1.0, abs=1e-6)


def test_loss_is_the_weighted_sum_of_its_terms(tmp_path, eager):
    losses = []
    run(tmp_path, "train.n_train_itr=2", "train.vf_coef=0.3", losses=losses)
    expected = losses[-1].pg_loss + 0.3 * losses[-1].v_loss
    assert trained_row(tmp_path)["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_a_resumed_run_equals_the_straight_one(tmp_path, eager):
    straight, halves = final_states("ppo exact", tmp_path, *SMALL)
    assert changed(straight["model"], halves["model"]) == set()


def test_fewer_steps_are_fine_tuned_as_annealing_goes_on(tmp_path, eager):
    each = ("model.ft_denoising_steps_d=1", "model.ft_denoising_steps_t=1")
    agent = make_agent(tmp_path, *each)
    agent.iterate()
    assert agent.model.ft_denoising_steps == 1
    # The base takes over what was learned.
    assert moved(agent, iterations=1) == {"network", "actor", "actor_ft", "critic"}


def test_base_policy_cannot_be_imitated(tmp_path):
    with pytest.raises(ValueError, match="use_bc_loss must be false"):
        make_agent(tmp_path, "train.use_bc_loss=true")


@pytest.mark.full
def test_fine_tuned_policy_earns_more(tmp_path):
    options = (
        *runs.LEARNING[:3],
        "train.batch_size=120",
        "train.n_train_itr=17",
        "train.val_freq=16",
        "train.update_epochs=4",
        *(f"train.actor_{name}=0.005" for name in ("lr", "lr_scheduler.min_lr")),
        *(f"train.critic_{name}=0.01" for name in ("lr", "lr_scheduler.min_lr")),
    )
    run(tmp_path, *options)
    first, last = returns(tmp_path)
    assert last > first + 1.0
