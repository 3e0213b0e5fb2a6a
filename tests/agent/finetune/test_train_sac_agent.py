import pickle

import numpy as np
import pytest

from agent.common.rollout import NonFiniteError
from agent.finetune.train_sac_agent import TrainSACAgent
from tests.agent.tiny import changed, tiny_config, weights
from util.checkpoint import is_complete, load_state
from util.metrics import read_metrics

SMALL = ("model.actor.mlp_dims=[8]", "model.critic.mlp_dims=[8]")


def make_agent(tmp_path, *overrides):
    """Explores in iterations 0 to 4, evaluates in 8, learns in 6, 7, 9, ...

    The critic learns in each of them, the actor in the even ones.
    """
    return TrainSACAgent(tiny_config("sac", tmp_path, *SMALL, *overrides))


def recording(agent):
    """Notes what each update passed to the agent's trace."""
    seen = []
    agent.trace = lambda label, **values: seen.append((agent.itr, label, values))
    return seen


def of(seen, label):
    return [values for _, name, values in seen if name == label]


def iterate_until(agent, itr):
    while agent.itr < itr:
        agent.iterate()


# -- one compiled run ----------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sac")
    agent = make_agent(folder)
    agent.run()
    return agent, folder


def test_compiled_functions_are_traced_once(compiled):
    agent, _ = compiled
    functions = {
        "sample with noise": agent._sample[True],
        "sample without": agent._sample[False],
        "critic_step": agent.critic_step,
        "actor_step": agent.actor_step,
    }
    counts = {k: f.experimental_get_tracing_count() for k, f in functions.items()}
    assert counts == dict.fromkeys(functions, 1)


def test_metrics_are_those_of_the_reference(compiled):
    rows = read_metrics(compiled[1] / "metrics.jsonl")
    assert [row["step"] for row in rows] == [6, 7, 8, 9, 10, 11]
    assert set(rows[-1]) == {
        "step",
        "time",
        "total env step",
        "loss - actor",
        "loss - critic",
        "entropy coeff",
        "avg episode reward - train",
        "num episode - train",
    }
    assert set(rows[2]) == {
        "step",
        "time",
        "total env step",
        "success rate - eval",
        "avg episode reward - eval",
        "avg best reward - eval",
        "num episode - eval",
    }
    assert rows[2]["num episode - eval"] == 2
    # Eleven training iterations of one step in 2 environments.
    assert rows[-1]["total env step"] == 22


def test_result_pickle_has_the_keys_of_the_reference(compiled):
    rows = pickle.loads((compiled[1] / "result.pkl").read_bytes())
    assert [row["itr"] for row in rows] == [6, 7, 8, 9, 10, 11]
    assert set(rows[-1]) == {"itr", "step", "time", "train_episode_reward"}
    evaluation = {"eval_success_rate", "eval_episode_reward", "eval_best_reward"}
    assert set(rows[2]) == {"itr", "step", "time"} | evaluation


def test_temperature_has_moved(compiled):
    agent, folder = compiled
    rows = read_metrics(folder / "metrics.jsonl")
    # The first update still has the initial temperature.
    assert rows[0]["entropy coeff"] == 1.0
    assert rows[-1]["entropy coeff"] != 1.0
    assert agent.log_alpha.numpy() != 0.0


def test_checkpoint_holds_learners_and_temperature(compiled):
    state = load_state(compiled[1] / "checkpoint" / "last")[0]["run"]
    names = {f"{name} learner" for name in ("actor", "critic", "alpha")}
    assert names | {"temperature", "buffer"} <= set(state)


# -- when it learns ------------------------------------------------------------------


def test_replay_ratios_say_how_often_it_learns(tmp_path, eager):
    agent = make_agent(tmp_path)
    assert (agent.critic_interval, agent.actor_interval) == (1, 2)
    seen = recording(agent)
    agent.run()
    critic = [itr for itr, label, _ in seen if label == "critic_update"]
    actor = [itr for itr, label, _ in seen if label == "actor_update"]
    assert critic == [6, 7, 9, 10, 11]
    assert actor == [6, 6, 10, 10]


def test_ratio_above_the_batch_size_means_every_iteration(tmp_path):
    agent = make_agent(tmp_path, "train.critic_replay_ratio=100")
    assert agent.critic_interval == 1


def test_exploration_acts_at_random_and_then_the_policy_acts(tmp_path, eager):
    agent, calls = make_agent(tmp_path), []
    act = agent.act

    def noted(obs, explore):
        calls.append((agent.itr, explore))
        return act(obs, explore)

    agent.act = noted
    agent.run()
    assert {itr for itr, _ in calls} == {5, 6, 7, 8, 9, 10, 11}
    assert {itr for itr, explore in calls if not explore} == {8}


