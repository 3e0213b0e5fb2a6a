"""Nothing goes back to the host inside what runs on an accelerator."""

import json
import os
import subprocess
import sys

import pytest

from tests.agent.two_devices import CASES
from util.config import ROOT

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `host_transfers` saw, by agent."""
    path = tmp_path_factory.mktemp("transfers") / "found.json"
    command = [sys.executable, "-m", "tests.agent.host_transfers", str(path)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(path.read_text())


AGENTS = (*CASES, "eval")


@pytest.mark.parametrize("agent", AGENTS)
def test_only_arguments_and_results_cross_between_the_devices(found, agent):
    assert found[agent]["crossings"] == []


@pytest.mark.parametrize("agent", AGENTS)
def test_a_gpu_can_do_every_operation(found, agent):
    assert found[agent]["host only"] == []


@pytest.mark.parametrize("agent", AGENTS)
def test_nothing_that_a_gpu_computes_is_wanted_in_host_memory(found, agent):
    assert found[agent]["to host"] == []


@pytest.mark.parametrize("agent", AGENTS)
def test_cloning_and_sampling_are_one_operation_each(found, agent):
    """Matrix products are seen only where XLA does not compile everything."""
    learns_without_xla = agent.startswith("ppo")
    assert ("MatMul" in found[agent]["operations"]) == learns_without_xla


@pytest.mark.parametrize("agent", [case for case in CASES if case.startswith("ppo")])
def test_one_number_is_read_after_each_minibatch(found, agent):
    """That is the KL divergence, on which it depends whether there is a next one."""
    assert found[agent]["reads"] == found[agent]["minibatches"] > 1


def test_what_agents_must_not_have_would_be_found(found):
    assert any("PyFunc" in o for o in found["through_python"]["host only"])
    assert found["through_host"]["crossings"]
    assert found["loop_on_values"]["to host"]
