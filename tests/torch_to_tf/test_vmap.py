import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse, assert_same_function, random
from util.torch_to_tf import (
    nn_Dropout,
    nn_Linear,
    torch_func_functional_call,
    torch_randn,
    torch_vmap,
)

X = random((2, 3))


def both(make, *options, **keywords):
    """The mapped function of ours, and PyTorch's, of `make(namespace)`."""
    ours = torch_vmap(make(tf.reduce_sum), *options, **keywords)
    return ours, torch.vmap(make(torch.sum), *options, **keywords)


# The function of a sum function, in_dims, out_dims, shapes of the arguments.
CASES = [
    (lambda total: lambda a: a * 2.0, 0, 0, [(2, 3)]),
    (lambda total: lambda a: a * 2.0, -1, 0, [(2, 3, 4)]),
    (lambda total: lambda a: a * 2.0, 1, -1, [(2, 3, 4)]),
    (lambda total: lambda a: total(a * a), 0, 0, [(5, 3)]),
    (lambda total: lambda a, b: total(a * b), (0, 1), 0, [(5, 3), (3, 5)]),
    (lambda total: lambda a, b: a + b, (0, None), 1, [(5, 3), (3,)]),
    (lambda total: lambda a, b: (a * b, total(b)), (None, 0), (1, 0), [(3,), (5, 3)]),
    (lambda total: lambda a: (a, (total(a), a)), 0, (1, (0, -1)), [(5, 3)]),
    (lambda total: lambda a: a, 0, (1,), [(5, 3)]),
    (lambda total: lambda a: a * 2.0, 0, 0, [(0, 3)]),
    (lambda total: lambda a: a * 2.0, 0, 0, [(1, 3)]),
]


def flat_torch(result):
    if isinstance(result, torch.Tensor):
        return [result]
    return [leaf for part in result for leaf in flat_torch(part)]


@pytest.mark.parametrize(("make", "in_dims", "out_dims", "shapes"), CASES)
def test_axes_and_gradients_equal_torch(make, in_dims, out_dims, shapes):
    ours, theirs = both(make, in_dims, out_dims)
    inputs = [random(shape, seed) for seed, shape in enumerate(shapes)]
    assert_same_function(ours, lambda *x: flat_torch(theirs(*x)), inputs)


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_equals_torch(mode):
    ours, theirs = both(CASES[6][0], *CASES[6][1:3])
    given = [random((3,)), random((5, 3), 1)]
    assert_same_function(ours, lambda *x: flat_torch(theirs(*x)), given, mode)


def test_arguments_may_be_nested():
    def make(total):
        return lambda tree, rest: {"s": tree["x"] * tree["y"], "t": [rest[0] + rest[1]]}

    dims = ({"x": 0, "y": None}, [1, 0])
    x, y, z = random((2, 3)), random((3,), 1), random((3, 2), 2)
    ours, theirs = both(make, dims, {"s": 1, "t": [0]})
    found = ours({"x": x, "y": y}, [z, x])
    expected = theirs(
        {"x": torch.from_numpy(x), "y": torch.from_numpy(y)},
        [torch.from_numpy(z), torch.from_numpy(x)],
    )
    np.testing.assert_allclose(found["s"], expected["s"])
    np.testing.assert_allclose(found["t"][0], expected["t"][0])


def test_one_axis_holds_for_all_that_is_nested_there():
    found = torch_vmap(lambda tree, c: tree["a"] + tree["b"][0] * c, (1, None))(
        {"a": X, "b": (X,)}, 2.0
    )
    np.testing.assert_allclose(found, 3.0 * X.T, rtol=1e-6)


def test_keywords_are_the_same_for_all():
    ours, theirs = both(lambda total: lambda a, scale=1.0: a * scale)
    np.testing.assert_allclose(
        ours(X, scale=2.0), theirs(torch.from_numpy(X), scale=2.0)
    )
    found = ours(X, scale=tf.constant(X))
    expected = theirs(torch.from_numpy(X), scale=torch.from_numpy(X))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.shape == (2, 2, 3)


def test_results_without_the_axis_are_repeated_or_taken_as_they_are():
    def results(ones):
        return lambda a: (a, ones, 3, None)

    out_dims = (0, None, None, None)
    found = torch_vmap(results(tf.ones(2)), out_dims=out_dims)(X)
    expected = torch.vmap(results(torch.ones(2)), out_dims=out_dims)(
        torch.from_numpy(X)
    )
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[2:] == expected[2:] == (3, None)
    repeated = torch_vmap(lambda a: tf.ones(3))(X)
    np.testing.assert_array_equal(
        repeated, torch.vmap(lambda a: torch.ones(3))(torch.from_numpy(X))
    )


def test_maps_may_be_nested():
    x, y = random((2, 3, 5)), random((2, 3, 5), 1)
    assert_same_function(
        torch_vmap(torch_vmap(lambda a, b: tf.tensordot(a, b, 1))),
        torch.vmap(torch.vmap(torch.dot)),
        [x, y],
    )


