import pytest

from tests.agent.finetune.rounds_agents import make_agent
from tests.agent.tiny import eagerly


@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluations_explore_if_asked_to(tmp_path, deterministic):
    with eagerly():
        agent = make_agent("idql", tmp_path, eval_deterministic=deterministic)
        obs = agent.venv.reset_arg([{}, {}])
        chunks = [agent.act(obs, explore=False)[0] for _ in range(2)]
    repeats = agent._sample[False] is not agent._sample[True]
    assert repeats == deterministic
    assert chunks[0].shape == (2, 2, 2)


def test_buffer_counts_vector_steps(tmp_path):
    with eagerly():
        agent = make_agent("idql", tmp_path, buffer_size=3)
        for _ in range(3):
            agent.iterate()
    assert len(agent.buffer) == 3 * 2


def test_both_critics_learn_and_are_reported_together(tmp_path):
    with eagerly():
        agent = make_agent("idql", tmp_path)
        agent.iterate()
        metrics = {}
        agent.trace = lambda label, **values: metrics.update(values.get("metrics", {}))
        agent.iterate()
    total = metrics["loss - critic q"] + metrics["loss - critic v"]
    assert metrics["loss - critic"] == pytest.approx(total, rel=1e-5)
