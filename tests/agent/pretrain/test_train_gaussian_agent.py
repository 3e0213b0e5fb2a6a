import numpy as np
import pytest
import tensorflow as tf

from agent.pretrain.train_agent import IMAGE_BLOCK_SIZE
from agent.pretrain.train_gaussian_agent import TrainGaussianAgent
from tests.agent.tiny import changed, tiny_config, weights, write_dataset
from util.checkpoint import load_policy
from util.metrics import read_metrics

PREDICTED_STD = ("model.network.fixed_std=null", "model.network.std_max=0.5")


def make_agent(tmp_path, *overrides, kind="pretrain gaussian"):
    """4 episodes of 10 steps in chunks of 4: 28 items."""
    path = write_dataset(tmp_path / "train.npz")
    options = (f"train_dataset_path={path}", "model.network.mlp_dims=[16]")
    cfg = tiny_config(kind, tmp_path / "run", *options, *overrides)
    return TrainGaussianAgent(cfg)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Each epoch is a block of two steps and a single one."""
    folder = tmp_path_factory.mktemp("pretrain_gaussian")
    agent = make_agent(
        folder,
        *PREDICTED_STD,
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
    assert agent.run_block.experimental_get_tracing_count() == 1
    assert agent.run_step.experimental_get_tracing_count() == 1
    assert agent.validate_batch.experimental_get_tracing_count() == 1


def test_images_are_learned_from_in_blocks_of_rows(tmp_path, monkeypatch):
    agent = make_agent(
        tmp_path, "model.network.augment=False", kind="pretrain gaussian img"
    )
    assert agent.block_size == IMAGE_BLOCK_SIZE
    kept = []
    monkeypatch.setattr(agent.learner, "apply", kept.append)
    rows, still = tf.constant([5, 1, 7, 0, 9, 2, 3, 8]), tf.constant(0.0)
    for size in (None, 3):  # the last block is smaller

        def step(size=size):
            agent.block_size = size  # read while the function is traced
            metrics = agent._run_step(agent.tensors, rows, still, None)
            return metrics, kept.pop()

        metrics, grads = tf.function(step)()
        if size is None:
            expected, whole = metrics, grads
    assert expected.keys() == metrics.keys() == {"loss", "entropy"}
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)
    for grad, target in zip(grads, whole, strict=True):
        largest = np.abs(target).max()
        np.testing.assert_allclose(grad, target, atol=1e-5 * largest)


def test_only_images_are_learned_from_without_xla(compiled, tmp_path):
    seeing = make_agent(tmp_path, kind="pretrain gaussian img")
    for agent, is_xla in ((compiled[0], True), (seeing, False)):
        assert agent.run_step.function_spec.jit_compile == is_xla


def test_nothing_is_dropped_in_validation(tmp_path):
    agent = make_agent(tmp_path, "model.network.dropout=0.5", "train.train_split=0.9")
    rows = np.arange(3)
    found = [float(agent.validate_batch(agent.tensors, rows)) for _ in range(2)]
    assert found[0] == found[1]
    trained = [float(agent.loss(_batch(agent, rows))[0]) for _ in range(2)]
    assert trained[0] != trained[1]


def _batch(agent, rows):
    return agent.dataset.gather_tensors(agent.tensors, rows, *agent.dataset.sizes)


def test_metrics_are_those_of_the_reference(compiled):
    rows = read_metrics(compiled[1] / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert set(rows[0]) == {
        "step",
        "time",
        "loss - train",
        "loss - val",
        "entropy - train",
        "lr",
    }


def test_training_moves_every_parameter_but_the_bounds(compiled):
    agent, _, before = compiled
    bounds = {"network.logvar_min", "network.logvar_max"}
    assert changed(before, weights(agent.model)) == set(before) - bounds


def test_checkpoint_holds_weights_and_average(compiled):
    agent, folder, _ = compiled
    policy = load_policy(folder)
    assert not changed(policy.weights, weights(agent.model))
    assert not changed(policy.ema, weights(agent.ema.average))
    assert policy.meta["network"]["class"] == "Gaussian_MLP"


def test_loss_is_the_likelihood_minus_the_entropy_bonus(tmp_path, eager):
    agent = make_agent(tmp_path, *PREDICTED_STD, "train.ent_coef=0.5")
    batch = agent.dataset.gather(np.arange(3))
    loss, metrics = agent.loss(batch)
    plain, _ = agent.model.loss(batch.actions, batch.conditions)
    expected = float(plain) - 0.5 * float(metrics["entropy"])
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["pretrain gaussian", "pretrain gmm"])
def test_cloning_lowers_the_loss(tmp_path, kind):
    options = ("train.n_epochs=30", "train.learning_rate=0.01", "train.batch_size=28")
    make_agent(tmp_path, *options, kind=kind).run()
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = [row["loss - train"] for row in rows]
    assert losses[-1] < losses[0] - 5.0
