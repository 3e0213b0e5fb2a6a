"""Gathering batches: both libraries give the same, returns are sums of rewards."""

import numpy as np
import pytest
import tensorflow as tf

from agent.dataset.gather import (
    Batch,
    Transition,
    TransitionWithReturn,
    discounted_returns,
    gather_sequences,
    gather_transitions,
)


@pytest.fixture
def data():
    """Two episodes of rows 0-4 and 5-7, of which only the first terminates."""
    starts = np.array([0, 1, 2, 3, 5, 6], np.int32)
    ends = np.array([4, 4, 4, 4, 7, 7])
    rng = np.random.default_rng(0)
    return {
        "states": rng.standard_normal((8, 2)).astype(np.float32),
        "actions": rng.standard_normal((8, 3)).astype(np.float32),
        "images": rng.integers(0, 255, (8, 3, 2, 2)).astype(np.uint8),
        "rewards": np.arange(8, dtype=np.float32),
        "terminals": np.array([0, 0, 0, 0, 1, 0, 0, 0], np.float32),
        "starts": starts,
        "num_before": np.where(starts < 5, starts, starts - 5).astype(np.int32),
        "num_after": (ends - starts).astype(np.int32),
    }


def test_sequences_have_histories_chunks_and_images(data):
    batch = gather_sequences(np, data, np.array([0, 4]), (2, 3, 1))
    assert isinstance(batch, Batch)
    states = data["states"]
    expected = [[states[0]] * 3, [states[5]] * 3]
    np.testing.assert_array_equal(batch.conditions["state"], expected)
    np.testing.assert_array_equal(batch.actions[1], data["actions"][5:7])
    np.testing.assert_array_equal(batch.conditions["rgb"][1], data["images"][5:6])


def test_transition_is_done_if_its_chunk_holds_the_termination(data):
    positions = np.arange(6)
    one = gather_transitions(np, data, positions, (1, 1, 1))
    two = gather_transitions(np, data, positions, (2, 1, 1))
    assert isinstance(one, Transition)
    assert one.dones[:, 0].tolist() == [0, 0, 0, 0, 0, 0]
    assert two.dones[:, 0].tolist() == [0, 0, 0, 1, 0, 0]


def test_reward_of_a_chunk_is_the_sum_of_its_steps(data):
    positions = np.arange(6)
    one = gather_transitions(np, data, positions, (1, 1, 1))
    two = gather_transitions(np, data, positions, (2, 1, 1))
    assert one.rewards[:, 0].tolist() == [0, 1, 2, 3, 5, 6]
    assert two.rewards[:, 0].tolist() == [1, 3, 5, 7, 11, 13]


def test_reward_of_a_chunk_is_its_first_one_in_the_reference(data):
    data["next_exists"] = np.ones(6, bool)
    two = gather_transitions(np, data, np.arange(6), (2, 1, 1))
    assert two.rewards[:, 0].tolist() == [0, 1, 2, 3, 5, 6]


def test_next_state_never_leaves_the_episode(data):
    batch = gather_transitions(np, data, np.array([3, 5]), (2, 2, 1))
    states = data["states"]
    expected = [[states[4], states[4]], [states[7], states[7]]]
    np.testing.assert_array_equal(batch.conditions["next_state"], expected)


def test_marked_items_have_zero_next_state_as_in_the_reference(data):
    data["next_exists"] = np.array([True] * 5 + [False])
    batch = gather_transitions(np, data, np.arange(6), (2, 1, 1))
    next_states = batch.conditions["next_state"]
    assert not next_states[5].any()
    np.testing.assert_array_equal(next_states[3, 0], data["states"][5])
    assert batch.dones.sum() == 0


@pytest.mark.parametrize("gather", [gather_sequences, gather_transitions])
@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_tensorflow_gathers_what_numpy_does(data, gather, dtype):
    data["reward_to_gos"] = np.arange(8, dtype=np.float32)
    positions = np.array([5, 0, 3])
    expected = gather(np, data, positions, (2, 3, 2))
    tensors = {name: tf.constant(array) for name, array in data.items()}
    got = gather(tf, tensors, tf.constant(positions, dtype), (2, 3, 2))
    assert type(got) is type(expected) in (Batch, TransitionWithReturn)
    tf.nest.map_structure(np.testing.assert_array_equal, got, expected)


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_returns_are_discounted_sums_within_episodes(discount):
    lengths = np.array([1, 7, 2, 64, 65, 33])
    rewards = np.random.default_rng(0).standard_normal(lengths.sum())
    expected, end = [], 0
    for length in lengths:
        episode = rewards[end : end + length]
        end += length
        for start in range(length):
            powers = discount ** np.arange(length - start)
            expected.append((powers * episode[start:]).sum())
    returns = discounted_returns(rewards, lengths, discount)
    assert returns.dtype == np.float32
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_returns_may_be_discounted_by_chunk(chunk):
    lengths = np.array([1, 7, 64, 33])
    rewards = np.random.default_rng(0).standard_normal(lengths.sum())
    expected, end = [], 0
    for length in lengths:
        episode = rewards[end : end + length]
        end += length
        for start in range(length):
            powers = 0.9 ** (np.arange(length - start) // chunk)
            expected.append((powers * episode[start:]).sum())
    returns = discounted_returns(rewards, lengths, 0.9, chunk)
    np.testing.assert_allclose(returns, expected, rtol=1e-5, atol=1e-5)


def test_returns_of_nothing_are_nothing():
    assert discounted_returns(np.zeros(0), np.zeros(0, int), 0.9).shape == (0,)
