import numpy as np
import pytest

from tests.agent.finetune.stepwise_agents import (
    assert_resumed_run_equals_the_straight_one,
    iterate,
    make_agent,
    recorded_rounds,
    steps_of,
)
from tests.agent.tiny import eagerly, moved
from util.checkpoint import load_state
from util.config import compat_scope
from util.metrics import read_metrics


def test_it_explores_at_random_and_then_learns_at_once(tmp_path, eager):
    agent = make_agent("rlpd", tmp_path)
    seen = recorded_rounds(agent)
    agent.run()
    # Iterations 0 and 1 explore, 4 evaluates.
    assert [call["itr"] for call in seen] == [2, 3, 5]


def test_it_may_evaluate_right_after_the_exploration(tmp_path):
    agent = make_agent("rlpd", tmp_path)
    agent.itr = agent.val_freq = 2
    assert not agent.plan().learn


def test_half_of_a_batch_is_offline(tmp_path, eager):
    agent = make_agent("rlpd", tmp_path)
    seen = recorded_rounds(agent)
    iterate(agent, 3)
    obs = seen[0]["rows"]["obs"]
    assert obs.shape == (3, 4, 1, 3)
    offline = agent.sources[0].all_rows()["obs"]
    online = agent.buffer.take(np.arange(len(agent.buffer)))["obs"]
    assert np.isin(obs[:, :2], offline).all()
    assert np.isin(obs[:, 2:], online).all()


def test_one_step_of_actor_and_temperature_follows_all_critic_steps(tmp_path, eager):
    agent = make_agent("rlpd", tmp_path)
    iterate(agent, 3)
    assert steps_of(agent) == {"critic": 3, "actor": 1, "alpha": 1}


def test_every_network_learns(tmp_path, eager):
    agent = make_agent("rlpd", tmp_path)
    learned = {"network", "critic_networks", "target_networks"}
    assert moved(agent, iterations=3) == learned
    assert agent.log_alpha.numpy() != 0


def test_metrics_are_those_of_the_reference(tmp_path, eager):
    make_agent("rlpd", tmp_path).run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    # As in the reference, the iteration that ends the exploration is not logged.
    assert [row["step"] for row in rows] == [3, 4, 5]
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


@pytest.mark.parametrize("steps", [1, 3])
def test_a_resumed_run_equals_the_straight_one(tmp_path, eager, steps):
    assert_resumed_run_equals_the_straight_one("rlpd", tmp_path, n_step=steps)


def test_trained_critics_resume_although_the_reference_does_not_save_them(tmp_path):
    with eagerly(), compat_scope({"stale_ensemble_checkpoint": True}):
        assert_resumed_run_equals_the_straight_one("rlpd", tmp_path)
    state = load_state(tmp_path / "halves" / "checkpoint" / "last")[0]
    trained = state["run"]["trained critics"]
    stale = {k: v for k, v in state["model"].items() if k.startswith("critic_networks")}
    assert any((trained[k.partition(".")[2]] != v).any() for k, v in stale.items())


def test_both_halves_sum_rewards_of_several_steps(tmp_path, eager):
    agent = make_agent("rlpd", tmp_path, n_step=2)
    seen = recorded_rounds(agent)
    iterate(agent, 4)
    discounts = seen[-1]["rows"]["gamma"]
    assert set(discounts.ravel()) <= {np.float32(0.99), np.float32(0.99**2)}
    assert np.float32(0.99**2) in discounts[:, :2]
    assert np.float32(0.99**2) in discounts[:, 2:]


def test_nothing_is_learned_before_a_row_is_complete(tmp_path, eager):
    agent = make_agent("rlpd", tmp_path, n_step=5, n_explore_steps=0)
    iterate(agent, 2)
    assert len(agent.buffer) == 0
    assert steps_of(agent)["critic"] == 0


@pytest.mark.full
def test_all_rounds_of_an_iteration_are_one_call(tmp_path):
    agent = make_agent("rlpd", tmp_path)
    calls = []
    block = agent.rounds.block
    agent.rounds.block = lambda *given: calls.append(agent.itr) or block(*given)
    agent.run()
    assert calls == [2, 3, 5]
    assert block.experimental_get_tracing_count() == 1


@pytest.mark.full
def test_compiled_rounds_take_the_steps_of_single_ones(tmp_path):
    agent = make_agent("rlpd", tmp_path)
    agent.run()
    # The actor's step is taken in the last of three rounds, three times.
    assert steps_of(agent) == {"critic": 9, "actor": 3, "alpha": 3}


def test_buffer_smaller_than_a_batch_is_refused(tmp_path):
    message = r"train\.buffer_size must be >= train\.batch_size=4, got 3"
    with pytest.raises(ValueError, match=message):
        make_agent("rlpd", tmp_path, buffer_size=3)


def test_batch_larger_than_the_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="offline_dataset must have at least the 40"):
        make_agent("rlpd", tmp_path, batch_size=80)
