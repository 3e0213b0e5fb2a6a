import numpy as np
import pytest

from tests.agent.finetune.stepwise_agents import (
    assert_resumed_run_equals_the_straight_one,
    iterate,
    make_agent,
    recorded_rounds,
    steps_of,
)
from tests.agent.tiny import moved
from util.metrics import read_metrics


def test_the_buffer_begins_with_the_data_set(tmp_path, eager):
    agent = make_agent("ibrl", tmp_path, **{"train.scale_reward_factor": 2})
    assert len(agent.buffer) == 15
    rows = agent.buffer.take(np.arange(15))
    np.testing.assert_allclose(rows["rewards"], 2 * np.arange(15) / 15, rtol=1e-6)
    iterate(agent, 1)
    assert len(agent.buffer) == 17


def test_data_that_do_not_fit_are_dropped_with_a_warning(tmp_path, caplog):
    agent = make_agent("ibrl", tmp_path, buffer_size=5)
    assert "only the last transitions of the 15" in caplog.text
    kept = agent.buffer.take(np.arange(5))["rewards"]
    np.testing.assert_allclose(kept, np.arange(10, 15) / 15, rtol=1e-6)


def test_it_never_acts_at_random(tmp_path):
    agent = make_agent("ibrl", tmp_path, n_explore_steps=3)
    assert not agent.plan().random


def test_it_learns_every_second_iteration(tmp_path, eager):
    agent = make_agent("ibrl", tmp_path, n_train_itr=9)
    seen = recorded_rounds(agent)
    agent.run()
    # Iterations 4 and 8 evaluate.
    assert [call["itr"] for call in seen] == [2, 6]
    assert seen[0]["rows"]["obs"].shape == (2, 4, 1, 3)


def test_one_actor_step_follows_all_critic_steps(tmp_path, eager):
    agent = make_agent("ibrl", tmp_path)
    iterate(agent, 3)
    assert steps_of(agent) == {"critic": 2, "actor": 1}


def test_the_teacher_stays_and_everything_else_learns(tmp_path, eager):
    agent = make_agent("ibrl", tmp_path)
    learned = {"network", "target_actor", "critic_networks", "target_networks"}
    assert moved(agent, iterations=3) == learned


def test_slow_actor_moves_once_in_an_update(tmp_path, eager):
    agent = make_agent("ibrl", tmp_path)
    before = [np.array(p) for p in agent.model.target_actor.parameters()]
    iterate(agent, 3)
    own = agent.model.network.parameters()
    for old, source, slow in zip(
        before, own, agent.model.target_actor.parameters(), strict=True
    ):
        expected = 0.75 * old + 0.25 * np.array(source)
        np.testing.assert_allclose(np.array(slow), expected, rtol=1e-5, atol=1e-7)


def test_metrics_are_those_of_the_reference(tmp_path, eager):
    make_agent("ibrl", tmp_path).run()
    row = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert {"loss - actor", "loss - critic", "total env step"} <= set(row)
    assert "entropy coeff" not in row


def test_evaluation_takes_the_better_action_without_chance(tmp_path, eager):
    agent = make_agent("ibrl", tmp_path)
    obs = {"state": np.ones((2, 1, 3))}
    one, two = (agent.act(obs, explore=False)[0] for _ in range(2))
    np.testing.assert_allclose(one, two, atol=1e-2)
    assert one.shape == (2, 1, 2)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_resumed_run_equals_the_straight_one(tmp_path, eager, steps):
    assert_resumed_run_equals_the_straight_one("ibrl", tmp_path, n_step=steps)


@pytest.mark.full
def test_compiled_rounds_take_the_steps_of_single_ones(tmp_path):
    agent = make_agent("ibrl", tmp_path)
    agent.run()
    assert steps_of(agent) == {"critic": 2, "actor": 1}
    assert agent.rounds.block.experimental_get_tracing_count() == 1
