from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import tensorflow as tf

from util.config import ROOT
from util.device import select_device


@pytest.fixture
def gpus(monkeypatch):
    """Makes TensorFlow see the given number of GPUs."""

    def see(count: int) -> None:
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind: [kind] * count
        )

    return see


@pytest.mark.parametrize(("count", "device"), [(0, "/CPU:0"), (2, "/GPU:0")])
def test_auto_takes_a_gpu_if_there_is_one_and_says_so(gpus, caplog, count, device):
    gpus(count)
    with caplog.at_level(logging.INFO):
        assert select_device("auto") == device
    assert f"using {device}" in caplog.text


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("gpu", "/GPU:0"),
        ("cuda", "/GPU:0"),
        ("cuda:0", "/GPU:0"),
        ("gpu:1", "/GPU:1"),
        ("/GPU:1", "/GPU:1"),
        ("CPU", "/CPU:0"),
        ("cpu:0", "/CPU:0"),
    ],
)
def test_names_of_pytorch_and_tensorflow_are_understood(gpus, name, device):
    gpus(2)
    assert select_device(name) == device


@pytest.mark.parametrize(("name", "count"), [("gpu", 0), ("cuda:0", 0), ("gpu:1", 1)])
def test_absent_gpu_is_refused_and_auto_suggested(gpus, name, count):
    gpus(count)
    with pytest.raises(ValueError, match=f"device={name}: .*device=auto"):
        select_device(name)


@pytest.mark.parametrize("name", ["tpu", "auto:1", "cpu:1", "gpu:x", "", None])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="device must be auto, cpu, gpu"):
        select_device(name)


def test_cpu_needs_no_tensorflow():
    code = "import sys, util.device as d; d.select_device('cpu'); " + (
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
