from __future__ import annotations

import pytest

from util.config_files import ROOT, layers, leaf_file, locate_key, search_path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A working directory with two layers and a leaf."""
    base = tmp_path / "cfg" / "base"
    base.mkdir(parents=True)
    (base / "net.yaml").write_text("width: 3\n")
    (base / "algo.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - net@model.actor\n  - _self_\n"
        "train:\n  lr: 1\n  steps: ???\n"
    )
    leaf = tmp_path / "cfg" / "leaf.yaml"
    leaf.write_text(
        "defaults:\n  - /base/algo\n  - _self_\ntrain:\n  lr: 2\nlist: [1]\n"
    )
    monkeypatch.chdir(tmp_path)
    return leaf


def test_search_path_ends_with_the_projects_own(project, monkeypatch):
    assert search_path() == [project.parent, ROOT / "cfg"]
    monkeypatch.chdir(ROOT)
    assert search_path() == [ROOT / "cfg"]


def test_leaf_file_takes_names_with_and_without_suffix():
    assert leaf_file("a", "b") == leaf_file("a", "b.yaml")


def test_layers_are_in_order_of_composition(project):
    found = [(file.name, package) for file, package in layers(project)]
    assert found == [
        ("net.yaml", "model.actor"),
        ("algo.yaml", ""),
        ("leaf.yaml", ""),
    ]


@pytest.mark.parametrize(
    ("key", "where"),
    [
        ("train.lr", "cfg/leaf.yaml"),
        ("train.steps", "cfg/base/algo.yaml"),
        ("model.actor.width", "cfg/base/net.yaml"),
        ("list[0]", "cfg/leaf.yaml"),
        ("absent", "cfg/leaf.yaml"),
    ],
)
def test_key_is_located_in_the_file_that_sets_it(project, key, where):
    assert locate_key(key, project) == where


def test_override_wins_over_every_file(project):
    given = ["++train.lr=3", "++wandb={a: 1}"]
    assert locate_key("train.lr", project, given) == "the command line (train.lr=3)"
    assert "wandb=" in locate_key("wandb.a", project, given)
    assert locate_key("train.steps", project, given) == "cfg/base/algo.yaml"


def test_file_that_is_not_there_is_named(tmp_path):
    assert locate_key("a", tmp_path / "no.yaml") == str(tmp_path / "no.yaml")
