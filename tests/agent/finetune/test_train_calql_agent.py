import pickle

import numpy as np
import pytest

from agent.common.replay import ReplayBuffer
from agent.finetune.train_calql_agent import StrayReturns
from tests.agent.fakes import make_rollout
from tests.agent.finetune.stepwise_agents import (
    assert_resumed_run_equals_the_straight_one,
    iterate,
    make_agent,
    recorded_rounds,
    steps_of,
)
from tests.agent.tiny import eagerly, moved, weights
from util.config import compat_scope
from util.metrics import read_metrics

LEARNED = {"network", "critic", "target_critic"}


# -- offline -------------------------------------------------------------------------


def test_offline_iterations_leave_the_environment_alone(tmp_path, eager):
    agent = make_agent("calql offline", tmp_path)
    iterate(agent, 1)  # The first one evaluates.
    before = agent.collector.obs
    agent.venv.step = agent.venv.reset_arg = None
    iterate(agent, 3)
    assert agent.collector.obs is before
    assert (len(agent.buffer), agent.train_steps) == (0, 0)


def test_offline_iterations_take_as_many_rounds_as_asked_for(tmp_path, eager):
    agent = make_agent("calql offline", tmp_path)
    iterate(agent, 2)
    assert steps_of(agent) == {"critic": 3, "actor": 3, "alpha": 3}


def test_offline_training_moves_all_networks(tmp_path, eager):
    agent = make_agent("calql offline", tmp_path)
    iterate(agent, 1)
    assert moved(agent, iterations=1) == LEARNED


def test_offline_batches_have_returns_of_the_data(tmp_path, eager):
    agent = make_agent("calql offline", tmp_path)
    seen = recorded_rounds(agent)
    iterate(agent, 2)
    rows = seen[0]["rows"]
    data = agent.sources[0].all_rows()
    for obs, returns in zip(rows["obs"][0], rows["returns"][0], strict=True):
        at = np.flatnonzero((data["obs"] == obs).all((1, 2)))
        assert returns == data["returns"][at]


def test_offline_runs_evaluate_report_and_save(tmp_path, eager):
    make_agent("calql offline", tmp_path).run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["num episode - eval"] for row in (rows[0], rows[4])] == [1, 1]
    assert {"loss - actor", "loss - critic", "entropy coeff"} <= set(rows[1])
    table = pickle.loads((tmp_path / "result.pkl").read_bytes())
    assert "eval_episode_reward" in table[0]
    assert {"itr", "step", "time", "train_episode_reward"} == set(table[1])


def test_the_online_run_starts_from_what_the_offline_run_saved(tmp_path, eager):
    offline = make_agent("calql offline", tmp_path / "offline")
    offline.run()
    path = tmp_path / "offline" / "checkpoint" / "state_5.pt"
    online = make_agent(
        "calql online", tmp_path / "online", **{"model.network_path": str(path)}
    )
    np.testing.assert_equal(weights(online.model), weights(offline.model))


# -- online --------------------------------------------------------------------------


def test_online_iterations_collect_an_episode_and_learn_as_often(tmp_path, eager):
    agent = make_agent("calql online", tmp_path)
    seen = recorded_rounds(agent)
    iterate(agent, 1)
    assert len(agent.buffer) == 0
    iterate(agent, 1)
    steps = len(agent.buffer)
    assert 1 <= steps <= 6
    assert agent.train_steps == steps
    assert steps_of(agent) == {"critic": steps, "actor": steps, "alpha": steps}
    assert seen[0]["rows"]["obs"].shape[1:] == (4, 1, 3)
    rows = agent.buffer.take(np.arange(steps))
    assert agent.collector.done.all()
    assert rows["rewards"].shape == (steps,)


def test_rounds_for_each_collected_step_can_be_chosen(tmp_path, eager):
    agent = make_agent("calql online", tmp_path, online_utd_ratio=2)
    iterate(agent, 2)
    assert steps_of(agent)["critic"] == 2 * len(agent.buffer)


def test_several_episodes_in_an_iteration(tmp_path, eager):
    agent = make_agent("calql online", tmp_path, n_episode_per_epoch=3)
    iterate(agent, 2)
    assert agent.finished_returns == []
    row = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert row["num episode - train"] == 3


