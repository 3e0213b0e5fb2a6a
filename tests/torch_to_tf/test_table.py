"""Every row of the table is exported and tested; so is whatever else is exported."""

import re
from pathlib import Path

import pytest

import util.torch_to_tf

HERE = Path(__file__).parent
ROWS = [
    line.split()
    for line in (HERE / "table.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]

# Ours alone, with the file that tests it.
OWN = {
    "clone_network": "test_module",
    "compute_in": "test_Linear",
    "replay_dropout": "test_Dropout",
    "transposed_weights": "test_Linear",
}


def test_every_row_is_exported():
    names = {ours for _, ours, _ in ROWS}
    assert sorted(names - set(util.torch_to_tf.__all__)) == []


def test_every_row_has_its_test_file():
    missing = [file for _, _, file in ROWS if not (HERE / f"{file}.py").is_file()]
    assert missing == []


def test_every_exported_name_is_a_row_or_named_here():
    known = {ours for _, ours, _ in ROWS} | OWN.keys()
    assert sorted(set(util.torch_to_tf.__all__) - known) == []


@pytest.mark.parametrize(
    ("name", "file"),
    [(ours, file) for _, ours, file in ROWS] + list(OWN.items()),
)
def test_the_test_file_uses_the_name(name, file):
    text = (HERE / f"{file}.py").read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\b", text)


@pytest.mark.parametrize(("torch_name", "ours"), [row[:2] for row in ROWS])
def test_the_docstring_names_what_it_stands_for(torch_name, ours):
    summary = getattr(util.torch_to_tf, ours).__doc__.split("\n\n")[0]
    assert f"(`{torch_name}`)" in " ".join(summary.split())


def test_all_is_sorted_and_without_repeats():
    names = util.torch_to_tf.__all__
    assert names == sorted(set(names))
