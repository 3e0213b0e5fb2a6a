import logging
import time

import numpy as np
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

from agent.common.checkpoints import (
    AttributeState,
    ModuleState,
    RunCheckpoints,
    buffer_folder,
)
from agent.common.rollout import NonFiniteError
from util.checkpoint import StateRegistry, is_complete, load_policy, load_state
from util.config import digest
from util.torch_to_tf import nn_Linear


class Counter:
    itr = 0


def make_run(tmp_path, **keys):
    """Checkpoints of a run with a network, a buffer and a counter."""
    cfg = OmegaConf.create({"logdir": str(tmp_path / "run"), "seed": 3, **keys})
    counter, network = Counter(), nn_Linear(2, 1)
    buffer = Counter()
    registry = StateRegistry()
    registry.add("model", ModuleState(network))
    registry.add("buffer", AttributeState(buffer, "itr"))
    registry.add("loop", AttributeState(counter, "itr"))
    checkpoints = RunCheckpoints(cfg, registry, lambda: {"itr": counter.itr})
    return checkpoints, network, counter, buffer


def test_folder_is_made(tmp_path):
    checkpoints, *_ = make_run(tmp_path)
    assert checkpoints.folder == tmp_path / "run" / "checkpoint"
    assert checkpoints.folder.is_dir()
    assert checkpoints.last == checkpoints.folder / "last"


def test_numbered_state_can_be_read_as_a_policy(tmp_path):
    checkpoints, network, counter, _ = make_run(tmp_path)
    counter.itr = 7
    folder = checkpoints.save(7)
    assert folder == checkpoints.folder / "state_7"
    policy = load_policy(folder)
    assert policy.step == 7
    np.testing.assert_array_equal(policy.weights["weight"], network.weight.numpy())


def test_manifest_says_what_the_state_is_of(tmp_path):
    checkpoints, *_ = make_run(tmp_path, name="x")
    meta = load_state(checkpoints.save(1))[1]
    assert meta == {"itr": 0, "seed": 3, "digest": digest(checkpoints.cfg)}


def test_buffer_is_in_last_only(tmp_path):
    checkpoints, *_ = make_run(tmp_path)
    checkpoints.save_last()
    assert set(load_state(checkpoints.last)[0]["run"]) == {"buffer", "loop"}
    checkpoints.save_aside("nonfinite_1")
    for folder in (checkpoints.save(1), checkpoints.folder / "nonfinite_1"):
        assert set(load_state(folder)[0]["run"]) == {"loop"}


class Rows(Counter):
    """Notes when its state is asked for and when it may tidy up."""

    def __init__(self):
        self.calls = []

    def get_state(self):
        self.calls.append("get")
        return {}

    def set_state(self, state):
        pass

    def settle(self):
        self.calls.append("settle")


def test_files_of_a_buffer_are_written_for_last_only_and_tidied_after_it(tmp_path):
    checkpoints, *_ = make_run(tmp_path)
    rows, checkpoints.registry = Rows(), StateRegistry()
    checkpoints.registry.add("buffer", rows)
    checkpoints.save(1)
    assert rows.calls == []
    checkpoints.save_last()
    assert rows.calls == ["get", "settle"]


def test_failed_save_keeps_the_files_of_a_buffer(tmp_path, monkeypatch):
    checkpoints, *_ = make_run(tmp_path)
    rows, checkpoints.registry = Rows(), StateRegistry()
    checkpoints.registry.add("buffer", rows)

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr("agent.common.checkpoints.save_state", fail)
    with pytest.raises(OSError, match="no space"):
        checkpoints.save_last()
    assert rows.calls == ["get"]


def test_rows_of_a_run_are_beside_its_last_state(tmp_path):
    checkpoints, *_ = make_run(tmp_path)
    assert buffer_folder(checkpoints.cfg) == checkpoints.folder / "buffer"


def test_nan_never_replaces_a_good_checkpoint(tmp_path):
    checkpoints, network, *_ = make_run(tmp_path)
    checkpoints.save_last()
    good = network.weight.numpy()
    network.weight.assign([[np.nan, 0.0]])
    with pytest.raises(NonFiniteError, match=r"weight of model is NaN.*last"):
        checkpoints.save_last()
    assert not checkpoints.folder.joinpath("state_1").exists()
    np.testing.assert_array_equal(
        load_state(checkpoints.last)[0]["model"]["weight"], good
    )
    checkpoints.save_aside("nonfinite_1")
    assert is_complete(checkpoints.folder / "nonfinite_1")


