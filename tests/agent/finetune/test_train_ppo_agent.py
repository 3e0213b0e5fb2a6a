import numpy as np
import pytest
import tensorflow as tf

from agent.finetune.train_ppo_agent import CPU_BLOCK_SIZE
from tests.agent.fakes import StubPPOAgent, make_rollout, scripted
from tests.agent.tiny import changed, tiny_config, weights
from util.checkpoint import load_state
from util.config import compat_scope
from util.metrics import read_metrics

TASK = (
    "obs_dim=1",
    "action_dim=1",
    "horizon_steps=2",
    "act_steps=2",
    "env.max_episode_steps=4",
    "train.n_steps=2",
    "train.gamma=0.5",
    "train.gae_lambda=0.5",
    "train.reward_scale_running=false",
)


def make_agent(tmp_path, *overrides, venv=None, **keys):
    """A PPO agent whose value of an observation is the observation."""
    cfg = tiny_config("ppo", tmp_path, *TASK, *overrides)
    cfg.model = {"_target_": "tests.agent.fakes.StubModel"}
    cfg.merge_with(keys)
    return StubPPOAgent(cfg, venv or scripted(20, 2))


def test_base_class_leaves_the_policy_open(tmp_path):
    parent = super(StubPPOAgent, make_agent(tmp_path))
    for method in (parent.policy_noise, parent.rows):
        with pytest.raises(NotImplementedError):
            method(None)
    with pytest.raises(NotImplementedError):
        parent.losses({}, None, {}, None)
    with pytest.raises(NotImplementedError):
        parent.prepare({}, None)


# -- advantages ----------------------------------------------------------------------


def estimate_of(agent, rollout):
    obs = agent.observations(rollout.obs)
    return agent.estimate(rollout, obs, rollout.rewards)


def estimate(tmp_path, *overrides, **ends):
    """Values 1, 2, 3, then 8; rewards 10, 20, 30; gamma and lambda 1/2."""
    rollout = make_rollout(
        [[10], [20], [30]], obs=[[1], [2], [3]], last_obs=[8], **ends
    )
    agent = make_agent(tmp_path, *overrides)
    values, advantages, returns = estimate_of(agent, rollout)
    assert values.tolist() == [[1], [2], [3]]
    np.testing.assert_allclose(returns, advantages + values)
    assert advantages.dtype == np.float64
    return advantages[:, 0].tolist()


def test_advantages_of_one_long_episode(tmp_path):
    # delta: 10 + 2/2 - 1, 20 + 3/2 - 2, 30 + 8/2 - 3; each takes a quarter of the next.
    assert estimate(tmp_path) == [16.8125, 27.25, 31]


def test_termination_has_no_value_behind_it(tmp_path):
    # delta: 10, 20 - 2, 31.
    assert estimate(tmp_path, terminated=[(1, 0)]) == [14.5, 18, 31]


def test_truncation_is_bootstrapped_from_its_final_observation(tmp_path):
    # delta: 10, 20 + 4/2 - 2, 31; nothing flows over the end of the episode.
    ends = {"truncated": [(1, 0)], "final_obs": {(1, 0): 4.0}}
    assert estimate(tmp_path, **ends) == [15, 20, 31]


def test_truncation_in_the_last_step_is_bootstrapped_too(tmp_path):
    # delta: 10, 19.5, 30 + 4/2 - 3.
    ends = {"truncated": [(2, 0)], "final_obs": {(2, 0): 4.0}}
    assert estimate(tmp_path, **ends) == [10 + 0.25 * 26.75, 26.75, 29]


def test_truncation_is_ignored_as_in_the_reference(tmp_path):
    with compat_scope({"gae_ignores_truncation": True}):
        ends = {"truncated": [(1, 0)], "final_obs": {(1, 0): 4.0}}
        assert estimate(tmp_path, **ends) == [16.8125, 27.25, 31]


def test_termination_wins_over_truncation(tmp_path):
    ends = {
        "terminated": [(1, 0)],
        "truncated": [(1, 0)],
        "final_obs": {(1, 0): 4.0},
    }
    assert estimate(tmp_path, **ends) == [14.5, 18, 31]


def test_truncation_without_reset_is_bootstrapped_from_the_next_observation(tmp_path):
    assert estimate(tmp_path, truncated=[(1, 0)]) == [10 + 0.25 * 19.5, 19.5, 31]


def test_rewards_are_multiplied_by_their_constant_scale(tmp_path):
    # delta: 20, 39.5, 61.
    found = estimate(tmp_path, "train.reward_scale_const=2")
    assert found == [20 + 0.25 * (39.5 + 0.25 * 61), 39.5 + 0.25 * 61, 61]


