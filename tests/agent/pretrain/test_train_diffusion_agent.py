import numpy as np
import pytest

from agent.pretrain.train_diffusion_agent import TrainDiffusionAgent
from tests.agent.tiny import changed, tiny_config, weights, write_dataset
from util.checkpoint import load_policy, load_state
from util.metrics import read_metrics


def make_agent(tmp_path, *overrides):
    """4 episodes of 10 steps in chunks of 4: 28 items."""
    path = write_dataset(tmp_path / "train.npz")
    options = (f"train_dataset_path={path}", "model.network.mlp_dims=[16]")
    cfg = tiny_config("pretrain", tmp_path / "run", *options, *overrides)
    return TrainDiffusionAgent(cfg)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Each epoch is a block of two steps and a single one."""
    folder = tmp_path_factory.mktemp("pretrain")
    agent = make_agent(
        folder,
        "train.batch_size=9",
        "train.steps_per_call=2",
        "train.train_split=0.999",
        "train.val_freq=1",
        "train.epoch_start_ema=2",
    )
    before = weights(agent.model)
    agent.run()
    return agent, folder / "run", before


def test_compiled_functions_are_traced_once(compiled):
    agent, *_ = compiled
    assert (len(agent.dataset), len(agent.validation)) == (27, 1)
    assert agent.run_block.experimental_get_tracing_count() == 1
    assert agent.run_step.experimental_get_tracing_count() == 1
    assert agent.validate_batch.experimental_get_tracing_count() == 1


def test_metrics_are_those_of_the_reference(compiled):
    rows = read_metrics(compiled[1] / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {"step", "time", "loss - train", "loss - val", "lr"}
    assert all(np.isfinite(row["loss - train"]) for row in rows)


def test_training_moves_every_parameter(compiled):
    agent, _, before = compiled
    assert changed(before, weights(agent.model)) == set(before)


def test_checkpoint_holds_weights_average_and_description(compiled):
    agent, folder, _ = compiled
    policy = load_policy(folder)
    assert policy.step == 3
    assert not changed(policy.weights, weights(agent.model))
    assert not changed(policy.ema, weights(agent.ema.average))
    assert changed(policy.ema, policy.weights)
    meta = load_state(folder / "checkpoint" / "state_2")[1]
    assert (meta["horizon_steps"], meta["obs_dim"], meta["action_dim"]) == (4, 3, 2)
    assert meta["denoising_steps"] == 4
    assert meta["network"]["mlp_dims"] == [16]


def test_loss_is_the_denoising_loss(tmp_path, eager):
    agent = make_agent(tmp_path)
    batch = agent.dataset.gather(np.arange(3))
    noise = [np.array([0, 1, 3]), np.ones((3, 4, 2), np.float32)]
    loss, metrics = agent.loss(batch, noise)
    expected = agent.model.loss(batch.actions, batch.conditions, noise=noise)
    assert float(loss) == float(expected)
    assert metrics == {}


def test_history_of_observations(tmp_path, eager):
    agent = make_agent(tmp_path, "cond_steps=2", "train.n_epochs=1")
    agent.run()
    assert agent.model.network.get_config()["cond_dim"] == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("obs_dim=5", r"train\.npz: states have 3 columns, but obs_dim=5"),
        ("action_dim=3", r"train\.npz: actions have 2 columns, but action_dim=3"),
    ],
)
def test_data_of_another_task_are_refused(tmp_path, override, message):
    with pytest.raises(ValueError, match=message):
        make_agent(tmp_path, override)
