import numpy as np

from tests.agent.finetune.rounds_agents import make_agent
from tests.agent.tiny import eagerly


def learned(tmp_path, **settings):
    guided, rows = [], []
    with eagerly():
        agent = make_agent("dipo", tmp_path, **settings)

        def trace(label, **values):
            if label == "actor_round":
                rows.append(values["rows"])
                guided.append(values["guided"].numpy())

        agent.trace = trace
        agent.iterate()
        agent.iterate()
    return agent, rows, guided


def test_guided_actions_go_back_into_the_buffer(tmp_path):
    agent, rows, guided = learned(tmp_path, n_critic_warmup_itr=0)
    assert len(rows) == 8
    last = dict(zip(rows[-1].tolist(), guided[-1], strict=True))
    for row, chunk in last.items():
        assert (agent.buffer.take(np.array([row]))["actions"][0] == chunk).all()


def test_actions_stay_as_they_are_while_the_critic_warms_up(tmp_path):
    agent, rows, _ = learned(tmp_path)
    assert rows == []
    assert len(agent.buffer) == 8
