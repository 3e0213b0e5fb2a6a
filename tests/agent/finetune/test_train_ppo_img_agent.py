import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from agent.common.rollout import RolloutPlan
from agent.finetune.train_ppo_agent import TrainPPOAgent
from model.common.vision import LARGEST_SHIFT
from tests.agent.tiny import eagerly, moved, record_losses, tiny_config, trained_row
from util.config import compat_scope, resolve_target

KINDS = ("ppo img", "ppo gaussian img")


def make_agent(tmp_path, kind="ppo img", *overrides):
    cfg = tiny_config(kind, tmp_path / "run", *overrides)
    agent = resolve_target(cfg._target_)(cfg)
    agent.logger.console = lambda *_: None
    return agent


def collect(agent):
    plan = RolloutPlan(agent.n_steps, reset=True)
    return agent.collector.collect(plan, lambda obs: agent.act(obs, explore=True))


@pytest.fixture(autouse=True)
def _line_by_line(request):
    if request.node.get_closest_marker("full"):
        yield
        return
    with eagerly():
        yield


# -- frames ----------------------------------------------------------------------------


def offset(image, moved_image):
    """Where all pixels of an image have gone, edges repeated."""
    size, pad = image.shape[-1], LARGEST_SHIFT
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    return [
        (dx, dy)
        for dy in range(2 * pad + 1)
        for dx in range(2 * pad + 1)
        if (padded[:, dy : dy + size, dx : dx + size] == moved_image).all()
    ]


def test_frames_are_shifted_once_and_stay_bytes(tmp_path):
    agent = make_agent(tmp_path)
    rollout = collect(agent)
    before = rollout.obs["rgb"].copy()
    frames = agent.score(rollout)["obs"]["rgb"].numpy()
    assert frames.dtype == np.uint8
    assert (rollout.obs["rgb"] == before).all()
    pairs = zip(before.reshape(-1, 3, 16, 16), frames[:, 0], strict=True)
    assert all(offset(image, shifted) for image, shifted in pairs)
    assert (frames != before.reshape(frames.shape)).any()


def test_frames_are_kept_as_they_are_without_augmentation(tmp_path):
    agent = make_agent(tmp_path, "ppo img", "train.augment=false")
    rollout = collect(agent)
    data = agent.score(rollout)
    frames = rollout.obs["rgb"].reshape(data["obs"]["rgb"].shape)
    assert (data["obs"]["rgb"].numpy() == frames).all()
    recorded = rollout.extras["logprobs"].reshape(data["logprobs"].shape)
    assert (data["logprobs"].numpy() == recorded).all()


def test_frames_of_the_next_iteration_take_the_same_memory(tmp_path):
    agent = make_agent(tmp_path)
    first = agent.score(collect(agent))["obs"]["rgb"]
    assert agent.score(collect(agent))["obs"]["rgb"] is first


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_scored_on_the_frames_that_are_learned_from(tmp_path, kind):
    agent, losses = make_agent(tmp_path, kind, "train.update_epochs=1"), []
    record_losses(agent, losses)
    agent.itr = 1
    agent.update(collect(agent))
    assert float(losses[0].ratio) == pytest.approx(1.0, abs=1e-5)
    assert abs(float(losses[0].approx_kl)) < 1e-6


def test_slices_do_not_change_scores_or_frames(tmp_path):
    results = []
    for size in (3, 100):
        agent = make_agent(tmp_path, "ppo img", f"train.logprob_batch_size={size}")
        results.append(agent.score(collect(agent)))
    one, other = results
    assert (one["obs"]["rgb"].numpy() == other["obs"]["rgb"].numpy()).all()
    np.testing.assert_allclose(one["logprobs"], other["logprobs"], atol=1e-5)


def test_values_are_those_of_images_as_they_are(tmp_path):
    agent = make_agent(tmp_path, "ppo img", "model.critic.augment=true")
    obs = agent.observations(collect(agent).obs)
    assert (agent.values_of(obs) == agent.values_of(obs)).all()


MEMORY = """
import os
import threading
from pathlib import Path
import numpy as np
import tensorflow as tf
from agent.common.rollout import _Rows
from model.common.modules import shift_images
from agent.finetune.train_ppo_img_agent import TrainPPOImgAgent
from util.seeding import HostDraws

over, seen = threading.Event(), []

def resident():  # bytes; the peak that the system keeps is 0 on some machines
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

def watch():
    while not over.wait(0.002):
        seen.append(resident())

agent = object.__new__(TrainPPOImgAgent)
agent.augment, agent.frames, agent.slice_size = True, None, 500
agent.draws = HostDraws(np.random.default_rng(0))
agent.shift = tf.function(shift_images)
image = {"state": np.zeros((50, 1, 3), np.float32),
         "rgb": np.ones((50, 1, 6, 96, 96), np.uint8)}
warm = {key: value[None] for key, value in image.items()}
agent.observations(warm)
agent.frames = None
start, rows = resident(), _Rows(120)
watcher = threading.Thread(target=watch)
watcher.start()
for _ in range(120):
    rows.add(image)
obs = rows.packed()
for _ in range(2):
    agent.observations(obs)
over.set()
watcher.join()
print(max(seen) - start, obs["rgb"].nbytes)
"""


@pytest.mark.full
def test_an_iteration_holds_its_frames_twice_and_no_more():
    found = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    grown, frames = map(int, found.stdout.split())
    # The rest are slices of 500 rows and what TensorFlow keeps for itself.
    assert -0.1 * frames < grown - 2 * frames < 300e6


# -- accumulated gradients -------------------------------------------------------------


