import pytest

from tests.agent.finetune.gaussian_baselines import ACTOR, CRITIC, Requests, trained
from tests.agent.runs import final_states, make_agent, returns, traces
from tests.agent.tiny import changed, moved

KIND = "awr gaussian"


def test_the_actor_waits_for_the_critic(tmp_path, eager):
    agent = make_agent(KIND, tmp_path)
    assert moved(agent, iterations=2) == {"critic"}
    agent = make_agent(KIND, tmp_path / "at once", "train.n_critic_warmup_itr=0")
    # The policy stands under two names.
    assert moved(agent, iterations=2) == {"network", "actor", "critic"}


def test_a_chunk_takes_one_draw_and_its_loss_none(tmp_path, eager):
    agent = make_agent(KIND, tmp_path)
    asked = Requests(agent)
    agent.iterate()
    agent.iterate()
    assert asked.counts == [1] * 8  # chunk steps of two iterations


def test_a_resumed_run_equals_the_straight_one(tmp_path, eager):
    straight, halves = final_states(KIND, tmp_path, iterations=3)
    assert changed(straight["model"], halves["model"]) == set()


def test_chunks_that_are_not_executed_to_their_end_are_refused(tmp_path):
    with pytest.raises(ValueError, match="act_steps must be horizon_steps=2, got 1"):
        make_agent(KIND, tmp_path, "act_steps=1")


@pytest.mark.full
def test_fine_tuned_policy_earns_more(tmp_path):
    options = (
        "train.beta=2",
        "train.replay_ratio=4",
        "train.scale_reward_factor=1",
        "train.n_critic_warmup_itr=0",
    )
    agent = trained(KIND, tmp_path, *ACTOR, *CRITIC, *options)
    first, last = returns(tmp_path)
    assert last > first + 3.0
    assert set(traces(agent, "value").values()) == {1}
