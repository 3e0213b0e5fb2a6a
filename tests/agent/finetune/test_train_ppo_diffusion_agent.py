import pickle

import numpy as np
import pytest
import tensorflow as tf

from agent.common.rollout import NonFiniteError
from agent.finetune.train_ppo_diffusion_agent import TrainPPODiffusionAgent
from tests.agent.tiny import (
    changed,
    moved,
    record_losses,
    tiny_config,
    trained_row,
    weights,
)
from util.checkpoint import is_complete, load_state
from util.metrics import read_metrics

DDIM = (
    "model.use_ddim=true",
    "model.ddim_steps=2",
    "model.eta._target_=model.diffusion.eta.EtaAction",
    "model.eta.action_dim=2",
)
ETA = (
    *DDIM,
    "model.learn_eta=true",
    "train.eta_lr=0.1",
    "train.eta_weight_decay=0",
    "train.eta_update_interval=1",
    "train.eta_lr_scheduler.first_cycle_steps=100",
    "train.eta_lr_scheduler.warmup_steps=10",
    "train.eta_lr_scheduler.min_lr=0.1",
)


# One minibatch in each training iteration: line by line, each takes a while.
SMALL = (
    "denoising_steps=3",
    "train.n_steps=2",
    "train.update_epochs=1",
    "model.actor.mlp_dims=[16]",
    "model.critic.mlp_dims=[16]",
)


def make_agent(tmp_path, *overrides):
    return TrainPPODiffusionAgent(tiny_config("ppo", tmp_path, *SMALL, *overrides))


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
    folder = tmp_path_factory.mktemp("ppo")
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
        "bc loss",
        "eta",
        "approx kl",
        "ratio",
        "clipfrac",
        "explained variance",
        "avg episode reward - train",
        "num episode - train",
        "diffusion - min sampling std",
        "actor lr",
        "critic lr",
    }
    # Two training iterations of 4 chunks of 2 steps in 2 environments.
    assert (row["step"], row["total env step"]) == (3, 32)
    assert row["diffusion - min sampling std"] == 0.1
    assert row["eta"] == 1.0  # DDPM
    assert row["bc loss"] == 0.0


def test_evaluation_metrics_are_those_of_the_reference(compiled):
    row = read_metrics(compiled[1] / "metrics.jsonl")[2]
    assert set(row) == {
        "step",
        "time",
        "total env step",
        "success rate - eval",
        "avg episode reward - eval",
        "avg best reward - eval",
        "num episode - eval",
    }
    # 4 chunks of 2 steps, episodes of 6 steps.
    assert row["num episode - eval"] == 2


def test_products_in_bfloat16_leave_the_rest_in_float32(tmp_path, eager):
    losses = []
    options = ("train.compute_dtype=bfloat16", "train.force_train=true")
    agent = run(tmp_path, *options, losses=losses)
    assert {value.dtype for value in losses[-1]} == {tf.float32}
    assert np.isfinite([float(value) for row in losses for value in row]).all()
    # The same factors are rounded when chains are sampled and when they are learned.
    assert losses[0].ratio.numpy() == pytest.approx(1.0, abs=0.01)
    state = load_state(tmp_path / "checkpoint" / "last")[0]["model"]
    assert {value.dtype for value in state.values()} == {np.dtype(np.float32)}
    start = make_agent(tmp_path / "start").model
    assert changed(weights(start.actor_ft), weights(agent.model.actor_ft))


def test_result_pickle_has_the_keys_of_the_reference(compiled):
    rows = pickle.loads((compiled[1] / "result.pkl").read_bytes())
    evaluation = {"eval_success_rate", "eval_episode_reward", "eval_best_reward"}
    assert set(rows[4]) == {"itr", "step", "time"} | evaluation
    assert set(rows[3]) == {"itr", "step", "time", "train_episode_reward"}


def test_checkpoint_says_what_policy_it_holds(compiled):
    agent, folder = compiled
    state, meta = load_state(folder / "checkpoint" / "state_4")
    assert meta["ft_denoising_steps"] == 2
    assert meta["network"]["class"] == "DiffusionMLP"
    assert not changed(state["model"], weights(agent.model))
    assert {"actor learner", "critic learner", "reward scaler"} <= set(state["run"])


# -- what learns ---------------------------------------------------------------------


def test_fine_tuning_moves_actor_and_critic_but_not_the_base(tmp_path, eager):
    agent = make_agent(tmp_path)
    assert moved(agent, iterations=1) == set()  # an evaluation
    assert moved(agent, iterations=1) == {"actor_ft", "critic"}


def learn_once(tmp_path):
    """Weights after a training iteration, and how many rows the critic was given."""
    agent, asked = make_agent(tmp_path), []
    agent.iterate()
    critic = agent.model.critic
    original = critic.call

    def call(obs):
        asked.append(len(obs["state"]))
        return original(obs)

    critic.call = call
    agent.iterate()
    return weights(agent.model), asked


