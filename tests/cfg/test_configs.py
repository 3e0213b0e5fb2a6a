"""Every leaf composes, knows its keys, equals the reference and the lock."""

from __future__ import annotations

import functools

import pytest
import yaml
from omegaconf import OmegaConf

from tests.cfg import lock
from tests.cfg.fixed import CFG, compose_leaf, leaves, values
from tests.cfg.reference import (
    REFERENCE,
    differences,
    is_deliberate,
    reference_leaves,
    reference_values,
    regenerate,
)
from util.config import check_keys
from util.config_schema import resolve_target

LEAVES = leaves()
SHARED = sorted(reference_leaves())

# Changed on both sides: derived values must follow the same variables.
CHANGES = {
    "obs_dim": 101,
    "action_dim": 7,
    "cond_steps": 3,
    "horizon_steps": 8,
    "act_steps": 8,
    "denoising_steps": 50,
    "ft_denoising_steps": 6,
    "seed": 5,
    "env_name": "other-v0",
    "normalization_path": "/n.npz",
    "train_dataset_path": "/t.npz",
    "base_policy_path": "/b.pt",
    "name": "named",
    "device": "cpu",
}


@functools.cache
def composed(leaf):
    return compose_leaf(leaf)


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for child in node.values():
            yield from targets(child)


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_target_imports(leaf):
    for target in targets(OmegaConf.to_container(composed(leaf), resolve=False)):
        resolve_target(target)


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_key_is_known(leaf):
    check_keys(composed(leaf), CFG / leaf)


def unexpected(leaf, ours, theirs):
    missing = object()
    found = []
    for key in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(key, missing), theirs.get(key, missing)
        same = a == b and isinstance(a, bool) == isinstance(b, bool)
        if not same and not is_deliberate(leaf, key, a, b):
            found.append(f"{key}: {a!r}, reference {b!r}")
    return found


@pytest.mark.parametrize("leaf", SHARED)
def test_values_equal_the_reference(leaf):
    assert unexpected(leaf, values(leaf), reference_values(leaf)) == []


@pytest.mark.parametrize("leaf", SHARED)
def test_derived_values_follow_the_same_variables(leaf):
    theirs = reference_leaves()[leaf]
    changes = {key: value for key, value in CHANGES.items() if key in theirs}
    given = tuple(f"{key}={value}" for key, value in changes.items())
    assert changes["obs_dim"] == 101
    assert unexpected(leaf, values(leaf, given), reference_values(leaf, changes)) == []


@pytest.mark.parametrize("leaf", LEAVES)
def test_numbers_are_numbers(leaf):
    for key, value in values(leaf).items():
        text = isinstance(value, str) and value.replace("e-", "").replace(".", "")
        assert not (text and text.isdigit()), f"{key} is the text {value!r}"


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaf_lists_layers_in_order_and_little_else(leaf):
    content = yaml.safe_load((CFG / leaf).read_text())
    defaults = content.pop("defaults")
    kinds = [entry.split("/")[2] for entry in defaults[:-1]]
    assert kinds == ["stage", "env", "algo", "task"]
    assert defaults[-1] == "_self_"
    assert len(list(OmegaConf.to_yaml(OmegaConf.create(content)).splitlines())) <= 12


def test_layers_belong_to_the_root_and_set_wrappers_once():
    owners = []
    for layer in (CFG / "base").rglob("*.yaml"):
        text = layer.read_text()
        placed_by_user = layer.parent.name == "network"
        assert placed_by_user != text.startswith("# @package _global_\n"), layer
        if (yaml.safe_load(text).get("env") or {}).get("wrappers"):
            owners.append(layer)
    # One for each kind of environment.
    assert sorted(owners) == sorted(CFG.glob("base/env/*/simulator.yaml"))


def test_leaves_without_counterpart_are_listed_with_a_reason():
    listed = differences()["leaves"]
    assert set(LEAVES) - set(SHARED) == set(listed)
    assert all(listed.values())
    assert all(entry["reason"] for entry in differences()["values"])


DEMONSTRATOR_LEAVES = (
    "gym/scratch/hopper-v2/sac_mlp.yaml",
    "gym/scratch/walker2d-v2/sac_mlp.yaml",
    "gym/scratch/halfcheetah-v2/sac_mlp_demonstrator.yaml",
)


@pytest.mark.parametrize("leaf", DEMONSTRATOR_LEAVES)
def test_demonstrators_differ_from_the_reference_in_size_and_files_only(leaf):
    cheetah = values("gym/scratch/halfcheetah-v2/sac_mlp.yaml")
    other = values(leaf)
    moved = {key for key in cheetah if cheetah[key] != other[key]}
    assert cheetah.keys() == other.keys()
    assert {key.rpartition(".")[2] for key in moved} <= {
        *("name", "env_name", "logdir", "project", "run"),
        *("normalization_path", "offline_dataset_path"),
        *("obs_dim", "action_dim", "cond_dim", "target_entropy"),
    }
    assert other["normalization_path"] is None
    assert other["env.wrappers.mujoco_locomotion_lowdim.normalization_path"] is None


def test_digests_equal_the_lock():
    now = {leaf: lock.lock_digest(leaf) for leaf in LEAVES}
    assert lock.moved(lock.read_lock(), now) == [], "run `make cfg-lock`"


def test_lock_says_which_leaf_moved():
    before = {"a": "1", "b": "2", "c": "3"}
    after = {"a": "1", "b": "9", "d": "4"}
    assert lock.moved(before, after) == ["b moved", "c is gone", "d is new"]


def test_lock_is_written_and_read_back(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lock, "LOCK", tmp_path / "lock.txt")
    monkeypatch.setattr(lock, "leaves", lambda: LEAVES[:1])
    lock.main()
    assert lock.read_lock() == {LEAVES[0]: lock.lock_digest(LEAVES[0])}
    assert f"{LEAVES[0]} is new" in capsys.readouterr().out


def test_stored_reference_is_regenerated_equally(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.cfg.reference.REFERENCE", tmp_path / "copy.json")
    regenerate(REFERENCE)
    assert (tmp_path / "copy.json").read_text() == REFERENCE.read_text()
