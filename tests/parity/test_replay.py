"""The command: files anywhere, one line for each mode, exit codes."""

import json
import shutil

import numpy as np
import pytest

from tests.parity.case import HERE, load_case
from tests.parity.replay import main
from tests.parity.scripted import TapeDraws

CASE = HERE / "networks" / "mlp_relu.npz"


def rewrite(path, target, meta=None, **arrays):
    """A copy of a case with changes."""
    case = load_case(path)
    changed = json.dumps({**case.meta, **(meta or {})})
    np.savez(target, **{**case.arrays, **arrays}, meta=np.array(changed))
    return target


def test_a_case_anywhere_on_disk_passes_in_both_modes(tmp_path, capsys):
    shutil.copyfile(CASE, tmp_path / "unseen.npz")
    assert main([str(tmp_path / "unseen.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("PASS  networks/unseen  eager")
    assert lines[1].startswith("PASS  networks/unseen  compiled")
    assert "out/" in lines[0]
    assert "grad/" in lines[0]
    assert lines[-1] == "1 of 1 files pass, 0 pending"


def test_a_wrong_output_fails_and_is_named(tmp_path, capsys):
    wrong = load_case(CASE).arrays["out/y"] + 1e-3
    path = rewrite(CASE, tmp_path / "wrong.npz", **{"out/y": wrong})
    assert main([str(path), "--modes", "eager"]) == 1
    assert "FAIL  networks/wrong  eager" in capsys.readouterr().out


def test_a_wrong_gradient_fails(tmp_path, capsys):
    name = next(key for key in load_case(CASE).arrays if key.startswith("grad/"))
    wrong = load_case(CASE).arrays[name] * 1.01
    path = rewrite(CASE, tmp_path / "wrong.npz", **{name: wrong})
    assert main([str(path), "--modes", "compiled"]) == 1
    assert "FAIL" in capsys.readouterr().out


def test_an_unknown_class_is_pending(tmp_path, capsys):
    meta = {"class": "model.common.mlp.Perceptron"}
    path = rewrite(CASE, tmp_path / "later.npz", meta)
    assert main([str(path)]) == 2
    assert "pending: model.common.mlp.Perceptron" in capsys.readouterr().out


def test_a_failure_counts_more_than_a_pending_case(tmp_path):
    later = rewrite(CASE, tmp_path / "later.npz", {"class": "model.common.mlp.No"})
    wrong = load_case(CASE).arrays["out/y"] + 1e-3
    failing = rewrite(CASE, tmp_path / "wrong.npz", **{"out/y": wrong})
    assert main([str(later), str(failing), "--modes", "eager"]) == 1


def test_a_broken_case_does_not_hide_the_others(tmp_path, capsys):
    path = rewrite(CASE, tmp_path / "broken.npz", {"kwargs": {"dim_list": [7]}})
    assert main([str(path), str(CASE), "--modes", "eager"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  networks/broken  ValueError" in out
    assert "PASS  networks/mlp_relu" in out


def test_an_unknown_mode_is_refused(capsys):
    with pytest.raises(SystemExit):
        main([str(CASE), "--modes", "quick"])
    assert "--modes must be of eager, compiled, jit" in capsys.readouterr().err


def test_a_tape_refuses_draws_of_another_kind_or_shape():
    tape = TapeDraws(["torch.randn", "torch.randperm"], [np.zeros(3), np.arange(2)])
    with pytest.raises(ValueError, match=r"torch\.randn in the recorded run"):
        tape.permutation(3)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        tape.policy_noise(1, (4,))
    assert len(tape.policy_noise(1, (3,))) == 1
    assert tape.left == 1
    np.testing.assert_array_equal(tape.permutation(2), [0, 1])
    with pytest.raises(ValueError, match="beyond the end"):
        tape.choice(2, 2)
