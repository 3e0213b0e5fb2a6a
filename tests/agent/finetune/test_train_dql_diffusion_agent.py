import numpy as np

from tests.agent.finetune.rounds_agents import make_agent
from tests.agent.tiny import eagerly


def test_the_buffers_actions_are_cloned(tmp_path, monkeypatch):
    cloned = []
    with eagerly():
        agent = make_agent("dql", tmp_path, n_critic_warmup_itr=0)
        loss = agent.model.loss
        monkeypatch.setattr(
            agent.model,
            "loss",
            lambda x, *args, **kwargs: cloned.append(x) or loss(x, *args, **kwargs),
        )
        agent.iterate()
        agent.iterate()
    stored = agent.buffer.arrays["actions"].reshape(-1, 4)[: len(agent.buffer)]
    rows = np.concatenate(cloned).reshape(-1, 4)
    assert all((stored == row).all(axis=1).any() for row in rows)
