import numpy as np
import pytest
from omegaconf import OmegaConf

from agent.common.offline import OfflineTransitions, sample_rows
from agent.common.replay import ReplayBuffer
from util.config import compat_scope
from util.seeding import HostDraws

TARGET = "agent.dataset.sequence.StitchedSequenceQLearningDataset"


@pytest.fixture
def make(tmp_path):
    """Two episodes of 4 and 3 steps; the first terminates, the other is truncated."""
    path = tmp_path / "offline.npz"
    rows = np.arange(7.0)
    data = {
        "states": np.stack([rows, -rows], axis=1),
        "actions": 10 * rows[:, None],
        "rewards": rows,
        "terminals": rows == 3,
        "traj_lengths": np.array([4, 3]),
    }

    def built(shares=1, returns=False, without=(), **settings):
        np.savez(path, **{k: v for k, v in data.items() if k not in without})
        dataset = {"_target_": TARGET, "dataset_path": str(path), "horizon_steps": 1}
        cfg = {
            "obs_dim": 2,
            "action_dim": 1,
            "cond_steps": 1,
            "horizon_steps": 1,
            "act_steps": 1,
            "train.batch_size": 4,
            "train.gamma": 0.5,
            "train.scale_reward_factor": 10,
            **{f"offline_dataset.{key}": value for key, value in dataset.items()},
            **settings,
        }
        config = OmegaConf.create()
        for key, value in cfg.items():
            OmegaConf.update(config, key, value)
        return OfflineTransitions(config, shares=shares, returns=returns)

    return built


RETURNS = {
    "offline_dataset.get_mc_return": True,
    "offline_dataset.discount_factor": 0.5,
}


def test_rows_are_those_of_the_data_set(make):
    offline = make()
    rows = offline.all_rows()
    # The last step of the truncated episode has no next state.
    assert len(offline) == 6
    assert rows["obs"].shape == rows["next_obs"].shape == (6, 1, 2)
    assert rows["obs"][:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["next_obs"][[0, 1, 2, 4, 5], 0, 0].tolist() == [1, 2, 3, 5, 6]
    assert rows["actions"].tolist() == [[[10 * k]] for k in range(6)]
    assert rows["terminated"].tolist() == [0, 0, 0, 1, 0, 0]


def test_rewards_and_returns_are_scaled_as_those_of_the_buffer(make):
    rows = make(returns=True, **RETURNS).all_rows()
    assert rows["rewards"].tolist() == [0, 10, 20, 30, 40, 50]
    assert rows["returns"].tolist() == [13.75, 27.5, 35, 30, 80, 80]


def test_rewards_and_returns_are_not_scaled_in_the_reference(make):
    with compat_scope({"unscaled_offline_rewards": True}):
        rows = make(returns=True, **RETURNS).all_rows()
    assert rows["rewards"].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["returns"].tolist() == [1.375, 2.75, 3.5, 3, 8, 8]


def test_indices_may_have_any_shape(make):
    rows = make().take(np.array([[5, 0, 2], [1, 1, 3]]))
    assert rows["obs"].shape == (2, 3, 1, 2)
    assert rows["rewards"].tolist() == [[50, 0, 20], [10, 10, 30]]


def test_rewards_of_several_steps_stay_in_their_episode(make):
    offline = make(**{"train.n_step": 2})
    rows = offline.take(np.array([[0, 1, 2], [3, 4, 5]]))
    assert rows["rewards"].tolist() == [[5, 20, 35], [30, 65, 50]]
    assert rows["gamma"].tolist() == [[0.25, 0.25, 0.25], [0.5, 0.25, 0.5]]
    assert rows["next_obs"][..., 0, 0].ravel().tolist()[:2] == [2, 3]
    assert rows["next_obs"][1, 1:, 0, 0].tolist() == [6, 6]
    assert rows["terminated"].tolist() == [[0, 0, 1], [1, 0, 0]]


# -- batches -------------------------------------------------------------------------


def buffer_of(*numbers):
    buffer = ReplayBuffer(100)
    buffer.add({"x": np.array(numbers, np.float32)})
    return buffer


def draws():
    return HostDraws(np.random.default_rng(0))


@pytest.mark.parametrize("count", [1, 5])
def test_half_of_each_batch_comes_from_either_source(count):
    sources = [buffer_of(*range(10)), buffer_of(*range(100, 103))]
    batches = sample_rows(draws(), sources, 8, count)["x"]
    assert batches.shape == (count, 8)
    assert (batches[:, :4] < 10).all()
    assert (batches[:, 4:] >= 100).all()
    assert len(np.unique(batches)) >= 5


def test_one_source_gives_all_rows():
    batch = sample_rows(draws(), [buffer_of(*range(8))], 8, replace=False)["x"]
    assert sorted(batch[0]) == list(range(8))


def test_more_rows_than_there_are_need_replacement():
    assert sample_rows(draws(), [buffer_of(1)], 4)["x"].tolist() == [[1, 1, 1, 1]]


# -- errors --------------------------------------------------------------------------


def test_config_without_a_data_set_is_refused(make):
    with pytest.raises(
        ValueError, match="offline_dataset must be a Stitched.* got none"
    ):
        make(**{"offline_dataset": None})


def test_data_set_of_another_kind_is_refused(make):
    other = "agent.dataset.sequence.StitchedSequenceDataset"
    with pytest.raises(ValueError, match="got a StitchedSequenceDataset"):
        make(**{"offline_dataset._target_": other})


@pytest.mark.parametrize("name", ["rewards", "terminals"])
def test_missing_arrays_are_named(make, name):
    with pytest.raises(Exception, match=f"array '{name}' is missing"):
        make(without=(name,))


@pytest.mark.parametrize(
    ("key", "size"), [("obs_dim", 2), ("action_dim", 1), ("cond_steps", 1)]
)
def test_other_sizes_are_refused(make, key, size):
    with pytest.raises(ValueError, match=f"{key} must be {size} as in .* got 3"):
        make(**{key: 3})


def test_chunks_that_are_not_executed_whole_are_refused(make):
    with pytest.raises(ValueError, match="act_steps must be horizon_steps=2 .* got 1"):
        make(**{"horizon_steps": 2})


def test_several_steps_of_chunks_are_refused(make):
    chunks = {"horizon_steps": 2, "act_steps": 2, "offline_dataset.horizon_steps": 2}
    with pytest.raises(ValueError, match="train.n_step must be 1 .* got 3"):
        make(**chunks, **{"train.n_step": 3})


def test_batch_that_cannot_be_halved_is_refused(make):
    with pytest.raises(ValueError, match="batch_size must be a multiple of 2.* got 5"):
        make(shares=2, **{"train.batch_size": 5})


def test_batch_larger_than_the_data_is_refused(make):
    with pytest.raises(ValueError, match=r"at least the 7 .*batch_size=14\), got 6"):
        make(shares=2, **{"train.batch_size": 14})


def test_returns_must_be_asked_for(make):
    with pytest.raises(ValueError, match="get_mc_return must be true, got false"):
        make(returns=True)
