"""Datasets: which chunks there are, what is in them, what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from agent.dataset.sequence import (
    Batch,
    NoItemsError,
    StitchedSequenceDataset,
    StitchedSequenceQLearningDataset,
    Transition,
    TransitionWithReturn,
)
from tests.parity.case import load_case
from tests.parity.compare import compare
from tests.parity.dataset_cases import DATA, replay
from util.compat import reference

CASES = sorted(DATA.parent.glob("*.npz"))


@pytest.fixture
def write(tmp_path):
    """Writes a data set with states 0, 1, ..., actions 0, 10, ..., rewards 0, 1, ..."""

    def write_file(lengths=(4, 3), terminal_rows=(3,), **changes):
        rows = np.arange(sum(lengths))
        arrays = {
            "states": rows[:, None].astype(float),
            "actions": 10.0 * rows[:, None],
            "rewards": rows.astype(float),
            "terminals": np.isin(rows, terminal_rows),
            "traj_lengths": np.array(lengths),
            **changes,
        }
        path = tmp_path / "train.npz"
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return path

    return write_file


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_recorded_case_is_reproduced(path):
    case = load_case(path)
    report = compare(case, replay(case.meta, case.arrays))
    assert report.passed, report


def test_there_are_recorded_cases():
    assert len(CASES) == 17


def test_chunks_stay_in_their_episode_and_histories_repeat_the_first_state(write):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2, cond_steps=2)
    assert dataset.indices.tolist() == [[0, 0], [1, 1], [2, 2], [4, 0], [5, 1]]
    batch = dataset.as_arrays()
    states = batch.conditions["state"][..., 0].tolist()
    assert states == [[0, 0], [0, 1], [1, 2], [4, 4], [4, 5]]
    actions = batch.actions[..., 0].tolist()
    assert actions == [[0, 10], [10, 20], [20, 30], [40, 50], [50, 60]]


def test_item_is_the_row_of_a_gathered_batch(write):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2, cond_steps=2)
    item, batch = dataset[-2], dataset.gather(np.array([3]))
    assert isinstance(item, Batch)
    assert item.actions.shape == (2, 1)
    np.testing.assert_array_equal(item.actions, batch.actions[0])
    np.testing.assert_array_equal(item.conditions["state"], [[4.0], [4.0]])
    assert item.actions.dtype == item.conditions["state"].dtype == np.float32
    with pytest.raises(IndexError):
        dataset[5]


def test_columns_are_float32_and_int32(write):
    dataset = StitchedSequenceQLearningDataset(write(), horizon_steps=1)
    assert dataset.states.dtype == dataset.actions.dtype == np.float32
    assert dataset.rewards.dtype == dataset.terminals.dtype == np.float32
    assert dataset.starts.dtype == dataset.num_before.dtype == np.int32
    assert dataset.images is None
    assert dataset.reward_to_gos is None


def test_only_the_first_episodes_are_used(write):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2, max_n_episodes=1)
    assert len(dataset) == 3
    assert dataset.states.shape == (4, 1)


def test_images_have_their_own_history_and_keep_their_dtype(write):
    images = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones(
        (7, 3, 2, 2), np.uint8
    )
    dataset = StitchedSequenceDataset(
        write(images=images),
        horizon_steps=2,
        cond_steps=3,
        img_cond_steps=2,
        use_img=True,
    )
    rgb = dataset.as_arrays().conditions["rgb"]
    assert rgb.dtype == np.uint8
    assert rgb[:, :, 0, 0, 0].tolist() == [[0, 0], [0, 1], [1, 2], [4, 4], [4, 5]]


def test_next_states_are_those_the_environment_showed(write):
    path = write()
    dataset = StitchedSequenceQLearningDataset(
        path, horizon_steps=1, discount_factor=0.9, get_mc_return=True
    )
    batch = dataset.as_arrays()
    assert isinstance(batch, TransitionWithReturn)
    assert dataset.starts.tolist() == [0, 1, 2, 3, 4, 5]
    returns = [4.707, 5.23, 4.7, 3.0, 13.36, 10.4]
    np.testing.assert_allclose(batch.reward_to_gos[:, 0], returns, rtol=1e-6)
    assert batch.dones[:, 0].tolist() == [0, 0, 0, 1, 0, 0]
    next_states = batch.conditions["next_state"][:, 0, 0]
    alive = batch.dones[:, 0] == 0
    np.testing.assert_array_equal(next_states[alive], [1, 2, 3, 5, 6])
    with reference():
        dataset = StitchedSequenceQLearningDataset(path, horizon_steps=1)
    batch = dataset.as_arrays()
    assert isinstance(batch, Transition)
    assert batch.conditions["next_state"][:, 0, 0].tolist() == [1, 2, 3, 4, 5, 0]


def test_returns_of_chunks_are_discounted_by_chunk(write):
    options = {"horizon_steps": 2, "discount_factor": 0.5, "get_mc_return": True}
    path, found = write(), {}
    for as_reference in (False, True):
        with reference(as_reference):
            dataset = StitchedSequenceQLearningDataset(path, **options)
        found[as_reference] = dataset.reward_to_gos[:4].tolist()
    # Rewards 0, 1, 2, 3: two of a chunk count in full, the next half.
    assert found[False] == [3.5, 4.5, 5, 3]
    assert found[True] == [1.375, 2.75, 3.5, 3]


def test_next_history_reaches_back_to_the_true_states(write):
    dataset = StitchedSequenceQLearningDataset(write(), horizon_steps=2, cond_steps=3)
    batch = dataset.as_arrays()
    assert dataset.starts.tolist() == [0, 1, 2, 4]
    next_states = batch.conditions["next_state"][..., 0].tolist()
    # The chunk at row 2 ends the episode: its next state is masked by dones.
    assert next_states == [[0, 1, 2], [1, 2, 3], [2, 3, 3], [4, 5, 6]]
    assert batch.dones[:, 0].tolist() == [0, 0, 1, 0]


def test_last_start_of_a_truncated_episode_is_left_out(write):
    dataset = StitchedSequenceQLearningDataset(
        write(terminal_rows=()), horizon_steps=2, cond_steps=1
    )
    assert dataset.starts.tolist() == [0, 1, 4]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (StitchedSequenceDataset, {}),
        (StitchedSequenceQLearningDataset, {}),
        (StitchedSequenceQLearningDataset, {"get_mc_return": True}),
    ],
)
@pytest.mark.parametrize("as_reference", [False, True])
def test_compiled_gathering_equals_numpy(write, kind, options, as_reference):
    images = np.arange(7 * 12, dtype=np.uint8).reshape(7, 3, 2, 2)
    with reference(as_reference):
        dataset = kind(
            write(images=images),
            horizon_steps=2,
            cond_steps=2,
            use_img=True,
            **options,
        )
    traces = []

    @tf.function(jit_compile=True)
    def gather(tensors, positions):
        traces.append(1)
        batch = kind.gather_tensors(tensors, positions, 2, 2, 1)
        assert batch.actions.shape == (3, 2, 1)
        return batch

    tensors = dataset.tensors()
    for positions in ([0, 1, 2], [3, 0, 3]):
        expected = dataset.gather(np.array(positions))
        got = gather(tensors, tf.constant(positions))
        tf.nest.map_structure(np.testing.assert_array_equal, got, expected)
    assert len(traces) == 1


def test_tensors_may_be_asked_to_stay_on_the_host(write):
    dataset = StitchedSequenceDataset(write(), horizon_steps=1, device="cpu")
    tensors = dataset.tensors()
    assert all("CPU:0" in tensor.device for tensor in tensors.values())
    np.testing.assert_array_equal(tensors["states"], dataset.states)


def test_split_keeps_drawn_items_and_returns_all_others(write):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2)
    full = dataset.indices
    held_out = dataset.set_train_val_split(0.7, np.random.default_rng(0))
    assert len(dataset) == 3
    validation = dataset.subset(held_out)
    assert len(validation) == 2
    both = np.concatenate([dataset.indices, validation.indices])
    assert sorted(map(tuple, both)) == sorted(map(tuple, full))


def test_split_depends_on_the_generator_alone(write):
    path = write(lengths=(30, 30))
    kept = []
    for seed in (0, 0, 1):
        dataset = StitchedSequenceDataset(path, horizon_steps=2)
        dataset.set_train_val_split(0.5, np.random.default_rng(seed))
        kept.append(dataset.starts.tolist())
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, 0.1])
def test_impossible_split_is_refused(write, share):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2)
    with pytest.raises(ValueError, match="train_split must be"):
        dataset.set_train_val_split(share, np.random.default_rng(0))


def test_split_needs_one_source_of_randomness(write):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2)
    for both in ({}, {"rng": np.random.default_rng(0), "noise": np.array([0])}):
        with pytest.raises(ValueError, match="exactly one of rng and noise"):
            dataset.set_train_val_split(0.5, **both)


def test_subset_leaves_the_whole_as_it_is(write):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2)
    part = dataset.subset(np.array([4, 0]))
    assert part.starts.tolist() == [5, 0]
    assert len(dataset) == 5
    assert part.states is dataset.states


@pytest.mark.parametrize(
    ("positions", "error"),
    [([0.0], TypeError), ([[0]], TypeError), ([5], IndexError), ([-1], IndexError)],
)
def test_wrong_positions_are_refused(write, positions, error):
    dataset = StitchedSequenceDataset(write(), horizon_steps=2)
    for method in (dataset.gather, dataset.subset):
        with pytest.raises(error, match="positions must"):
            method(np.array(positions))


@pytest.mark.parametrize(
    "name", ["horizon_steps", "cond_steps", "img_cond_steps", "max_n_episodes"]
)
def test_sizes_below_one_are_refused(write, name):
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        StitchedSequenceDataset(write(), **{"horizon_steps": 2, name: 0})


def test_more_images_than_states_are_refused(write):
    with pytest.raises(ValueError, match="img_cond_steps must be <= cond_steps=1"):
        StitchedSequenceDataset(write(), horizon_steps=2, img_cond_steps=2)


def test_episodes_that_are_all_too_short_are_refused(write):
    with pytest.raises(NoItemsError, match=r"train\.npz.*horizon_steps=5.*has 4 steps"):
        StitchedSequenceDataset(write(), horizon_steps=5)
    with pytest.raises(NoItemsError, match="horizon_steps=1"):
        StitchedSequenceQLearningDataset(
            write(lengths=(1, 1), terminal_rows=()), horizon_steps=1
        )


def test_impossible_discount_is_refused(write):
    with pytest.raises(ValueError, match=r"discount_factor must be in \[0, 1\]"):
        StitchedSequenceQLearningDataset(write(), discount_factor=1.1)


@pytest.mark.parametrize("name", ["rewards", "terminals"])
def test_transitions_need_rewards_and_terminals(write, name):
    path = write(**{name: None})
    StitchedSequenceDataset(path, horizon_steps=2)
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        StitchedSequenceQLearningDataset(path, horizon_steps=1)


def test_index_of_a_million_rows_is_that_of_its_episodes(write):
    lengths = np.random.default_rng(0).integers(1, 2000, 1000)
    dataset = StitchedSequenceDataset(
        write(lengths=lengths), horizon_steps=4, cond_steps=1
    )
    ends = np.cumsum(lengths)
    episode = np.searchsorted(ends, dataset.starts, side="right")
    assert len(dataset) == np.maximum(lengths - 3, 0).sum()
    assert (dataset.starts + 4 <= ends[episode]).all()
    first = ends[episode] - lengths[episode]
    np.testing.assert_array_equal(dataset.num_before, dataset.starts - first)