def test_update_waits_for_a_full_batch(tmp_path, eager):
    options = ("train.n_explore_steps=0", "train.batch_size=6", "train.val_freq=100")
    agent = make_agent(tmp_path, *options, "train.critic_replay_ratio=6")
    seen = recording(agent)
    iterate_until(agent, 4)
    # Two rows in each iteration: six are there in iteration 2.
    assert [itr for itr, label, _ in seen if label == "critic_update"] == [2, 3]


def test_buffer_that_cannot_hold_a_batch_is_refused(tmp_path):
    message = r"train\.buffer_size must be >= train\.batch_size=4, got 3"
    with pytest.raises(ValueError, match=message):
        make_agent(tmp_path, "train.buffer_size=3")


# -- what it learns ------------------------------------------------------------------


def test_critic_step_moves_the_critic_and_its_target_only(tmp_path, eager):
    agent = make_agent(tmp_path, "train.target_ema_rate=0.25")
    iterate_until(agent, 7)
    before = weights(agent.model)
    agent.iterate()  # 7 is odd: no actor step
    after = weights(agent.model)
    parts = {key.split(".")[0] for key in changed(before, after)}
    assert parts == {"critic", "target_critic"}
    key = "critic.Q1.moduleList.0.linear_1.weight"
    expected = 0.75 * before[f"target_{key}"] + 0.25 * after[key]
    np.testing.assert_allclose(after[f"target_{key}"], expected, rtol=1e-6)


def test_actor_step_moves_policy_and_temperature_only(tmp_path, eager):
    agent = make_agent(tmp_path)
    iterate_until(agent, 6)
    batch = {"state": np.zeros((4, 1, 3), np.float32)}
    before, alpha = weights(agent.model), agent.log_alpha.numpy()
    agent.actor_step(batch, np.float32(1.0), None)
    parts = {key.split(".")[0] for key in changed(before, weights(agent.model))}
    assert parts == {"network"}
    assert agent.log_alpha.numpy() != alpha


def test_both_actor_steps_have_the_batch_and_temperature_of_the_critic(tmp_path, eager):
    agent = make_agent(tmp_path)
    iterate_until(agent, 6)
    seen, calls = recording(agent), []
    step = agent.actor_step

    def noted(obs, alpha, noise):
        calls.append((obs["state"], float(alpha)))
        return step(obs, alpha, noise)

    agent.actor_step = noted
    agent.iterate()
    batch, alpha = of(seen, "critic_update")[0]["batch"], float(calls[0][1])
    assert [a for _, a in calls] == [alpha, alpha] == [1.0, 1.0]
    assert all(obs is batch["obs"]["state"] for obs, _ in calls)


def test_batch_has_no_row_twice(tmp_path, eager):
    options = ("train.batch_size=14", "train.critic_replay_ratio=14")
    agent = make_agent(tmp_path, *options)
    seen = recording(agent)
    iterate_until(agent, 7)
    (update,) = of(seen, "critic_update")
    states = update["batch"]["obs"]["state"].reshape(14, -1)
    assert len(np.unique(states, axis=0)) == 14


def test_actions_are_squashed(tmp_path, eager):
    agent = make_agent(tmp_path)
    actions, extras = agent.act({"state": np.full((2, 1, 3), 50.0)}, explore=True)
    assert actions.shape == (2, 1, 2)
    assert extras == {}
    assert (np.abs(actions) <= 1).all()


def test_evaluation_is_nearly_deterministic(tmp_path, eager):
    agent, obs = make_agent(tmp_path), {"state": np.ones((2, 1, 3))}
    one, two = (agent.act(obs, explore=False)[0] for _ in range(2))
    np.testing.assert_allclose(one, two, atol=1e-2)
    explored = agent.act(obs, explore=True)[0]
    assert np.abs(explored - one).max() > 1e-2


def test_history_of_observations(tmp_path, eager):
    agent = make_agent(tmp_path, "cond_steps=2")
    iterate_until(agent, 7)
    assert agent.buffer.arrays["obs"].shape[1:] == (2, 3)


def test_nan_loss_is_saved_aside(tmp_path, eager):
    agent = make_agent(tmp_path)
    iterate_until(agent, 7)
    weight = agent.model.critic.parameters()[0]
    weight.assign(np.full(weight.shape, np.nan))
    with pytest.raises(NonFiniteError, match="iteration 7: loss - critic is nan"):
        agent.run()
    assert is_complete(tmp_path / "checkpoint" / "nonfinite_7")
