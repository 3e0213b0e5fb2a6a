"""The correspondence table is current, complete, and its examples are true."""

import ast
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import util.torch_to_tf as library
from tests.torch_to_tf.test_table import ROWS
from util.config import ROOT
from util.torch_to_tf import docs

EXAMPLES = {row.ours: row for row in docs.rows()}
SCOPE = {"tf": tf, "np": np} | {
    name: getattr(library, name) for name in library.__all__
}


def test_page_is_what_the_code_says():
    assert docs.PAGE.read_text(encoding="utf-8") == docs.page(), "run `make docs`"


def test_page_has_every_row_of_the_table():
    assert {(row.torch, row.ours) for row in EXAMPLES.values()} >= {
        (torch_name, ours) for torch_name, ours, _ in ROWS
    }


def as_python(value):
    """A result as the examples write it: nested lists, numbers, tuples."""
    if isinstance(value, tf.TensorShape):
        return tuple(value.as_list())
    if isinstance(value, list):
        return [as_python(item) for item in value]
    if isinstance(value, tuple):
        return tuple(as_python(item) for item in value)
    return np.asarray(value).tolist() if hasattr(value, "shape") else value


def assert_equal(actual, expected):
    if isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for pair in zip(actual, expected, strict=True):
            assert_equal(*pair)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=1e-4)
    else:
        assert actual == expected
        assert type(actual) is type(expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_true(name):
    row = EXAMPLES[name]
    assert name in row.example
    actual = as_python(eval(row.example, SCOPE))  # the project's own text
    assert_equal(actual, ast.literal_eval(row.result))


def test_writes_the_page_to_a_file(tmp_path):
    target = tmp_path / "page.md"
    docs.main([str(target)])
    assert target.read_text(encoding="utf-8") == docs.page()


def test_tutorial_is_linked_and_there():
    page = Path(ROOT / "docs" / "torch_to_tf_tutorial.md")
    assert page.name in docs.page()
    assert page.is_file()
