import numpy as np
import pytest

from agent.common.episodes import Episodes, find_spans, summarise
from tests.agent.fakes import make_rollout
from util.config import compat_scope

FIRSTS = np.array(
    # Head, one long episode, tail | one of 1, one of 3, nothing left | no start at all.
    [[0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0]]
)


def test_spans_are_complete_episodes_by_environment():
    assert find_spans(FIRSTS).tolist() == [[0, 1, 3], [1, 0, 0], [1, 1, 3]]


def test_single_chunk_episodes_are_dropped_as_in_the_reference():
    with compat_scope({"drop_single_chunk_episodes": True}):
        assert find_spans(FIRSTS).tolist() == [[0, 1, 3], [1, 1, 3]]


def test_no_spans_without_two_starts():
    spans = find_spans(np.array([[1.0], [0.0], [0.0]]))
    assert spans.shape == (0, 3)
    assert spans.dtype == np.int64


def rollout(**kwargs):
    """Episodes: env 0 has rewards 1, 2 and 3, 4; env 1 has 10, then a tail."""
    rewards = [[1, 10], [2, 20], [3, 30], [4, 40]]
    return make_rollout(
        rewards, terminated=[(1, 0)], truncated=[(3, 0), (0, 1)], **kwargs
    )


def test_episode_rewards_are_sums_and_best_rewards_per_env_step():
    episodes = summarise(rollout(), act_steps=2, threshold=2.0)
    assert episodes.count == 3
    assert episodes.rewards.tolist() == [3, 7, 10]
    assert episodes.best_rewards.tolist() == [1, 2, 5]
    assert episodes.success.tolist() == [False, True, True]
    assert episodes.broken == 0
    assert episodes.mean("rewards") == pytest.approx(20 / 3)
    assert episodes.mean("best_rewards") == pytest.approx(8 / 3)
    assert episodes.mean("success") == pytest.approx(2 / 3)


def test_sparse_furniture_succeeds_by_the_sum():
    episodes = summarise(rollout(), 2, threshold=7.0, sparse_furniture=True)
    assert episodes.best_rewards.tolist() == [3, 7, 10]
    assert episodes.success.tolist() == [False, True, True]


def test_broken_episode_is_dropped_and_counted():
    episodes = summarise(rollout(broken=[(2, 0)]), 2, threshold=2.0)
    assert episodes.spans.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert episodes.rewards.tolist() == [3, 10]
    assert episodes.broken == 1


def test_step_that_broke_after_the_last_episode_hurts_none():
    episodes = summarise(rollout(broken=[(3, 1)]), 2, threshold=2.0)
    assert (episodes.count, episodes.broken) == (3, 0)


def test_all_episodes_may_be_broken():
    episodes = summarise(rollout(broken=[(0, 0), (3, 0), (0, 1)]), 2, threshold=2.0)
    assert (episodes.count, episodes.broken) == (0, 3)


def test_means_of_no_episodes_are_0():
    episodes = summarise(make_rollout([[1], [2]]), 1, threshold=0.0)
    assert episodes.count == 0
    means = [episodes.mean(name) for name in ("rewards", "best_rewards", "success")]
    assert means == [0.0, 0.0, 0.0]


def test_head_without_its_start_is_no_episode():
    episodes = summarise(
        make_rollout([[1], [2]], terminated=[(1, 0)], first=0.0), 1, threshold=0.0
    )
    assert episodes.count == 0


def test_mean_is_over_episodes_not_environments():
    spans = np.zeros((3, 3), np.int64)
    episodes = Episodes(spans, np.array([1.0, 2, 6]), np.zeros(3), np.ones(3, bool))
    assert episodes.mean("rewards") == 3.0
