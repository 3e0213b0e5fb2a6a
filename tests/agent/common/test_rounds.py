import numpy as np
import pytest
import tensorflow as tf

from agent.common.rounds import Rounds, as_rows, jit_where, with_discount


@pytest.fixture(params=[True, False], ids=["xla", "graph"])
def summing(request):
    total = tf.Variable(0.0)

    def step(batch, flags, noise):
        added = tf.reduce_sum(batch["x"]) if noise is None else noise[0]
        if flags["counts"]:
            total.assign_add(added)
        return {"sum": added}

    return total, Rounds(step, ("sum",), per_block=3, jit=request.param)


def test_a_block_takes_all_its_rounds_and_returns_the_last_losses(summing):
    total, rounds = summing
    found = rounds({"x": np.arange(6.0, dtype=np.float32).reshape(3, 2)}, ON, None)
    assert total.numpy() == 15.0
    assert found["sum"].numpy() == 9.0


ON, OFF = ({"counts": tf.constant(value)} for value in (True, False))


def test_a_single_round_may_replay_its_draws(summing):
    total, rounds = summing
    batch = {"x": np.ones((1, 2), np.float32)}
    assert rounds(batch, ON, [tf.constant(5.0)])["sum"].numpy() == 5.0
    assert rounds(batch, OFF, None)["sum"].numpy() == 2.0
    assert total.numpy() == 5.0


def test_what_fills_no_block_is_taken_one_by_one(summing):
    rounds = summing[1]
    assert rounds.sizes(8, one_by_one=False) == [3, 3, 1, 1]
    assert rounds.sizes(2, one_by_one=False) == [1, 1]
    assert rounds.sizes(4, one_by_one=True) == [1, 1, 1, 1]


def test_each_call_is_traced_once(summing):
    rounds = summing[1]
    for _ in range(3):
        rounds({"x": np.ones((3, 2), np.float32)}, ON, None)
        rounds({"x": np.ones((1, 2), np.float32)}, OFF, None)
    assert rounds.block.experimental_get_tracing_count() == 1
    assert rounds.single.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("jit", [True, False])
def test_rounds_of_a_block_see_what_the_one_before_left(jit):
    state = tf.Variable(1.0)

    def step(batch, flags, noise):
        state.assign(state * batch["factor"] + batch["added"])
        return {"state": tf.convert_to_tensor(state)}

    rounds = Rounds(step, ("state",), per_block=20, jit=jit)
    rng = np.random.default_rng(0)
    batch = {key: rng.uniform(0.5, 1.5, 20) for key in ("factor", "added")}
    batch = {key: value.astype(np.float32) for key, value in batch.items()}
    expected = 1.0
    for factor, added in zip(batch["factor"], batch["added"], strict=True):
        expected = expected * factor + added
    assert rounds(batch, {}, None)["state"].numpy() == pytest.approx(expected, 1e-5)


def test_rounds_are_a_plain_graph_on_a_processor_only():
    class Variable:
        def __init__(self, device):
            self.value = self
            self.device = device

    place = "/job:localhost/replica:0/task:0/device:{}:0"
    assert jit_where([Variable(place.format("GPU"))])
    assert not jit_where([Variable(place.format("CPU"))])
    assert not jit_where([tf.keras.Variable([1.0])])


def test_observations_are_named_as_models_take_them():
    batch = as_rows({"obs": 1, "next_obs": 2, "rewards": 3})
    assert batch == {"obs": {"state": 1}, "next_obs": {"state": 2}, "rewards": 3}


def test_rows_may_have_a_discount_of_their_own():
    assert with_discount({"rewards": 1}, 0.9) == {"rewards": 1, "gamma": 0.9}
    assert with_discount({"gamma": 0.5}, 0.9) == {"gamma": 0.5}
