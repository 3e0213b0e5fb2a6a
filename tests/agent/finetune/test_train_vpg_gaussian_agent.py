import pytest

from tests.agent.finetune.gaussian_baselines import CRITIC, trained
from tests.agent.runs import final_states, make_agent, returns, run, traces
from tests.agent.tiny import changed, moved, trained_row

KIND = "vpg gaussian"
# Two minibatches of all chunks in a training iteration.
SMALL = ("train.n_steps=2", "train.batch_size=2", "train.n_train_itr=2")


def test_each_chunk_is_learned_from_once(tmp_path, eager):
    agent, seen = make_agent(KIND, tmp_path, *SMALL), []
    agent.trace = lambda label, **values: (
        seen.extend(values["rows"]) if label == "minibatch" else None
    )
    agent.run()
    assert sorted(seen) == [0, 1, 2, 3]


def test_further_epochs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"train\.update_epochs must be 1, got 2: no"):
        make_agent(KIND, tmp_path, "train.update_epochs=2")


def test_training_moves_actor_and_critic_but_not_the_base(tmp_path, eager):
    agent = make_agent(KIND, tmp_path, *SMALL)
    assert moved(agent, iterations=1) == set()  # an evaluation
    # The trained network stands under two names.
    assert moved(agent, iterations=1) == {"network", "actor_ft", "critic"}


def test_first_minibatch_is_of_the_policy_that_acted(tmp_path, eager):
    losses = []
    run(KIND, tmp_path, *SMALL, losses=losses)
    assert len(losses) == 2
    assert float(losses[0].ratio) == pytest.approx(1.0, abs=1e-5)
    assert float(losses[0].clipfrac) == 0.0


def test_loss_is_the_weighted_sum_of_its_terms(tmp_path, eager):
    losses = []
    run(KIND, tmp_path, *SMALL, "train.ent_coef=0.2", losses=losses)
    last = losses[-1]
    expected = last.pg_loss + 0.2 * last.entropy_loss + 0.5 * last.v_loss
    assert trained_row(tmp_path)["loss"] == pytest.approx(float(expected), rel=1e-6)


def test_a_resumed_run_equals_the_straight_one(tmp_path, eager):
    options = (*SMALL, "train.n_train_itr=4")
    straight, halves = final_states(KIND, tmp_path, *options, iterations=3)
    assert changed(straight["model"], halves["model"]) == set()


@pytest.mark.full
def test_fine_tuned_policy_earns_more(tmp_path):
    rate = ("train.actor_lr=0.003", "train.actor_lr_scheduler.min_lr=0.003")
    options = (*rate, *CRITIC, "model.actor.std_max=1")
    agent = trained(KIND, tmp_path, *options, iterations=24)
    first, last = returns(tmp_path)
    assert last > first + 3.0
    assert set(traces(agent, "value", "learn_step").values()) == {1}
