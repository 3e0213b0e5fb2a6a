import numpy as np
import pytest

from agent.common.replay import ReplayBuffer
from tests.agent.finetune.rounds_agents import KINDS, make_agent
from tests.agent.tiny import changed, eagerly, weights
from util.checkpoint import load_state
from util.config import compat_scope
from util.metrics import read_metrics


def parts(before, after):
    return {key.split(".")[0] for key in changed(before, after)}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_the_actor_waits_for_the_critic(tmp_path, kind):
    with eagerly():
        agent = make_agent(kind, tmp_path)
        before = weights(agent.model)
        agent.iterate()  # an evaluation
        assert parts(before, weights(agent.model)) == set()
        agent.iterate()
        learned = parts(before, weights(agent.model))
        assert {name.split("_")[0] for name in learned} >= {"critic"}
        assert not {"actor", "network"} & learned
        agent.iterate()
        assert {"actor", "network"} <= parts(before, weights(agent.model))


def test_an_iteration_takes_as_many_rounds_as_the_replay_ratio_says(tmp_path, kind):
    labels = []
    with eagerly():
        agent = make_agent(kind, tmp_path)
        agent.trace = lambda label, **_: labels.append(label)
        agent.iterate()
        agent.iterate()
    # 8 rows, each learned from 4 times, in batches of 4.
    assert sum(label in ("round", "critic_round") for label in labels) == 8
    assert len(agent.buffer) == 8


def test_metrics_are_those_of_the_reference(tmp_path, kind):
    with eagerly():
        agent = make_agent(kind, tmp_path)
        agent.run()
    row = read_metrics(tmp_path / "metrics.jsonl")[-1]
    assert {
        "total env step",
        "loss - actor",
        "loss - critic",
        "avg episode reward - train",
        "num episode - train",
    } <= set(row)


def test_a_resumed_run_equals_the_straight_one(tmp_path, kind):
    with eagerly():
        make_agent(kind, tmp_path / "straight", save_last_minutes=0).run()
        agent = make_agent(kind, tmp_path / "halves", save_last_minutes=0)
        for _ in range(3):
            agent.iterate()
        agent.venv.close()
        folder = tmp_path / "halves"
        make_agent(kind, folder, save_last_minutes=0, resume=str(folder)).run()
    states = [
        load_state(tmp_path / name / "checkpoint" / "last")[0]
        for name in ("straight", "halves")
    ]
    assert changed(*(state["model"] for state in states)) == set()
    folders = [
        tmp_path / name / "checkpoint" / "buffer" for name in ("straight", "halves")
    ]
    buffers = [ReplayBuffer(100, folder) for folder in folders]
    for buffer, state in zip(buffers, states, strict=True):
        buffer.set_state(state["run"]["buffer"])
    assert changed(*(b.take(np.arange(len(b))) for b in buffers)) == set()


def test_schedules_go_on_in_every_iteration(tmp_path, kind):
    with eagerly():
        agent = make_agent(kind, tmp_path)
        agent.iterate()
    assert {
        g.scheduler.get_state()["step_in_cycle"] for g in agent.learners.values()
    } == {1}


@pytest.mark.full
def test_blocks_of_rounds_are_the_single_rounds(tmp_path):
    found = []
    for size in (1, 4):
        agent = make_agent("qsm", tmp_path / str(size), n_critic_warmup_itr=0)
        agent.rounds.per_block = size
        agent.iterate()
        agent.iterate()
        found.append(weights(agent.model))
        used = agent.rounds.block if size > 1 else agent.rounds.single
        assert used.experimental_get_tracing_count() == 1
    for key, value in found[0].items():
        np.testing.assert_allclose(found[1][key], value, atol=2e-5, err_msg=key)


def test_a_ratio_that_gives_no_round_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="replay_ratio=0.25 .* gives no batch for the 8"
    ):
        make_agent("dql", tmp_path, replay_ratio=0.25)


def test_reference_acts_on_the_last_observation_of_the_episode_before(tmp_path):
    with eagerly():
        plain = make_agent("qsm", tmp_path / "plain")
        with compat_scope({"final_obs_aliasing": True}):
            aliasing = make_agent("qsm", tmp_path / "aliasing")
            other = make_agent("dql", tmp_path / "other")
    assert aliasing.collector.acts_on_final_obs
    assert not plain.collector.acts_on_final_obs
    assert not other.collector.acts_on_final_obs


@pytest.mark.parametrize(
    "kind",
    [
        "qsm",
        *(pytest.param(k, marks=pytest.mark.full) for k in ("dql", "idql", "dipo")),
    ],
)
def test_rewards_of_several_steps_reach_the_critic(tmp_path, kind):
    with eagerly():
        agent = make_agent(kind, tmp_path, n_step=2)
        agent.iterate()
        agent.iterate()
        rows = agent.buffer.take(np.arange(len(agent.buffer)))
        # Of each environment the last step may wait for the reward that follows.
        assert 6 <= len(agent.buffer) <= 8
        assert set(rows["gamma"]) <= {np.float32(0.99), np.float32(0.99**2)}
        agent.iterate()
    assert len(agent.buffer) >= 14
    assert np.isfinite(list(agent.take_rounds(1).values())).all()


@pytest.mark.full
def test_a_resumed_run_goes_on_summing(tmp_path):
    with eagerly():
        straight = make_agent("dql", tmp_path / "straight", n_step=3)
        straight.run()
        settings = {"n_step": 3, "save_last_minutes": 0}
        first = make_agent("dql", tmp_path / "halves", **settings)
        for _ in range(3):
            first.iterate()
        first.venv.close()
        folder = str(tmp_path / "halves")
        second = make_agent("dql", tmp_path / "halves", resume=folder, **settings)
        second.run()
    assert changed(weights(straight.model), weights(second.model)) == set()
