"""A wrapper adds nothing to the graph of the plain TensorFlow call it stands for."""

import ast
import importlib
import pkgutil
from collections import Counter

import pytest
import tensorflow as tf

import util.torch_to_tf
from tests.torch_to_tf import plain_calls
from util.config import ROOT

KINDS = [
    importlib.import_module(f"{plain_calls.__name__}.{found.name}")
    for found in pkgutil.iter_modules(plain_calls.__path__)
]
CASES = {name: case for kind in KINDS for name, case in kind.CASES.items()}
EXCEPTIONS = {name: why for kind in KINDS for name, why in kind.EXCEPTIONS.items()}

# What names a value or hands it on; removed before anything runs.
FREE = ("Const", "Identity", "NoOp", "Placeholder")


def traced(function, inputs):
    """The graph of a call, with its outputs."""
    return tf.function(function, autograph=False).get_concrete_function(*inputs)


def operations(function) -> Counter:
    """How often each kind of operation stands in a graph, inner functions included."""
    graph = function.graph.as_graph_def()
    nodes = list(graph.node)
    for inner in graph.library.function:
        nodes += inner.node_def
    return Counter(node.op for node in nodes if node.op not in FREE)


def test_operations_are_counted():
    spec = tf.TensorSpec([2], tf.float32)
    found = operations(traced(lambda x: tf.abs(x) + tf.abs(x), [spec]))
    assert found == {"Abs": 2, "AddV2": 1}


@pytest.mark.parametrize("name", CASES)
def test_graph_has_no_operation_beyond_the_plain_call(name):
    case = CASES[name]
    ours, plain = (traced(f, case.inputs) for f in (case.ours, case.plain))
    assert operations(ours) - operations(plain) == {}


@pytest.mark.parametrize("name", CASES)
def test_static_shapes_are_those_of_the_plain_call(name):
    case = CASES[name]
    ours, plain = (traced(f, case.inputs) for f in (case.ours, case.plain))
    for own, expected in zip(ours.outputs, plain.outputs, strict=True):
        assert own.shape.rank == expected.shape.rank
        known = [size is not None for size in expected.shape]
        assert [
            size if is_known else None
            for size, is_known in zip(own.shape, known, strict=True)
        ] == expected.shape.as_list()


def test_every_name_has_its_plain_call_or_a_reason():
    names = {name for name in util.torch_to_tf.__all__ if name not in EXCEPTIONS}
    assert sorted(names - CASES.keys()) == []
    assert (
        sorted((CASES.keys() | EXCEPTIONS.keys()) - {*util.torch_to_tf.__all__}) == []
    )
    assert all(len(why.split()) >= 4 for why in EXCEPTIONS.values())


def test_no_wrapper_is_traced_by_itself():
    """So that none is traced again for a new Python number."""
    compiled = [
        f"{path.name}:{node.lineno}"
        for path in sorted((ROOT / "util" / "torch_to_tf").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "function"
        and getattr(node.value, "id", "") == "tf"
    ]
    assert compiled == []
