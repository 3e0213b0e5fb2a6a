import numpy as np
import pytest
import tensorflow as tf

from agent.finetune.train_awr_diffusion_agent import td_values
from tests.agent.finetune.rounds_agents import make_agent
from tests.agent.tiny import changed, eagerly, weights
from util.config import compat_scope

V = np.array([[1.0, 2], [3, 4], [5, 6]])
R = np.array([[1.0, 0], [0, 1], [1, 1]])
ENDS = np.array([[False, False], [True, False], [False, True]])


def test_targets_of_a_worked_example():
    found = td_values(None, R, ENDS, V)
    expected = [[1.141075, 2.287250], [0.15, 2.325625], [5.9025, 1.25]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_targets_do_not_cross_a_cut_and_take_the_value_that_follows():
    ones = np.ones((2, 1))
    found = td_values(None, ones, ones < 0, 2 * ones, 0.5, 1.0, 1.0, 4 * ones, ones > 0)
    assert found.tolist() == [[3.0], [3.0]]  # 1 + 0.5 * 4


def learned(tmp_path, itr=2, **settings):
    """An agent after so many iterations, and what its rounds saw."""
    seen = []

    def trace(label, **values):
        if label in ("td", "weighted_round"):
            seen.append((label, values))

    with eagerly():
        agent = make_agent("awr", tmp_path, **settings)
        agent.trace = trace
        for _ in range(itr):
            agent.iterate()
    return agent, seen


def test_the_critic_learns_less_often_than_the_actor(tmp_path):
    _, seen = learned(tmp_path)
    rounds = [values["batch"] for label, values in seen if label == "weighted_round"]
    assert ["targets" in batch for batch in rounds] == [True] * 4 + [False] * 8


def test_the_actor_waits_for_the_critic(tmp_path):
    with eagerly():
        agent = make_agent("awr", tmp_path)
        before = weights(agent.model)
        agent.iterate()
        agent.iterate()
        assert {k.split(".")[0] for k in changed(before, weights(agent.model))} == {
            "critic"
        }
        agent.iterate()
        assert any("actor" in key for key in changed(before, weights(agent.model)))


@pytest.mark.parametrize("old", [False, True])
def test_critic_batches_come_from_the_whole_buffer(tmp_path, old):
    with compat_scope({"awr_oldest_rows": old}):
        _, seen = learned(tmp_path, replay_ratio=40)
    rows = [v["rows"] for _, v in seen if "targets" in v.get("batch", ())]
    largest = max(int(at.max()) for at in rows)
    assert largest == (3 if old else 7)  # 4 steps of 2 environments


@pytest.mark.parametrize("fixed", [False, True])
def test_targets_have_the_discount_of_training(tmp_path, fixed):
    with compat_scope({"awr_fixed_discount": fixed}):
        agent, seen = learned(tmp_path, gamma=0.5)
        _, values = next(item for item in seen if item[0] == "td")
        steps, own = values["steps"], values["values"]
        given = (None, steps["rewards"], steps["terminated"], own)
        follows = {"next_values": None, "cuts": steps["cuts"]}
        follows["next_values"] = first_values(agent, tmp_path, steps["next_obs"])
        expected = td_values(*given, 0.99 if fixed else 0.5, **follows)
    np.testing.assert_allclose(values["targets"], expected, rtol=1e-5, atol=1e-6)


def first_values(agent, tmp_path, obs):
    """Values under the parameters from before the update."""
    with eagerly():
        return make_agent("awr", tmp_path / "fresh", gamma=0.5).values_of(obs)


def test_nothing_is_carried_past_the_end_of_a_rollout(tmp_path):
    agent, _ = learned(tmp_path)
    steps = agent.buffer.take(np.arange(len(agent.buffer)))
    assert steps["cuts"][-1].all()
    assert len(agent.buffer) == 4  # steps of all environments


def test_weights_are_limited_exponentials_of_normalised_advantages(tmp_path):
    with eagerly():
        agent = make_agent("awr", tmp_path)
        found = agent.weigh(tf.constant([0.0, 1.0, 5.0]))
    scaled = (np.array([0.0, 1.0, 5.0]) - 2) / (np.sqrt(7) + 1e-6)
    np.testing.assert_allclose(found, np.minimum(np.exp(2 * scaled), 5), rtol=1e-5)


def test_rewards_of_several_steps_are_refused(tmp_path):
    with pytest.raises(ValueError, match="train.n_step must be 1, .* got 2"):
        make_agent("awr", tmp_path, n_step=2)
