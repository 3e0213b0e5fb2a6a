import numpy as np
import pytest

from tests.agent.finetune.gaussian_baselines import Requests, trained
from tests.agent.runs import final_states, make_agent, returns, traces
from tests.agent.tiny import changed, weights

KIND = "rwr gaussian"
RATE = ("train.lr=0.01", "train.lr_scheduler.min_lr=0.01")


def test_whole_chunks_are_remembered(tmp_path, eager):
    agent = make_agent(KIND, tmp_path)
    chunks, extras = agent.act({"state": np.zeros((2, 1, 3))}, explore=True)
    assert chunks.shape == (2, 2, 2)
    np.testing.assert_array_equal(extras["samples"], chunks)


def test_a_chunk_takes_one_draw_and_its_loss_none(tmp_path, eager):
    agent = make_agent(KIND, tmp_path)
    asked = Requests(agent)
    agent.iterate()
    agent.iterate()
    assert asked.counts == [1] * 8  # chunk steps of two iterations


def test_all_parameters_learn(tmp_path, eager):
    agent = make_agent(KIND, tmp_path)
    before = weights(agent.model)
    agent.iterate()
    agent.iterate()
    bounds = {"logvar_min", "logvar_max"}
    kept = set(before) - changed(before, weights(agent.model))
    assert {key.rpartition(".")[2] for key in kept} <= {*bounds, "logvar"}


def test_a_resumed_run_equals_the_straight_one(tmp_path, eager):
    straight, halves = final_states(KIND, tmp_path)
    assert changed(straight["model"], halves["model"]) == set()


@pytest.mark.full
def test_fine_tuned_policy_earns_more(tmp_path):
    agent = trained(KIND, tmp_path, *RATE, "train.beta=2", "train.update_epochs=5")
    first, last = returns(tmp_path)
    assert last > first + 3.0
    assert set(traces(agent).values()) == {1}
    blocks = (agent.rounds.single, agent.rounds.block)
    assert max(f.experimental_get_tracing_count() for f in blocks) == 1
