import numpy as np
import pytest

from agent.finetune.train_rwr_diffusion_agent import all_spans
from tests.agent.fakes import make_rollout
from tests.agent.finetune.rounds_agents import make_agent
from tests.agent.tiny import changed, eagerly, weights
from util.checkpoint import load_state
from util.config import compat_scope


@pytest.fixture
def agent(tmp_path):
    with eagerly():
        yield make_agent("rwr", tmp_path, gamma=0.5, beta=1.0, max_reward_weight=2.0)


def rollout(firsts, rewards):
    obs = np.arange(6.0).reshape(3, 2, 1, 1)
    samples = np.zeros((3, 2, 2, 2), np.float32)
    made = make_rollout(rewards, obs=obs.reshape(3, 2))
    made.firsts, made.extras = np.array(firsts), {"samples": samples}
    made.obs = {"state": np.repeat(obs, 3, axis=-1)}
    return made


REWARDS = [[1.0, 8], [2, 16], [4, 32]]
ENDED = [[1, 1], [0, 0], [0, 1], [1, 0]]  # env 0: steps 0 to 2, env 1: steps 0 to 1


def test_weights_are_those_of_the_returns_of_finished_episodes(agent):
    rows = agent.weigh(rollout(ENDED, REWARDS))
    returns = np.array([1 + 1 + 1, 2 + 2, 4, 8 + 8, 16.0])
    scaled = (returns - returns.mean()) / (returns.std() + 1e-3)
    expected = np.minimum(np.exp(scaled), 2)
    np.testing.assert_allclose(rows["weights"], expected, rtol=1e-6)
    assert rows["state"][:, 0, 0].tolist() == [0, 2, 4, 1, 3]


UNDER_WAY = [[1, 0], [0, 1], [0, 0], [0, 0]]


def test_episodes_under_way_count_if_none_has_ended(agent):
    rows = agent.weigh(rollout(UNDER_WAY, REWARDS))
    assert rows["state"][:, 0, 0].tolist() == [0, 2, 4, 1, 3, 5]
    assert all_spans(np.array(UNDER_WAY)).tolist() == [[0, 0, 2], [1, 0, 0], [1, 1, 2]]


def test_reference_needs_a_finished_episode(agent):
    with (
        compat_scope({"rwr_needs_finished_episode": True}),
        pytest.raises(ValueError, match="no episode ended .* larger train.n_steps"),
    ):
        agent.weigh(rollout(UNDER_WAY, REWARDS))


def test_epochs_visit_every_chunk_in_random_order(agent):
    seen = []
    agent.trace = lambda label, **values: (
        seen.append(values["rows"]) if label == "weighted_round" else None
    )
    agent.update(rollout(ENDED, REWARDS))
    # 5 chunks in batches of 4: one batch in each of 2 epochs.
    assert [len(set(at.tolist())) for at in seen] == [4, 4]


def test_all_parameters_learn_and_a_resumed_run_equals_the_straight_one(tmp_path):
    with eagerly():
        straight = make_agent("rwr", tmp_path / "straight", save_last_minutes=0)
        before = weights(straight.model)
        straight.run()
        assert changed(before, weights(straight.model)) == set(before)
        halves = make_agent("rwr", tmp_path / "halves", save_last_minutes=0)
        for _ in range(2):
            halves.iterate()
        halves.venv.close()
        folder = str(tmp_path / "halves")
        make_agent("rwr", tmp_path / "halves", save_last_minutes=0, resume=folder).run()
    states = [
        load_state(tmp_path / name / "checkpoint" / "last")[0]["model"]
        for name in ("straight", "halves")
    ]
    assert changed(*states) == set()


def test_no_epoch_is_refused(tmp_path):
    with pytest.raises(ValueError, match="update_epochs must be >= 1, got 0"):
        make_agent("rwr", tmp_path, update_epochs=0)