def test_critic_is_asked_once_per_environment_step(tmp_path, eager, monkeypatch):
    """A minibatch of 8 rows is larger than the 4 environment steps it is drawn from."""
    once, asked = learn_once(tmp_path / "once")
    assert 4 in asked
    assert 8 not in asked
    monkeypatch.setattr(TrainPPODiffusionAgent, "_values_of_rows", lambda *_: None)
    each, asked = learn_once(tmp_path / "each")
    assert 8 in asked
    for key, value in each.items():
        np.testing.assert_allclose(once[key], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("size", [3, 4])
def test_blocks_of_rows_give_what_all_rows_at_once_give(tmp_path, size):
    """Advantages are normalised over the minibatch of 8; 3 does not divide it."""
    ends = []
    for name, number in (("whole", 8), ("blocks", size)):
        losses: list = []
        options = ("train.n_train_itr=2", f"train.block_size={number}", *ETA)
        agent = run(tmp_path / name, *options, losses=losses)
        ends.append((weights(agent.model), losses[-1]._asdict()))
    for whole, blocks in zip(*ends, strict=True):
        assert whole.keys() == blocks.keys()
        for key, value in whole.items():
            np.testing.assert_allclose(blocks[key], value, rtol=1e-5, atol=1e-6)


def test_warm_up_leaves_the_actor_unchanged(tmp_path, eager):
    agent = make_agent(tmp_path, "train.n_critic_warmup_itr=3")
    assert moved(agent, iterations=2) == {"critic"}
    assert trained_row(tmp_path)["ratio"] == pytest.approx(1.0, abs=1e-6)
    assert moved(agent, iterations=2) == {"critic", "actor_ft"}


def test_first_minibatch_finds_the_policy_that_acted(tmp_path, eager):
    losses = []
    epochs = "train.update_epochs=2"
    agent = run(tmp_path, "train.n_train_itr=2", epochs, losses=losses)
    assert len(losses) == 2 * (2 * 2 * 2 // 8)  # Epochs; chunks, envs, K by batch.
    assert float(losses[0].ratio) == pytest.approx(1.0, abs=1e-5)
    assert float(losses[0].approx_kl) == pytest.approx(0.0, abs=1e-6)
    assert float(losses[-1].ratio) != pytest.approx(1.0, abs=1e-6)
    assert agent.itr == 2


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
    assert float(last.entropy_loss) == -1.0
    expected = last.pg_loss + 0.2 * -1.0 + 0.3 * last.v_loss + 0.1 * last.bc_loss
    assert row["loss"] == pytest.approx(float(expected), rel=1e-6)
    assert row["bc loss"] == pytest.approx(float(last.bc_loss))


def test_kl_limit_ends_an_update(tmp_path, eager):
    losses = []
    # Every divergence exceeds a negative limit, so the first step is the last.
    options = ("train.n_train_itr=2", "train.update_epochs=3", "train.target_kl=-1")
    run(tmp_path, *options, losses=losses)
    assert len(losses) == 1


# -- variants ------------------------------------------------------------------------


def test_ddim_fine_tuning(tmp_path, eager):
    agent = make_agent(tmp_path, *DDIM)
    actions, extras = agent.act({"state": np.zeros((2, 1, 3))}, explore=True)
    assert actions.shape == (2, 4, 2)
    assert extras["chains"].shape == (2, 3, 4, 2)
    np.testing.assert_array_equal(extras["chains"][:, -1], actions)
    before = weights(agent.model)
    agent.run()
    keys = {key.split(".")[0] for key in changed(before, weights(agent.model))}
    assert keys == {"actor_ft", "critic"}
    assert trained_row(tmp_path)["eta"] == pytest.approx(0.5)


def test_learned_eta_moves(tmp_path, eager):
    agent = make_agent(tmp_path, *ETA)
    assert "eta learner" in agent.checkpoints.registry.get_state()
    agent.iterate()
    assert moved(agent, iterations=1) == {"actor_ft", "critic", "eta"}
    assert (np.abs(agent.model.eta.values().numpy() - 0.5) > 1e-3).all()
    assert trained_row(tmp_path)["eta"] == pytest.approx(0.5)  # before the step


def test_eta_waits_for_the_warm_up(tmp_path, eager):
    agent = make_agent(tmp_path, *ETA, "train.n_critic_warmup_itr=2")
    assert moved(agent, iterations=2) == {"critic"}


def test_eta_is_trained_at_its_interval(tmp_path):
    agent = make_agent(tmp_path, *ETA, "train.eta_update_interval=2")
    agent.itr = 1
    flags = [bool(agent.step_inputs(n)["train"]["eta"]) for n in range(5)]
    assert flags == [True, False, True, False, True]


def test_history_of_observations(tmp_path, eager):
    agent = run(tmp_path, "cond_steps=2", "train.n_train_itr=2")
    assert agent.collector.obs["state"].shape == (2, 2, 3)
    assert agent.itr == 2


def test_single_fine_tuned_step_works(tmp_path, eager):
    agent = make_agent(tmp_path, "ft_denoising_steps=1")
    agent.iterate()
    assert moved(agent, iterations=1) == {"actor_ft", "critic"}
    row = trained_row(tmp_path)
    assert all(np.isfinite(value) for value in row.values())


def test_all_steps_may_be_fine_tuned(tmp_path, eager):
    agent = run(tmp_path, "ft_denoising_steps=3", "train.n_train_itr=2")
    assert agent.model.first_ft_position == 0
    assert agent.itr == 2


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (0, "ft_denoising_steps must be >= 1 to fine-tune, got 0"),
        (4, r"ft_denoising_steps must be in 0\.\.denoising_steps=3, got 4"),
    ],
)
def test_impossible_numbers_of_fine_tuned_steps_are_refused(tmp_path, steps, message):
    with pytest.raises(ValueError, match=message):
        make_agent(tmp_path, f"ft_denoising_steps={steps}")