def test_environments_do_not_mix(tmp_path):
    rollout = make_rollout(
        [[10, 1], [20, 1]],
        obs=[[1, 0], [2, 0]],
        last_obs=[3, 0],
        truncated=[(0, 1)],
        final_obs={(0, 1): 6.0},
    )
    _, advantages, _ = estimate_of(make_agent(tmp_path), rollout)
    assert advantages.tolist() == [[10 + 0.25 * 19.5, 4], [19.5, 1]]


def test_values_are_computed_in_slices(tmp_path):
    agent = make_agent(tmp_path, "train.logprob_batch_size=3")
    values = agent.values_of({"state": np.arange(8.0).reshape(8, 1, 1)})
    assert agent.value_rows == [3, 3, 2]
    assert values.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


# -- rewards -------------------------------------------------------------------------

# The example of the recorded scaler, time-major.
REWARDS = np.array([[1, 0.5], [0, 0.5], [2, 0]])
SCALED = [[2.029675, 1.014837], [0, 1.014837], [4.059350, 0]]


def scaled(tmp_path, *overrides):
    rollout = make_rollout(REWARDS, terminated=[(1, 0)])
    return make_agent(tmp_path, *overrides).scale_rewards(rollout)


def test_rewards_are_divided_by_their_running_scale(tmp_path):
    found = scaled(tmp_path, "train.reward_scale_running=true", "train.gamma=0.99")
    np.testing.assert_allclose(found, SCALED, rtol=1e-6)


def test_running_scale_has_the_discount_of_training(tmp_path):
    options = ["train.reward_scale_running=true", "train.gamma=0.5"]
    found = scaled(tmp_path / "a", *options)
    assert not np.allclose(found, SCALED, rtol=1e-3)
    with compat_scope({"reward_scale_gamma_099": True}):
        found = scaled(tmp_path / "b", *options)
    np.testing.assert_allclose(found, SCALED, rtol=1e-6)


def test_rewards_may_stay_as_they_are(tmp_path):
    assert scaled(tmp_path).tolist() == REWARDS.tolist()


def test_evaluations_do_not_move_the_running_scale(tmp_path):
    options = ["train.reward_scale_running=true", "train.n_train_itr=1"]
    agent = make_agent(tmp_path, *options, venv=scripted(2, 2, rewards=[[1, 2]] * 2))
    before = agent.reward_scaler.get_state()
    agent.run()
    np.testing.assert_equal(agent.reward_scaler.get_state(), before)


# -- epochs --------------------------------------------------------------------------


def run_epochs(tmp_path, *overrides, kls=(), rows=8):
    agent = make_agent(tmp_path, *overrides)
    agent.kls = list(kls)
    losses, clipfracs = agent.run_epochs({"rows": rows})
    assert len(clipfracs) == len(agent.batches)
    return agent.batches, losses


def test_each_epoch_visits_rows_once_and_skips_the_remainder(tmp_path):
    batches, _ = run_epochs(tmp_path, "train.batch_size=3", "train.update_epochs=2")
    assert [len(batch) for batch in batches] == [3, 3, 3, 3]
    for epoch in (batches[:2], batches[2:]):
        assert len(set(np.concatenate(epoch))) == 6
    assert not np.array_equal(batches[0], batches[2])


def test_rows_that_fill_no_batch_are_one(tmp_path):
    batches, _ = run_epochs(tmp_path, "train.batch_size=50", "train.update_epochs=1")
    assert [sorted(batch) for batch in batches] == [list(range(8))]


KL = ("train.batch_size=4", "train.update_epochs=3", "train.target_kl=1")


def test_kl_limit_ends_all_epochs_after_the_step_that_exceeds_it(tmp_path):
    batches, losses = run_epochs(tmp_path, *KL, kls=[0, 1.0, 1.01, 0])
    assert len(batches) == 3
    assert losses.approx_kl == 1.01


def test_no_kl_limit(tmp_path):
    batches, _ = run_epochs(tmp_path, *KL, "train.target_kl=null", kls=[100] * 6)
    assert len(batches) == 6


def test_update_reports_the_last_losses_and_mean_clip_share(tmp_path):
    agent = make_agent(tmp_path, "train.batch_size=2", "train.update_epochs=1")
    agent.kls = [0.5, 0.25]
    rollout = make_rollout([[10, 10], [20, 20]], obs=[[1, 1], [2, 2]], last_obs=[3, 3])
    metrics = agent.update(rollout)
    assert metrics["approx kl"] == 0.25
    assert metrics["clipfrac"] == 0.25
    # Advantages are 10 + 19.5 / 4 and 19.5, returns 1 and 2 more.
    expected = 1 - np.var([14.875, 19.5]) / np.var([15.875, 21.5])
    assert metrics["explained variance"] == pytest.approx(expected, rel=1e-5)


