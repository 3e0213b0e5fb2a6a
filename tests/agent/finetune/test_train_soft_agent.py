import numpy as np
import pytest
import tensorflow as tf

from tests.agent.finetune.stepwise_agents import make_agent, steps_of
from tests.agent.tiny import changed, weights


def batch_of(agent, count=4):
    rows = agent.sources[0].take(np.arange(count))
    batch = {key: tf.constant(value) for key, value in rows.items()}
    return batch | {key: {"state": batch[key]} for key in ("obs", "next_obs")}


def parts(before, after):
    return {key.split(".")[0] for key in changed(before, after)}


def test_a_round_without_the_actor_moves_critics_only(tmp_path, eager):
    agent = make_agent("calql offline", tmp_path)
    before = weights(agent.model)
    found = agent.round({**batch_of(agent), "acts": tf.constant(False)}, {}, None)
    assert parts(before, weights(agent.model)) == {"critic", "target_critic"}
    assert steps_of(agent) == {"critic": 1, "actor": 0, "alpha": 0}
    assert found["loss - critic"] > 0
    assert found["loss - actor"] == 0


def test_a_round_with_the_actor_moves_everything(tmp_path, eager):
    agent = make_agent("calql offline", tmp_path)
    before = weights(agent.model)
    agent.round({**batch_of(agent), "acts": tf.constant(True)}, {}, None)
    learned = {"critic", "target_critic", "network"}
    assert parts(before, weights(agent.model)) == learned
    assert agent.log_alpha.numpy() != 0


def test_the_actor_has_the_temperature_from_before_its_step(tmp_path, eager):
    agent, given = make_agent("rlpd", tmp_path, init_temperature=0.5), []
    loss = agent.model.loss_actor
    agent.model.loss_actor = lambda obs, alpha, noise: (
        given.append(float(alpha)) or loss(obs, alpha, noise=noise)
    )
    found = agent.round({**batch_of(agent), "acts": tf.constant(True)}, {}, None)
    assert given == [0.5]
    assert found["entropy coeff"] == 0.5
    assert np.exp(agent.log_alpha.numpy()) != 0.5


def test_rows_may_have_a_discount_of_their_own(tmp_path, eager):
    agent, given = make_agent("rlpd", tmp_path), []
    loss = agent.model.loss_critic
    agent.model.loss_critic = lambda **arguments: (
        given.append(arguments["gamma"]) or loss(**arguments)
    )
    batch = batch_of(agent)
    agent.step_critic(batch, None)
    own = tf.constant([0.5, 0.25, 0.5, 0.25])
    agent.step_critic({**batch, "gamma": own}, None)
    assert given[0] == agent.gamma
    assert given[1] is own


@pytest.mark.full
def test_branches_are_the_same_when_compiled(tmp_path):
    agent = make_agent("rlpd", tmp_path)
    for acts in (False, True, False):
        batch = {**batch_of(agent), "acts": tf.constant(acts)}
        agent.rounds.single(batch, {}, None)
    assert agent.rounds.single.experimental_get_tracing_count() == 1
    assert steps_of(agent) == {"critic": 3, "actor": 1, "alpha": 1}
