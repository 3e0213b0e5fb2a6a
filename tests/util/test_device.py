from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import tensorflow as tf

from util.config import ROOT
from util.device import select_device, shared_devices


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


@pytest.mark.parametrize(
    "names", [["gpu:0", "gpu:1"], "gpu:0,gpu:1", "cuda:0, cuda:1", "gpu:all"]
)
def test_several_gpus_share_batches_and_the_first_does_the_rest(gpus, names):
    gpus(2)
    assert shared_devices(names) == ["/GPU:0", "/GPU:1"]
    assert select_device(names) == "/GPU:0"


@pytest.mark.parametrize("names", ["auto", "gpu", "cpu", ["gpu:0"], ["cpu"]])
def test_a_single_device_shares_nothing(gpus, names):
    gpus(1)
    assert shared_devices(names) == []
    assert select_device(names) == ("/CPU:0" if "cpu" in names else "/GPU:0")


def test_all_gpus_may_be_one_but_not_none(gpus):
    gpus(1)
    assert select_device("gpu:all") == "/GPU:0"
    gpus(0)
    with pytest.raises(ValueError, match="sees 0 GPU"):
        select_device("gpu:all")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["gpu:0", "gpu:2"], "sees 2 GPU"),
        (["gpu:0", "gpu:0"], "each device once"),
        (["auto", "gpu:0"], "must list gpu:<n>, got 'auto'"),
        (["gpu:0", "tpu"], "must list gpu:<n>, got 'tpu'"),
        (["cpu:0", "cpu:7"], "must list gpu:<n>, got 'cpu:7'"),
    ],
)
def test_impossible_lists_of_devices_are_refused(gpus, monkeypatch, names, message):
    gpus(2)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    with pytest.raises(ValueError, match=message):
        shared_devices(names)


def test_cpu_needs_no_tensorflow():
    code = "import sys, util.device as d; d.select_device('cpu'); " + (
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
