from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from util import checkpoint, state_folder
from util.checkpoint import (
    StateRegistry,
    is_complete,
    load_policy,
    load_state,
    resolve_policy_path,
    save_state,
)

SAMPLE = (
    Path(__file__).parents[1]
    / "parity/checkpoint/pretrain_hopper_diffusion_mlp_state_200.pt"
)


class Counter:
    """Counts; what it counted is its state."""

    def __init__(self, value=0):
        self.value = value

    def get_state(self):
        return {"value": self.value, "array": np.full(2, self.value)}

    def set_state(self, state):
        self.value = state["value"]


def save(folder: Path, value: float = 1.0, **entries) -> Path:
    save_state(folder, {"model": {"w": np.full(2, value)}, **entries}, {"itr": 3})
    return folder


def same(loaded, expected) -> bool:
    return list(loaded) == list(expected) and all(
        np.array_equal(loaded[key], value.numpy()) for key, value in expected.items()
    )


def test_state_folder_functions_are_offered_here():
    for name in (
        "find_complete",
        "is_complete",
        "list_states",
        "load_state",
        "read_meta",
        "save_state",
    ):
        assert getattr(checkpoint, name) is getattr(state_folder, name)


def test_registry_restores_what_it_saved(tmp_path):
    registry, other = StateRegistry(), StateRegistry()
    ours, theirs = [Counter(3), Counter(7)], [Counter(), Counter()]
    for name, one, two in zip("ab", ours, theirs, strict=True):
        registry.add(name, one)
        other.add(name, two)
    save_state(tmp_path / "s", registry.get_state(), {})
    other.set_state(load_state(tmp_path / "s")[0])
    assert [counter.value for counter in theirs] == [3, 7]


def test_registry_leaves_out_what_is_not_wanted():
    registry = StateRegistry()
    for name in ("model", "large"):
        registry.add(name, Counter(1))
    assert registry.get_state(without=("large", "other")).keys() == {"model"}
    registry.settle()  # Counters have no files.


def test_registry_refuses_a_state_of_other_names_and_changes_nothing():
    registry = StateRegistry()
    counters = {name: Counter(1) for name in ("ema", "model")}
    for name, counter in counters.items():
        registry.add(name, counter)
    state = {"model": {"value": 5}, "buffer": {}}
    with pytest.raises(ValueError, match=r"lacks \['ema'\].*unknown \['buffer'\]"):
        registry.set_state(state)
    assert [counter.value for counter in counters.values()] == [1, 1]


def test_registry_refuses_a_name_twice_and_an_object_without_state():
    registry = StateRegistry()
    registry.add("model", Counter())
    with pytest.raises(ValueError, match="name must be new, got 'model'"):
        registry.add("model", Counter())
    with pytest.raises(TypeError, match="buffer must have get_state .* got a list"):
        registry.add("buffer", [])


def test_pretraining_file_of_the_reference():
    expected = torch.load(SAMPLE, map_location="cpu", weights_only=True)
    policy = load_policy(SAMPLE)
    assert (policy.path, policy.kind, policy.step) == (SAMPLE, "torch", 200)
    assert policy.meta == {"epoch": 200}
    assert same(policy.weights, expected["model"])
    assert same(policy.ema, expected["ema"])


@pytest.mark.parametrize("new_layout", [True, False])
def test_finetuning_file_with_meta_tensors_and_infinity(tmp_path, new_layout):
    module = torch.nn.Module()
    module.network = torch.nn.Linear(3, 2)
    module.actor = module.network
    module.eta = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(module.eta.weight, float("inf"))
    module.base_model = torch.nn.Linear(2, 2, device="meta")
    module.elsewhere = torch.nn.Linear(2, 2, device="meta")
    content = {"itr": 999, "model": module.state_dict()}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=new_layout)
    policy = load_policy(tmp_path / "a.pt")
    prefixes = ("network.", "actor.", "eta.")
    kept = {k: v for k, v in content["model"].items() if k.startswith(prefixes)}
    assert same(policy.weights, kept)
    assert np.isposinf(policy.weights["eta.weight"]).all()
    assert policy.weights["network.weight"] is policy.weights["actor.weight"]
    assert (policy.ema, policy.step, policy.meta) == (None, 999, {"itr": 999})


def test_skeleton_with_values_is_left_out_too(tmp_path):
    content = {"model": {"base_model.w": torch.ones(1), "w": torch.ones(2)}}
    torch.save(content, tmp_path / "a.pt")
    policy = load_policy(tmp_path / "a.pt")
    assert list(policy.weights) == ["w"]
    assert policy.step == 0


