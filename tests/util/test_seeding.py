import numpy as np
import pytest
import tensorflow as tf

from tests.modes import MODES, in_mode
from util.checkpoint import load_state, save_state
from util.seeding import Draws, HostDraws, Seeds, pack_generator, unpack_generator


def generator(seed: int = 0) -> tf.random.Generator:
    return tf.random.Generator.from_seed(seed, alg="philox")


# -- named streams --------------------------------------------------------------------


def test_child_seeds_depend_on_seed_and_name_only():
    assert Seeds(42).child("env") == Seeds(42).child("env")
    children = {Seeds(s).child(n) for s in (1, 2) for n in ("env", "model", "data")}
    assert len(children) == 6
    assert all(0 <= child < 2**31 for child in children)


def test_child_seeds_are_the_same_in_every_release():
    # Runs are repeated from their seed; a change here changes all results.
    expected = np.random.SeedSequence([42, 4081402617]).generate_state(1)[0] >> 1
    assert Seeds(42).child("env") == expected


def test_a_name_is_one_stream():
    seeds = Seeds(1)
    assert seeds.numpy("a") is seeds.numpy("a")
    assert seeds.tensorflow("a") is seeds.tensorflow("a")
    assert seeds.numpy("a").random() != seeds.numpy("b").random()
    first, second = (seeds.tensorflow(n).normal([3]).numpy() for n in "ab")
    assert not np.array_equal(first, second)


def test_streams_do_not_disturb_each_other():
    alone, together = Seeds(1), Seeds(1)
    together.numpy("other").random(5)
    together.tensorflow("other").normal([5])
    assert alone.numpy("a").random() == together.numpy("a").random()
    np.testing.assert_array_equal(
        alone.tensorflow("a").normal([2]), together.tensorflow("a").normal([2])
    )


def test_state_continues_all_streams_also_through_a_file(tmp_path):
    seeds = Seeds(3)
    seeds.numpy("a").random(7)
    seeds.numpy("a").integers(5, dtype=np.uint32)  # leaves half of a 64-bit draw
    seeds.tensorflow("b").normal([5])
    save_state(tmp_path / "state", {"seeds": seeds.get_state()}, {})
    expected = seeds.numpy("a").integers(2**31, size=3, dtype=np.uint32)
    following = seeds.tensorflow("b").normal([3]).numpy()

    other = Seeds(3)
    other.set_state(load_state(tmp_path / "state")[0]["seeds"])
    again = other.numpy("a").integers(2**31, size=3, dtype=np.uint32)
    np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(other.tensorflow("b").normal([3]), following)


def test_restoring_moves_generators_that_are_already_in_use():
    seeds = Seeds(3)
    host, device = seeds.numpy("a"), seeds.tensorflow("b")
    state = seeds.get_state()
    first = host.random(), device.normal([2]).numpy()
    seeds.set_state(state)
    assert host.random() == first[0]
    np.testing.assert_array_equal(device.normal([2]), first[1])


def test_state_of_another_seed_is_refused():
    with pytest.raises(ValueError, match="seed is 1, but the state has 2"):
        Seeds(1).set_state(Seeds(2).get_state())


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        Seeds(-1)


def test_packed_generator_holds_strings_and_small_integers():
    source, target = np.random.default_rng(1), np.random.default_rng(2)
    source.random(3)
    packed = pack_generator(source)
    assert all(isinstance(v, str) or abs(v) < 2**32 for v in packed.values())
    unpack_generator(target, packed)
    assert source.random() == target.random()


# -- draws of models ------------------------------------------------------------------


def test_draws_have_their_shapes_and_types():
    draws = Draws(generator())
    assert draws.normal([2, 3]).shape == (2, 3)
    assert draws.normal(tf.constant([2, 3])).dtype == tf.float32
    assert draws.normals(4, [2, 3]).shape == (4, 2, 3)
    integers = draws.integers([1000], 5)
    assert integers.dtype == tf.int64
    assert set(integers.numpy()) == set(range(5))


def test_normal_draws_are_standard():
    values = Draws(generator()).normals(10, [2000]).numpy()
    assert values.mean() == pytest.approx(0.0, abs=0.03)
    assert values.std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("mode", MODES)
def test_compiled_draws_move_the_generator_on(mode):
    rng = generator()
    function = in_mode(lambda: Draws(rng).normal([4]), mode)
    assert not np.array_equal(function(), function())