def test_data_of_an_update_are_flat_and_time_major(tmp_path):
    agent, seen = make_agent(tmp_path), {}
    learn_step = agent.learn_step

    def noted(data, rows, inputs):
        seen.update(data)
        return learn_step(data, rows, inputs)

    agent.learn_step = noted
    agent.update(make_rollout([[1, 2], [3, 4]], obs=[[5, 6], [7, 8]]))
    assert seen["values"].numpy().tolist() == [5, 6, 7, 8]
    assert seen["values"].dtype == seen["returns"].dtype == tf.float32
    np.testing.assert_allclose(seen["returns"], seen["values"] + seen["advantages"])


# -- warm-up and schedules -----------------------------------------------------------

SCHEDULES = (
    "train.n_critic_warmup_itr=2",
    "train.n_train_itr=4",
    "train.val_freq=4",
    "train.actor_lr=0.1",
    "train.critic_lr=0.1",
    "train.actor_lr_scheduler.min_lr=0.01",
    "train.critic_lr_scheduler.min_lr=0.01",
    "train.actor_lr_scheduler.warmup_steps=9",
    "train.critic_lr_scheduler.warmup_steps=9",
)


def test_only_the_critic_learns_during_its_warm_up(tmp_path):
    agent = make_agent(tmp_path, *SCHEDULES)
    flags = []
    for itr in range(4):
        agent.itr = itr
        flags.append(bool(agent.step_inputs(0)["train"]["actor"]))
    assert flags == [False, False, True, True]


def test_actor_schedule_waits_for_the_warm_up(tmp_path):
    agent = make_agent(tmp_path, *SCHEDULES)
    rates = []
    for _ in range(4):
        agent.iterate()
        rates.append((agent.actor_learner.lr, agent.critic_learner.lr))
    # Iteration 0 is an evaluation; the critic's schedule moves in it as well.
    assert [critic for _, critic in rates] == pytest.approx([0.02, 0.03, 0.04, 0.05])
    assert [actor for actor, _ in rates] == pytest.approx([0.01, 0.01, 0.02, 0.03])


def test_flags_say_which_learners_take_a_step(tmp_path):
    agent = make_agent(tmp_path)
    model, one = agent.model, tf.ones([1, 1])
    before = weights(model)
    with tf.GradientTape() as tape:
        total = model.actor_ft(one) + model.critic(one)
    params = {name: learner.params for name, learner in agent.learners.items()}
    agent.apply_gradients(tape.gradient(total, params), {"actor": False})
    moved = changed(before, weights(model))
    assert {key.split(".")[0] for key in moved} == {"critic"}


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        ([], CPU_BLOCK_SIZE),
        (["train.block_size=7"], 7),
        (["train.block_size=7", "train.use_bc_loss=true"], None),
    ],
)
def test_rows_that_are_evaluated_at_once(tmp_path, overrides, size):
    assert make_agent(tmp_path, *overrides).block_size == size


def test_impossible_block_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train\.block_size must be >= 1.*got 0"):
        make_agent(tmp_path, "train.block_size=0")


def test_only_the_gradient_of_the_actor_is_clipped(tmp_path):
    agent = make_agent(tmp_path, "train.max_grad_norm=0.5")
    assert agent.actor_learner.max_grad_norm == 0.5
    assert agent.critic_learner.max_grad_norm is None


def test_learners_have_the_rates_and_decays_of_the_config(tmp_path):
    agent = make_agent(
        tmp_path, "train.actor_weight_decay=0.1", "train.critic_weight_decay=0.2"
    )
    decays = [learner.optimizer.weight_decay for learner in agent.learners.values()]
    assert decays == [0.1, 0.2]
    assert agent.actor_learner.params[0] is agent.model.actor_ft.weight
    assert agent.critic_learner.params[0] is agent.model.critic.weight


# -- the rest ------------------------------------------------------------------------


def test_checkpoint_holds_learners_and_running_scale(tmp_path):
    agent = make_agent(tmp_path, "train.reward_scale_running=true")
    state = load_state(agent.checkpoints.save(0))[0]["run"]
    assert {"actor learner", "critic learner", "reward scaler"} <= set(state)


def test_run_reports_its_metrics(tmp_path):
    agent = make_agent(tmp_path, "train.n_train_itr=2")
    agent.run()
    row = read_metrics(tmp_path / "metrics.jsonl")[1]
    assert {"loss", "approx kl", "clipfrac", "explained variance"} <= set(row)


def test_empty_slices_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"logprob_batch_size must be >= 1, got 0\."):
        make_agent(tmp_path, "train.logprob_batch_size=0")


@pytest.mark.parametrize("key", ["batch_size", "update_epochs", "n_steps"])
def test_sizes_below_1_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=rf"train\.{key} must be >= 1, got 0"):
        make_agent(tmp_path, f"train.{key}=0")