def test_infinite_weights_are_saved(tmp_path):
    checkpoints, network, *_ = make_run(tmp_path)
    network.weight.assign([[np.inf, 0.0]])
    assert is_complete(checkpoints.save(1))


def test_last_is_rewritten_when_its_time_has_come(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    checkpoints, _, counter, _ = make_run(tmp_path)

    def saved():
        counter.itr += 1
        checkpoints.save_last(minutes=3)
        if not checkpoints.last.exists():
            return None
        return load_state(checkpoints.last)[1]["itr"]

    assert saved() is None
    now[0] += 179
    assert saved() is None
    now[0] += 1
    assert saved() == 3
    now[0] += 179
    assert saved() == 3
    checkpoints.save_last(minutes=3, force=True)
    assert load_state(checkpoints.last)[1]["itr"] == 4
    now[0] += 179
    assert saved() == 4
    now[0] += 1
    assert saved() == 6


def test_state_of_a_failure_leaves_last_alone(tmp_path):
    checkpoints, _, counter, _ = make_run(tmp_path)
    checkpoints.save_last()
    counter.itr = 5
    where = checkpoints.save_aside("nonfinite_5")
    aside = checkpoints.folder / "nonfinite_5"
    assert where == (
        f"The state is in {aside}; the last good one, which resume={tmp_path / 'run'} "
        f"continues, is {checkpoints.last}."
    )
    assert is_complete(aside)
    assert load_state(aside)[1]["itr"] == 5
    assert load_state(checkpoints.last)[1]["itr"] == 0


def test_failure_before_anything_was_saved_names_nothing_good(tmp_path):
    where = make_run(tmp_path)[0].save_aside("nonfinite_0")
    assert where.endswith("; no good one was saved before.")


def test_run_that_does_not_resume_starts_anew(tmp_path):
    make_run(tmp_path)[0].save_last()
    checkpoints, *_ = make_run(tmp_path)
    assert checkpoints.resume() is False


def test_resumed_run_has_all_objects_back(tmp_path):
    checkpoints, network, counter, buffer = make_run(tmp_path)
    counter.itr, buffer.itr = 4, 9
    checkpoints.save_last()
    again, other, counted, filled = make_run(tmp_path, resume="x")
    assert other.weight.numpy().tobytes() != network.weight.numpy().tobytes()
    assert again.resume() is True
    assert (counted.itr, filled.itr) == (4, 9)
    assert other.weight.numpy().tobytes() == network.weight.numpy().tobytes()


def test_resume_of_nothing_is_said(tmp_path, caplog):
    checkpoints, *_ = make_run(tmp_path, resume="x")
    with caplog.at_level(logging.WARNING):
        assert checkpoints.resume() is False
    assert "nothing to resume in" in caplog.text


def test_resume_with_another_seed_is_refused(tmp_path):
    make_run(tmp_path)[0].save_last()
    checkpoints, _, counter, _ = make_run(tmp_path, resume="x")
    checkpoints.cfg.seed = 4
    with pytest.raises(ValueError, match=r"seed must be 3 to resume .*last, got 4\."):
        checkpoints.resume()
    assert counter.itr == 0


def test_variables_are_assigned_in_place():
    owner = Counter()
    owner.itr, owner.alpha = 3, tf.Variable(0.5, dtype=tf.float64)
    variable, state = owner.alpha, AttributeState(owner, "itr", "alpha")
    saved = state.get_state()
    assert saved == {"itr": 3, "alpha": 0.5}
    owner.itr = 8
    variable.assign(0.0)
    state.set_state(saved)
    assert owner.itr == 3
    assert owner.alpha is variable
    assert variable.numpy() == 0.5


def test_state_of_a_module_is_its_state_dict():
    one, other = nn_Linear(2, 1), nn_Linear(2, 1)
    ModuleState(other).set_state(ModuleState(one).get_state())
    assert other.bias.numpy().tobytes() == one.bias.numpy().tobytes()