def test_gradients_of_each_entry():
    layer = nn_Linear(3, 1)

    def gradient(weight, x):
        with tf.GradientTape() as tape:
            tape.watch(weight)
            out = torch_func_functional_call(layer, {"weight": weight}, x)
        return tape.gradient(out, weight)

    weights = tf.constant(random((4, 1, 3)))
    x = tf.constant(random((4, 2, 3), 1))
    found = torch_vmap(gradient)(weights, x)
    np.testing.assert_allclose(found[:, 0], tf.reduce_sum(x, 1), rtol=1e-5)


def test_arguments_may_be_variables_and_whole_numbers():
    found = torch_vmap(lambda a, i: a[i])(tf.Variable(X), tf.constant([2, 0]))
    np.testing.assert_array_equal(found, X[[0, 1], [2, 0]])


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 7])
def test_chunks_give_the_same(chunk_size):
    sizes = []

    def call(a):
        sizes.append(a.shape)
        return a * 2.0, tf.ones(1), 3

    x = random((5, 3))
    found = torch_vmap(call, 0, (1, None, None), chunk_size=chunk_size)(x)
    np.testing.assert_allclose(found[0], 2.0 * x.T)
    assert found[1:] == (1.0, 3)
    assert len(sizes) == -(-5 // chunk_size)
    theirs = torch.vmap(lambda a: a * 2.0, 0, 1, chunk_size=chunk_size)
    np.testing.assert_allclose(found[0], theirs(torch.from_numpy(x)))


def test_unknown_size_stays_open():
    call = in_mode(torch_vmap(lambda a: tf.reduce_sum(a, 0), 1, 1), "graph")
    concrete = call.get_concrete_function(tf.TensorSpec([4, None, 3]))
    assert concrete.outputs[0].shape.as_list() == [3, None]
    np.testing.assert_allclose(concrete(tf.ones([4, 2, 3])), np.full((3, 2), 4.0))
    chunked = in_mode(torch_vmap(lambda a: a, chunk_size=2), "graph")
    with pytest.raises(ValueError, match="chunk_size must be None for an axis of unk"):
        chunked.get_concrete_function(tf.TensorSpec([None, 3]))


def test_ensemble_is_batched_without_loops():
    layer = nn_Linear(3, 2)

    def call(weights, biases, x):
        def one(weight, bias):
            state = {"weight": weight, "bias": bias}
            return torch_func_functional_call(layer, state, x)

        return torch_vmap(one)(weights, biases)

    specs = [tf.TensorSpec(shape) for shape in ([7, 2, 3], [7, 2], [5, 3])]
    graph = in_mode(call, "graph").get_concrete_function(*specs).graph.as_graph_def()
    kinds = {node.op for node in graph.node}
    kinds |= {node.op for body in graph.library.function for node in body.node_def}
    assert not any("While" in kind for kind in kinds)


def test_name_and_docstring_are_those_of_the_function():
    def named(a):
        """Says so."""
        return a

    found = torch_vmap(named)
    assert (found.__name__, found.__doc__) == ("named", "Says so.")


# -- random numbers --------------------------------------------------------------------

DRAWS = {
    "ours": lambda: torch_randn(3),
    "generator": tf.random.Generator.from_seed(1).uniform,
    "stateful": lambda: tf.random.normal([3]),
}


def drawing(name):
    if name == "generator":
        return lambda a: a * 0.0 + DRAWS[name]([3])
    return lambda a: a * 0.0 + DRAWS[name]()


@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_are_refused_by_default_as_in_torch(name):
    assert_both_refuse(
        lambda: torch_vmap(drawing(name))(X),
        lambda: torch.vmap(lambda a: a + torch.rand(3))(torch.from_numpy(X)),
        "must not draw random numbers .* with randomness='error'",
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers_are_the_same_or_different_along_the_axis(name, mode):
    for randomness in ("same", "different"):
        call = in_mode(torch_vmap(drawing(name), randomness=randomness), mode)
        first, second = call(X).numpy(), call(X).numpy()
        assert (first[0] == first[1]).all() == (randomness == "same")
        assert len(np.unique(first[0])) == 3
        assert not np.any(first == second)


def test_same_random_numbers_are_so_across_chunks():
    found = torch_vmap(drawing("ours"), randomness="same", chunk_size=1)(X).numpy()
    np.testing.assert_array_equal(found[0], found[1])


def test_random_numbers_of_modules_follow_the_setting():
    layer, x = nn_Dropout(0.5), tf.ones([2, 100])
    masks = {
        r: torch_vmap(layer, randomness=r)(x).numpy() for r in ("same", "different")
    }
    assert np.all(masks["same"][0] == masks["same"][1])
    assert np.any(masks["different"][0] != masks["different"][1])
    with pytest.raises(ValueError, match="must not draw random numbers"):
        torch_vmap(layer)(x)
    np.testing.assert_array_equal(torch_vmap(layer.eval())(x), x)


def test_sizes_of_entries_may_decide_how_many_are_drawn():
    call = in_mode(
        torch_vmap(lambda a: tf.random.normal(tf.shape(a)), randomness="same"), "graph"
    )
    concrete = call.get_concrete_function(tf.TensorSpec([None, None]))
    found = concrete(tf.zeros([2, 3])).numpy()
    np.testing.assert_array_equal(found[0], found[1])


def test_draws_with_parameters_along_the_axis_cannot_be_the_same():
    def draw(a):
        return tf.random.categorical(a[None], 1)

    assert_both_refuse(
        lambda: torch_vmap(draw, randomness="same")(X),
        lambda: torch.vmap(lambda a: torch.multinomial(a, 1), randomness="same")(
            torch.from_numpy(X**2)
        ),
        r"draws random numbers \(Multinomial\) .* cannot be the same",
    )


def test_random_numbers_inside_functions_are_found():
    inner = in_mode(lambda a: a + tf.random.normal([3]), "graph")
    with pytest.raises(
        ValueError, match=r"draw random numbers \(RandomStandardNormal\)"
    ):
        torch_vmap(inner)(X)
    with pytest.raises(ValueError, match="in a function of its own"):
        torch_vmap(inner, randomness="same")(X)
    found = torch_vmap(inner, randomness="different")(X * 0.0).numpy()
    assert not np.any(found[0] == found[1])
    plain = in_mode(lambda a: a + 1.0, "graph")
    np.testing.assert_allclose(torch_vmap(plain)(X), X + 1.0)


def test_numbers_of_a_given_seed_are_no_random_numbers():
    def draw(a):
        return a * 0.0 + tf.random.stateless_normal([3], [1, 2])

    found = torch_vmap(draw)(X).numpy()
    np.testing.assert_array_equal(found[0], found[1])


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"randomness": "all"}, "randomness must be one of .* got 'all'"),
        ({"chunk_size": 0}, "chunk_size must be >= 1, got 0"),
        ({"chunk_size": 1.5}, "chunk_size must be an int, got 1.5"),
        ({"in_dims": [0]}, r"in_dims must be an int or a tuple, got \[0\]"),
        ({"in_dims": None}, "in_dims must be an int or a tuple, got None"),
        ({"in_dims": (None,)}, "in_dims must name an axis of at least one argument"),
        ({"in_dims": (0, 0)}, "in_dims must be nested as the values are"),
        ({"in_dims": (0.5,)}, "in_dims must have ints and None, got 0.5"),
        ({"in_dims": 2}, "in_dims must be axes of 2 axes, got 2"),
        ({"in_dims": -3}, "in_dims must be axes of 2 axes, got -3"),
        ({"in_dims": ((0,),)}, "in_dims must be nested as the values are"),
        ({"out_dims": 2}, "out_dims must be axes of 2 axes, got 2"),
        ({"out_dims": -3}, "out_dims must be axes of 2 axes, got -3"),
        ({"out_dims": (0, 0)}, "out_dims must be nested as the values are"),
        ({"out_dims": 0.5}, "out_dims must have ints and None, got 0.5"),
        ({"out_dims": None}, "out_dims must not be None for what depends on the axis"),
    ],
)
def test_impossible_options_are_refused(options, message):
    assert_both_refuse(
        lambda: torch_vmap(lambda a: a * 2.0, **options)(X),
        lambda: torch.vmap(lambda a: a * 2.0, **options)(torch.from_numpy(X)),
        message,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda vmap, x: vmap(lambda: x)(), "must have arguments, got none"),
        (lambda vmap, x: vmap(lambda a, b: a)(x, 3), "no tensor, got 3"),
        (lambda vmap, x: vmap(lambda a, b: a)(x, x[0]), r"got sizes \[2, 3\]"),
        (lambda vmap, x: vmap(lambda a: a)(x[0, 0]), "axes of 0 axes, got 0"),
        (
            lambda vmap, x: vmap(lambda d: d["x"], ({"y": 0},))({"x": x}),
            "nested as the",
        ),
        (lambda vmap, x: vmap(lambda t: t[0], ((0, 0),))([x, x]), "nested as the"),
        (lambda vmap, x: vmap(lambda a: 3)(x), "func must return tensors, got 3"),
        (lambda vmap, x: vmap(lambda a: None)(x), "func must return tensors, got None"),
        (lambda vmap, x: vmap(lambda a: [a], out_dims=(0,))(x), "nested as the values"),
    ],
)
def test_impossible_arguments_and_results_are_refused(call, message):
    assert_both_refuse(
        lambda: call(torch_vmap, tf.constant(X)),
        lambda: call(torch.vmap, torch.from_numpy(X)),
        message,
    )