@pytest.mark.parametrize("mode", MODES)
def test_recorded_noise_is_replayed_in_order(mode):
    rng, noise = (
        generator(),
        [
            np.float64([[1, 2], [3, 4]]),
            np.int32([4, 0]),
            np.float32([5, 6]),
            np.float32([7, 8]),
        ],
    )

    def all_draws():
        draws = Draws(rng, noise)
        first = draws.normal([4])
        return first, draws.integers([2], 5), draws.normals(2, [2])

    first, integers, both = in_mode(all_draws, mode)()
    np.testing.assert_array_equal(first, [1, 2, 3, 4])
    assert first.dtype == tf.float32
    np.testing.assert_array_equal(integers, [4, 0])
    assert integers.dtype == tf.int64
    np.testing.assert_array_equal(both, [[5, 6], [7, 8]])


@pytest.mark.parametrize("mode", MODES)
def test_indices_have_their_probabilities(mode):
    logits = tf.math.log(tf.constant([[0.2, 0.0, 0.8], [1.0, 0.0, 0.0]]))
    rng = generator()
    draw = in_mode(lambda x: Draws(rng).categorical(x), mode)
    drawn = draw(tf.repeat(logits, 2000, axis=0)).numpy().reshape(2, 2000)
    assert drawn.dtype == np.int64
    assert set(drawn[0]) == {0, 2}
    assert (drawn[0] == 2).mean() == pytest.approx(0.8, abs=0.04)
    assert set(drawn[1]) == {0}


@pytest.mark.parametrize("mode", MODES)
def test_uniform_draws_fill_the_unit_interval(mode):
    rng = generator()
    values = in_mode(lambda: Draws(rng).uniform([1000]), mode)().numpy()
    assert 0.0 <= values.min() < 0.02 < 0.98 < values.max() < 1.0
    recorded = Draws(rng, [np.float64(0.3)]).uniform([])
    assert recorded.shape == ()
    assert recorded.numpy() == np.float32(0.3)


@pytest.mark.parametrize("mode", MODES)
def test_orders_hold_each_index_once_and_start_with_any(mode):
    rng = generator()
    draw = in_mode(lambda: Draws(rng).permutation(4), mode)
    orders = np.stack([draw() for _ in range(200)])
    assert orders.dtype == np.int64
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(4), [200, 1]))
    assert np.bincount(orders[:, 0]).min() > 20
    recorded = Draws(rng, [np.int32([1, 0])]).permutation(2)
    assert recorded.numpy().tolist() == [1, 0]
    assert recorded.dtype == tf.int64


@pytest.mark.parametrize("mode", MODES)
def test_recorded_components_are_the_chosen_ones(mode):
    recorded = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    noise = [np.int32([[2], [0]]), recorded]

    rng = generator()

    def both():
        draws = Draws(rng, noise)
        chosen = draws.categorical(tf.zeros([2, 3]))
        return chosen, draws.normal_of(chosen, [2, 2])

    chosen, values = in_mode(both, mode)()
    np.testing.assert_array_equal(chosen, [2, 0])
    np.testing.assert_array_equal(values, [[4, 5], [6, 7]])
    assert values.dtype == tf.float32
    fresh = Draws(generator()).normal_of(chosen, tf.constant([2, 2]))
    assert fresh.shape == (2, 2)


def test_replay_leaves_the_generator_alone():
    rng = generator()
    before = rng.state.numpy()
    Draws(rng, [np.zeros(2)]).normal([2])
    np.testing.assert_array_equal(rng.state, before)


# -- draws of agents ------------------------------------------------------------------


def test_host_draws_follow_their_generator():
    first, second = (HostDraws(np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.permutation(20), second.permutation(20))
    np.testing.assert_array_equal(first.choice(9, 4), second.choice(9, 4))
    assert not np.array_equal(first.permutation(20), first.permutation(20))


def test_permutation_holds_each_index_once():
    order = HostDraws(np.random.default_rng(0)).permutation(50)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(50))


def test_choice_with_and_without_replacement():
    draws = HostDraws(np.random.default_rng(0))
    assert sorted(draws.choice(10, 10, replace=False)) == list(range(10))
    many = draws.choice(3, 100)
    assert set(many) == {0, 1, 2}


def test_action_sample_is_uniform_between_the_bounds():
    low, high = np.float32([-1, 0]), np.float32([1, 10])
    draws = HostDraws(np.random.default_rng(0))
    actions = np.stack([draws.action_sample(low, high) for _ in range(2000)])
    assert actions.dtype == np.float32
    assert (low <= actions).all()
    assert (actions <= high).all()
    np.testing.assert_allclose(actions.mean(axis=0), [0.0, 5.0], atol=0.3)


def test_policy_and_loss_draw_their_own_noise():
    draws = HostDraws(np.random.default_rng(0))
    assert draws.policy_noise(3, (2, 4, 3)) is None
    assert draws.loss_noise() is None
