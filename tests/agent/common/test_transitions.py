import numpy as np
import pytest

from agent.common.transitions import NStep, Transitions
from tests.agent.fakes import make_rollout
from util.checkpoint import load_state, save_state


def test_transitions_are_rows_that_do_not_cross_episodes():
    rollout = make_rollout(
        [[1, 2], [3, 4]],
        obs=[[10, 11], [20, 21]],
        last_obs=[30, 31],
        terminated=[(0, 0)],
        truncated=[(0, 1)],
        final_obs={(0, 1): 99.0},
    )
    rows = Transitions(0.5, 10)(rollout)
    assert {key: value.dtype for key, value in rows.items()} == dict.fromkeys(
        ("obs", "next_obs", "actions", "rewards", "terminated"), np.float32
    )
    assert rows["obs"].shape == (4, 1, 1)
    assert rows["obs"].ravel().tolist() == [10, 11, 20, 21]
    assert rows["next_obs"].ravel().tolist() == [20, 99, 30, 31]
    assert rows["rewards"].tolist() == [10, 20, 30, 40]
    assert rows["terminated"].tolist() == [1, 0, 0, 0]
    assert rows["actions"].shape == (4, 1, 1)


def test_broken_steps_are_not_learnt_from():
    rollout = make_rollout(
        [[1, 0]], obs=[[10, 11]], truncated=[(0, 1)], broken=[(0, 1)]
    )
    assert Transitions(0.5, 10)(rollout)["obs"].ravel().tolist() == [10]


def test_columns_of_an_agent_come_along():
    rollout = make_rollout([[1, 0]], truncated=[(0, 1)], broken=[(0, 1)])
    rows = Transitions(0.5, 1)(rollout, more=np.array([[7, 8]]))
    assert rows["more"].tolist() == [7]


# -- several steps -------------------------------------------------------------------


def summed(steps, *rollouts, gamma=0.5, scale=1.0):
    """Rows of rollouts one after the other, each as (obs, reward, next, end, gamma)."""
    transitions = Transitions(gamma, scale, steps)
    return [table(transitions(rollout)) for rollout in rollouts]


def table(rows):
    columns = ("obs", "rewards", "next_obs", "terminated", "gamma")
    return np.stack([rows[key].ravel() for key in columns], 1).tolist()


def test_rewards_of_two_steps_by_hand():
    rollout = make_rollout([[1], [2], [4]], obs=[[10], [20], [30]], last_obs=[40])
    # The last step waits for the reward that follows.
    assert summed(2, rollout) == [[[10, 2, 30, 0, 0.25], [20, 4, 40, 0, 0.25]]]


def test_nothing_is_summed_beyond_a_termination():
    rollout = make_rollout(
        [[1], [2], [4]], obs=[[10], [20], [30]], last_obs=[40], terminated=[(1, 0)]
    )
    (rows,) = summed(3, rollout)
    # Of the terminated ones the next observation does not matter.
    assert [row[:2] + row[3:] for row in rows] == [[10, 2, 1, 0.25], [20, 2, 1, 0.5]]


def test_a_truncated_episode_is_continued_by_its_last_observation():
    rollout = make_rollout(
        [[1], [2], [4]],
        obs=[[10], [20], [30]],
        truncated=[(1, 0)],
        final_obs={(1, 0): 99.0},
    )
    assert summed(3, rollout) == [[[10, 2, 99, 0, 0.25], [20, 2, 99, 0, 0.5]]]


def test_steps_wait_across_rollouts_of_one_step():
    rollouts = [
        make_rollout([[2**k]], obs=[[k]], last_obs=[k + 1], first=float(k == 0))
        for k in range(4)
    ]
    assert summed(3, *rollouts) == [
        [],
        [],
        [[0, 1 + 1 + 1, 3, 0, 0.125]],
        [[1, 2 + 2 + 2, 4, 0, 0.125]],
    ]


def test_rollouts_of_one_step_give_the_rows_of_one_long_rollout():
    rng = np.random.default_rng(0)
    rewards, obs = rng.normal(size=(12, 2)), rng.normal(size=(13, 2))
    places = {"terminated": [(4, 0)], "truncated": [(7, 0), (5, 1)]}
    final = {(7, 0): 70.0, (5, 1): 51.0}
    whole = make_rollout(
        rewards, obs=obs[:-1], last_obs=obs[-1], final_obs=final, **places
    )
    single, done = Transitions(0.9, 1, 3), whole.firsts
    found = []
    for k in range(12):
        here = {n: [(0, e) for s, e in p if s == k] for n, p in places.items()}
        ends = {(0, e): v for (s, e), v in final.items() if s == k}
        step = make_rollout(
            rewards[k : k + 1],
            obs=obs[k : k + 1],
            last_obs=obs[k + 1],
            first=done[k],
            final_obs=ends,
            **here,
        )
        found += table(single(step))
    (expected,) = summed(3, whole, gamma=0.9)
    assert sorted(found) == sorted(expected)
    assert len(found) == 20  # Two of each environment wait.


def test_what_waits_when_an_episode_is_cut_ends_there():
    before = make_rollout([[1], [2]], obs=[[10], [20]], last_obs=[30])
    after = make_rollout([[4]], obs=[[50]], last_obs=[60], first=1.0)
    first, second = summed(3, before, after)
    assert first == []
    assert second == [[10, 2, 30, 0, 0.25], [20, 2, 30, 0, 0.5]]


@pytest.mark.parametrize("split", [False, True])
def test_nothing_reaches_a_broken_step(split):
    if split:
        rollouts = [
            make_rollout([[1], [2]], obs=[[10], [20]], last_obs=[30]),
            make_rollout(
                [[0]], obs=[[30]], truncated=[(0, 0)], broken=[(0, 0)], first=0
            ),
        ]
    else:
        rollouts = [
            make_rollout(
                [[1], [2], [0]],
                obs=[[10], [20], [30]],
                truncated=[(2, 0)],
                broken=[(2, 0)],
            )
        ]
    rows = sum(summed(3, *rollouts), [])
    assert rows == [[10, 2, 30, 0, 0.25], [20, 2, 30, 0, 0.5]]


def test_rewards_are_scaled_before_they_are_summed():
    rollout = make_rollout([[1], [2]], obs=[[10], [20]], last_obs=[30])
    assert summed(2, rollout, scale=10)[0][0][1] == 20


def test_one_step_has_no_discount_of_its_own():
    assert "gamma" not in Transitions(0.5, 1)(make_rollout([[1]]))


def test_restored_steps_go_on_waiting(tmp_path):
    one, other = NStep(2, 0.5), NStep(2, 0.5)
    steps = {key: np.ones((1, 1)) for key in ("rewards", "next_obs", "terminated")}
    no, first = np.zeros((1, 1), bool), np.zeros(1, bool)
    assert len(one(steps, no, first, no)["rewards"]) == 0
    save_state(tmp_path / "state", {"n": one.get_state()}, {})
    other.set_state(load_state(tmp_path / "state")[0]["n"])
    assert other(steps, no, first, no)["rewards"].tolist() == [1.5]


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_steps_than_one_are_refused(n):
    with pytest.raises(ValueError, match=f"train.n_step must be >= 1, got {n}"):
        NStep(n, 0.5)