def gradients_of(agent, data, groups, complete=True):
    params = tf.nest.flatten([g.params for g in agent.learners.values()])
    rows = np.zeros((agent.accumulate, len(groups[0])), np.int64)
    rows[: len(groups)] = groups
    inputs = {"count": tf.constant(len(groups)), "complete": tf.constant(complete)}
    return agent.gradients(data, tf.constant(rows), inputs, params)


def single(agent, data, rows):
    params = tf.nest.flatten([g.params for g in agent.learners.values()])
    return TrainPPOAgent.gradients(agent, data, tf.constant(rows), {}, params)


def scored(agent):
    rollout = collect(agent)
    data = agent.score(rollout)
    size = rollout.rewards.size
    numbers = np.random.default_rng(1).normal(size=(3, size)).astype(np.float32)
    names = ("returns", "values", "advantages")
    return data | {k: tf.constant(v) for k, v in zip(names, numbers, strict=True)}


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def combined(grads, weight):
    return [None if g[0] is None else weight * sum(g) for g in zip(*grads, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_takes_the_mean_gradient_of_its_minibatches(tmp_path, kind):
    agent = make_agent(tmp_path, kind)
    data, groups = scored(agent), [[0, 1, 2], [5, 3, 4]]
    losses, found = gradients_of(agent, data, groups)
    alone = [single(agent, data, rows) for rows in groups]
    assert_close(found, combined([grads for _, grads in alone], 0.5))
    np.testing.assert_allclose(losses.v_loss, [terms.v_loss for terms, _ in alone])


def test_the_last_step_of_an_epoch_may_have_fewer_minibatches(tmp_path):
    agent = make_agent(tmp_path)
    data = scored(agent)
    losses, found = gradients_of(agent, data, [[0, 1, 2]])
    assert losses.v_loss.shape == (1,)
    assert_close(found, single(agent, data, [0, 1, 2])[1])


def test_minibatches_are_grouped_in_order(tmp_path):
    agent = make_agent(tmp_path, "ppo img", "train.grad_accumulate=3")
    groups = list(agent.minibatches(np.arange(22)))
    assert [number for number, _ in groups] == [2, 5, 6]
    assert [rows.shape for _, rows in groups] == [(3, 3), (3, 3), (1, 3)]
    assert np.concatenate([rows.reshape(-1) for _, rows in groups]).tolist() == list(
        range(21)
    )


def test_each_minibatch_is_reported(tmp_path):
    agent, losses = make_agent(tmp_path, "ppo img", "train.update_epochs=1"), []
    record_losses(agent, losses)
    agent.itr = 1
    metrics = agent.update(collect(agent))
    assert len(losses) == 16 // 3
    mean = np.mean([float(terms.clipfrac) for terms in losses])
    assert metrics["clipfrac"] == pytest.approx(mean)


def test_reference_sums_gradients_and_carries_the_rest_over(tmp_path):
    with compat_scope({"image_gradient_sum": True}):
        agent = make_agent(tmp_path)
    data, groups = scored(agent), [[0, 1, 2], [5, 3, 4]]
    rest = single(agent, data, [6, 7, 8])[1]
    gradients_of(agent, data, [[6, 7, 8]], complete=False)
    alone = [single(agent, data, rows)[1] for rows in groups]
    found = gradients_of(agent, data, groups)[1]
    assert_close(found, combined([rest, *alone], 1.0))
    again = gradients_of(agent, data, groups)[1]
    assert_close(again, combined(alone, 1.0))


def test_reference_takes_no_step_on_an_incomplete_group(tmp_path):
    with compat_scope({"image_gradient_sum": True}):
        agent = make_agent(tmp_path)
    data = scored(agent)
    before = agent.model.critic.parameters()[0].numpy()
    agent.take_step(data, np.array([[0, 1, 2]]), 4)
    assert (agent.model.critic.parameters()[0].numpy() == before).all()
    agent.take_step(data, np.array([[0, 1, 2], [3, 4, 5]]), 1)
    assert (agent.model.critic.parameters()[0].numpy() != before).any()


def test_kl_limit_waits_until_the_actor_learns(tmp_path):
    agent = make_agent(tmp_path, "ppo img", "train.n_critic_warmup_itr=2")
    losses = gradients_of(agent, scored(agent), [[0, 1, 2]])[0]
    far = losses._replace(approx_kl=tf.constant(9.0))
    stops = []
    for agent.itr in range(4):
        stops.append(agent.exceeds_target(far))
    assert stops == [False, False, True, True]


# -- whole iterations ------------------------------------------------------------------


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_traced_once_and_train_actor_and_critic(tmp_path, kind):
    agent = make_agent(tmp_path, kind, "train.val_freq=9", "train.force_train=true")
    assert moved(agent, iterations=2) >= {"actor_ft", "critic"}
    assert agent.learn_step.experimental_get_tracing_count() == 1
    assert agent.value.experimental_get_tracing_count() == 1
    assert np.isfinite(trained_row(tmp_path / "run")["loss"])


def test_an_environment_without_images_is_refused(tmp_path):
    target = "_target_=agent.finetune.train_ppo_diffusion_img_agent"
    with pytest.raises(ValueError, match="observes no images .* agent without Img"):
        make_agent(
            tmp_path,
            "ppo",
            f"{target}.TrainPPOImgDiffusionAgent",
            "train.augment=true",
            "train.grad_accumulate=2",
        )


def test_accumulating_no_minibatch_is_refused(tmp_path):
    with pytest.raises(ValueError, match="grad_accumulate must be >= 1, got 0"):
        make_agent(tmp_path, "ppo img", "train.grad_accumulate=0")