def test_averaged_weights_alone_are_a_policy(tmp_path):
    torch.save({"ema": {"w": torch.ones(2)}, "epoch": 3}, tmp_path / "a.pt")
    policy = load_policy(tmp_path / "a.pt")
    assert policy.weights is None
    np.testing.assert_array_equal(policy.ema["w"], [1, 1])


def test_own_folder(tmp_path):
    folder = save(tmp_path / "state_3", ema={"w": np.zeros(2)}, buffer=np.ones(1000))
    policy = load_policy(str(folder))
    assert (policy.path, policy.kind, policy.step) == (folder, "own", 3)
    assert policy.meta == {"itr": 3}
    np.testing.assert_array_equal(policy.weights["w"], [1, 1])
    np.testing.assert_array_equal(policy.ema["w"], [0, 0])


@pytest.mark.parametrize(
    ("state", "meta", "step"),
    [
        ({}, {"itr": 5}, 5),
        ({}, {"epoch": 6, "name": "a"}, 6),
        ({"itr": 8}, {}, 8),
        ({}, {}, 0),
        ({}, {"step": "late"}, 0),
    ],
)
def test_step_of_an_own_folder_is_in_meta_or_state(tmp_path, state, meta, step):
    save_state(tmp_path / "s", {"model": {}, **state}, meta)
    assert load_policy(tmp_path / "s").step == step


def test_file_without_networks_is_refused_with_its_keys(tmp_path):
    torch.save({"w": torch.ones(1), "optimizer": {}}, tmp_path / "a.pt")
    save_state(tmp_path / "s", {"buffer": 1, "critic": {}}, {})
    for path, keys in (
        (tmp_path / "a.pt", "w, optimizer"),
        (tmp_path / "s", "buffer, critic"),
    ):
        with pytest.raises(ValueError, match=f"got the keys: {keys}") as caught:
            load_policy(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must hold a dict, got list"),
        ({"model": torch.ones(1)}, "model must be a state dict, got ndarray"),
        ({"model": {"w": 1.5}}, r"model\['w'\] must be an array, got float"),
        ({"model": {}, "ema": [1]}, "ema must be a state dict, got list"),
    ],
)
def test_file_of_another_structure_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message) as caught:
        load_policy(tmp_path / "a.pt")
    assert str(tmp_path / "a.pt") in str(caught.value)


def test_corrupt_file_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(SAMPLE.read_bytes()[:1000])
    with pytest.raises(ValueError, match="truncated or corrupt"):
        load_policy(tmp_path / "a.pt")


def test_run_folder_means_its_newest_complete_state(tmp_path):
    checkpoints = tmp_path / "run" / "checkpoint"
    for number in (9, 10, 100):
        save(checkpoints / f"state_{number}", number)
    save(checkpoints / "last", 101)
    (checkpoints / "state_100" / "DONE").unlink()
    assert not is_complete(checkpoints / "state_100")
    for path in (tmp_path / "run", checkpoints):
        assert resolve_policy_path(path) == checkpoints / "state_10"
    np.testing.assert_array_equal(load_policy(tmp_path / "run").weights["w"], [10, 10])


def test_run_folder_without_states_means_last(tmp_path):
    last = save(tmp_path / "checkpoint" / "last")
    assert resolve_policy_path(tmp_path) == last
    last.rename(last.with_name("last.old"))
    assert resolve_policy_path(tmp_path) == last.with_name("last.old")


def test_run_folder_of_the_reference_means_its_newest_file(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    for name in ("state_9.pt", "state_10.pt", "state_x.pt", "other.pt"):
        torch.save(
            OrderedDict(model={"w": torch.ones(1)}), tmp_path / "checkpoint" / name
        )
    assert resolve_policy_path(tmp_path) == tmp_path / "checkpoint" / "state_10.pt"


def test_state_folder_and_file_mean_themselves(tmp_path):
    folder = save(tmp_path / "state_1")
    assert resolve_policy_path(str(folder)) == folder
    assert resolve_policy_path(SAMPLE) == SAMPLE


def test_name_of_a_missing_file_finds_the_folder_beside_it(tmp_path):
    folder = save(tmp_path / "state_1")
    assert resolve_policy_path(tmp_path / "state_1.pt") == folder


@pytest.mark.parametrize("name", ["missing", "missing.pt", "empty"])
def test_missing_policy_says_what_was_looked_for(tmp_path, name):
    (tmp_path / "empty" / "checkpoint" / "state_4").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no policy at") as caught:
        resolve_policy_path(tmp_path / name)
    for part in (str(tmp_path / name), "checkpoint", "state_<n>", "last"):
        assert part in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no policy at"):
        load_policy(tmp_path / name)
