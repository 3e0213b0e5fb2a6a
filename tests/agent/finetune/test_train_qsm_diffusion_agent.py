from tests.agent.finetune.rounds_agents import make_agent
from tests.agent.tiny import changed, eagerly, weights


def test_the_critic_of_the_model_has_its_own_learner(tmp_path):
    with eagerly():
        agent = make_agent("qsm", tmp_path)
        before = weights(agent.model)
        agent.iterate()
        agent.iterate()
    names = {key.split(".")[0] for key in changed(before, weights(agent.model))}
    assert names == {"critic_q", "target_q"}
    assert set(agent.learners) == {"actor", "critic"}


def test_buffer_counts_vector_steps(tmp_path):
    with eagerly():
        agent = make_agent("qsm", tmp_path, buffer_size=3)
        for _ in range(3):
            agent.iterate()
    assert len(agent.buffer) == 3 * 2
