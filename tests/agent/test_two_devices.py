"""Several devices give the numbers of one."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.agent.two_devices import CASES
from util.config import ROOT

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of all cases, computed where TensorFlow sees two CPUs."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "tests.agent.two_devices", str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def results(folder, case):
    return pickle.loads((folder / f"{case}.pkl").read_bytes())


def assert_close(one, two):
    """Equal keys, and values up to float rounding."""
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, 1e-5, 1e-6, err_msg=key)


@pytest.mark.parametrize("case", CASES)
def test_metrics_and_weights_are_those_of_one_device(folder, case):
    one, two = (results(folder, case)[name] for name in ("one", "two"))
    assert len(one["metrics"]) == len(two["metrics"]) > 1
    for row, other in zip(one["metrics"], two["metrics"], strict=True):
        assert_close(row, other)
    assert_close(one["weights"], two["weights"])
    assert_close(one["ema"], two["ema"])


@pytest.mark.parametrize("case", CASES)
def test_compiled_steps_are_traced_once(folder, case):
    for result in results(folder, case).values():
        assert set(result["traces"].values()) == {1}


def test_run_begun_on_two_devices_ends_on_one_as_if_it_had_begun_there(folder):
    both = results(folder, "pretrain")
    assert len(both["moved"]["metrics"]) == len(both["one"]["metrics"]) - 1
    assert_close(both["one"]["weights"], both["moved"]["weights"])
    assert_close(both["one"]["ema"], both["moved"]["ema"])