def test_returns_belong_to_their_transitions(tmp_path):
    agent = make_agent("calql online", tmp_path, gamma=0.5, scale_reward_factor=10)
    rollout = make_rollout(
        [[1], [2], [4], [8], [16]], terminated=[(1, 0)], truncated=[(3, 0)]
    )
    returns = agent.columns(rollout)["returns"]
    assert returns.tolist() == [[20], [20], [80], [80], [160]]


def test_returns_of_evaluations_are_not_stored(tmp_path, eager):
    agent = make_agent("calql online", tmp_path)
    iterate(agent, 6)
    rows = agent.buffer.take(np.arange(len(agent.buffer)))
    # One environment: an episode goes on where the next row follows.
    follows = (rows["next_obs"][:-1] == rows["obs"][1:]).all((1, 2))
    goes_on = np.append(follows & (rows["terminated"][:-1] == 0), False)
    expected, total = [], 0.0
    for reward, more in zip(rows["rewards"][::-1], goes_on[::-1], strict=True):
        total = reward + agent.gamma * total * more
        expected.append(total)
    np.testing.assert_allclose(rows["returns"], expected[::-1], rtol=1e-5)


def test_returns_of_evaluations_are_mixed_in_in_the_reference(tmp_path):
    with eagerly(), compat_scope({"calql_misaligned_returns": True}):
        agent = make_agent("calql online", tmp_path)
        iterate(agent, 2)
        stray = agent.stray_returns.returns
        assert len(stray) > len(agent.buffer)
        rows = agent.sources[1].take(np.arange(len(agent.buffer)))
        np.testing.assert_equal(
            rows["returns"], stray.take(np.arange(len(agent.buffer)))["returns"]
        )


@pytest.mark.full
def test_returns_of_the_reference_resume(tmp_path, eager):
    with compat_scope({"calql_misaligned_returns": True}):
        assert_resumed_run_equals_the_straight_one("calql online", tmp_path)


def test_stray_returns_are_those_of_episodes_that_ended_unscaled():
    stray = StrayReturns(ReplayBuffer(9))
    rollout = make_rollout([[1], [2], [4], [8]], terminated=[(1, 0)])
    stray.add(rollout, gamma=0.5)
    stray.add(make_rollout([[3]]), gamma=0.5)  # It goes on.
    assert stray.returns.take(np.arange(2))["returns"].tolist() == [2, 2]
    assert len(stray) == 0


# -- both ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "steps"),
    [
        ("offline", 1),
        ("online", 1),
        pytest.param("offline", 3, marks=pytest.mark.full),
        pytest.param("online", 3, marks=pytest.mark.full),
    ],
)
def test_a_resumed_run_equals_the_straight_one(tmp_path, eager, phase, steps):
    kind = f"calql {phase}"
    assert_resumed_run_equals_the_straight_one(kind, tmp_path, n_step=steps)


def test_random_actions_are_uniform_on_the_whole_range(tmp_path, eager):
    agent, given = make_agent("calql offline", tmp_path, n_random_actions=50), []
    loss = agent.model.loss_critic

    def noted(**arguments):
        given.append(arguments["random_actions"].numpy())
        return loss(**arguments)

    agent.model.loss_critic = noted
    iterate(agent, 2)
    actions = np.stack(given)
    assert actions.shape == (3, 4, 50, 1, 2)
    assert -1 <= actions.min() < -0.95
    assert 0.95 < actions.max() <= 1
    assert abs(actions.mean()) < 0.1


def test_the_temperature_may_be_fixed(tmp_path, eager):
    settings = {"automatic_entropy_tuning": False, "init_temperature": 0.5}
    agent = make_agent("calql offline", tmp_path, **settings)
    iterate(agent, 2)
    assert agent.metrics["entropy coeff"] == pytest.approx(0.5)
    assert steps_of(agent)["actor"] == 3
    assert steps_of(agent)["alpha"] == 0


def test_several_environments_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"env\.n_envs must be 1.* got 2"):
        make_agent("calql online", tmp_path, **{"env.n_envs": 2})


def test_data_without_returns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="offline_dataset.get_mc_return must be true"):
        make_agent("calql online", tmp_path, **{"offline_dataset.get_mc_return": False})


@pytest.mark.full
@pytest.mark.parametrize("phase", ["offline", "online"])
def test_compiled_rounds_are_traced_once(tmp_path, phase):
    agent = make_agent(f"calql {phase}", tmp_path)
    agent.rounds.per_block = 2
    agent.run()
    rounds = agent.rounds
    counts = [f.experimental_get_tracing_count() for f in (rounds.single, rounds.block)]
    assert counts == [1, 1]
