"""Who uses the processors, and how much memory."""

import os
import subprocess
import sys
import time

import pytest

from tests.bench import machine
from tests.bench.machine import Reading


def test_shares_of_two_readings():
    before, after = Reading(10, 100, 5), Reading(16, 120, 9)
    assert after.idle_share(before) == pytest.approx(0.7)
    assert after.foreign_share(before) == pytest.approx(0.1)


def test_others_never_use_less_than_nothing():
    assert Reading(1, 10, 2).foreign_share(Reading(0, 0, 0)) == 0


def test_own_work_is_counted():
    before = Reading.take([os.getpid()])
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = Reading.take([os.getpid()])
    assert after.own - before.own >= 0.05
    assert after.total > before.total


def test_children_and_their_memory_are_found():
    script = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert child.pid in machine.children(os.getpid())
        assert machine.peak_mib(child.pid) > 1
        assert machine.proportional_mib(child.pid) > 0.5
        child.stdin.close()
    assert machine.tree_seconds(child.pid) == 0


def test_waiting_ends_when_the_machine_is_quiet(monkeypatch):
    shares = iter([0.2, 0.5, 0.97])
    monkeypatch.setattr(machine, "idle_share", lambda seconds: next(shares))
    assert machine.wait_until_quiet(poll=0) == 0.97


def test_description_names_no_host():
    described = machine.describe()
    assert described["processors"] >= 1
    assert os.uname().nodename not in str(described)
    assert {"python", "numpy"} <= machine.versions().keys()