ANNEALING = (
    "model.ft_denoising_steps_d=1",
    "model.ft_denoising_steps_t=2",
    "train.n_train_itr=4",
    "train.val_freq=4",
    "train.batch_size=4",
)


def test_fewer_steps_are_fine_tuned_as_annealing_goes_on(tmp_path, eager):
    agent, steps = make_agent(tmp_path, *ANNEALING), []
    for _ in range(3):
        agent.iterate()
        steps.append(agent.model.ft_denoising_steps)
        chains = agent.act({"state": np.zeros((2, 1, 3))}, explore=True)[1]["chains"]
        assert chains.shape[1] == steps[-1] + 1
    assert steps == [2, 1, 1]


def test_resumed_run_goes_on_with_its_annealing(tmp_path, eager):
    straight = run(tmp_path / "straight", *ANNEALING, "train.n_train_itr=3")
    halves = make_agent(tmp_path / "halves", *ANNEALING)
    for _ in range(2):
        halves.iterate()
    folder = tmp_path / "halves"
    again = run(folder, *ANNEALING, "train.n_train_itr=3", f"resume={folder}")
    assert again.model.ft_denoising_steps == straight.model.ft_denoising_steps == 1
    assert again.model.ft_denoising_steps_cnt == 3
    assert not changed(weights(straight.model), weights(again.model))


@pytest.mark.parametrize(("overrides", "horizon"), [((), 2), (["reward_horizon=3"], 3)])
def test_reward_horizon_is_the_executed_chunk_unless_set(tmp_path, overrides, horizon):
    assert make_agent(tmp_path, *overrides).reward_horizon == horizon


def test_log_probabilities_kept_while_sampling_are_those_of_the_chains(tmp_path, eager):
    agent = make_agent(tmp_path)
    agent.iterate()
    rollout = agent.collector.collect(agent.plan(), agent._actor(agent.plan()))
    data = agent.score(rollout)
    assert agent.rows(data) == 8
    assert data["logprobs"].shape == (4, 2, 4, 2)
    again = agent.model.get_logprobs(data["obs"], data["chains"])
    kept = data["logprobs"].numpy().reshape(again.shape)
    np.testing.assert_allclose(kept, again, rtol=1e-4, atol=1e-4)


# -- what is not finite --------------------------------------------------------------


def test_nan_loss_is_saved_aside_and_names_the_last_good_state(tmp_path, eager):
    agent = make_agent(tmp_path, "train.n_train_itr=4")
    for _ in range(3):
        agent.iterate()
    good = weights(agent.model)
    weight = agent.model.critic.parameters()[0]
    weight.assign(np.full(weight.shape, np.nan))
    with pytest.raises(NonFiniteError, match="iteration 3: loss is nan") as stop:
        agent.run()
    last = tmp_path / "checkpoint" / "last"
    assert str(last) in str(stop.value)
    assert is_complete(tmp_path / "checkpoint" / "nonfinite_3")
    state, meta = load_state(tmp_path / "checkpoint" / "state_1")
    assert meta["itr"] == 2
    assert not changed(state["model"], good)


def test_policy_that_returns_nan_stops_the_run(tmp_path, eager):
    agent = make_agent(tmp_path)
    weight = agent.model.actor_ft.parameters()[0]
    weight.assign(np.full(weight.shape, np.nan))
    with pytest.raises(NonFiniteError, match="iteration 0: .*actions .* not finite"):
        agent.run()
    assert is_complete(tmp_path / "checkpoint" / "nonfinite_0")
