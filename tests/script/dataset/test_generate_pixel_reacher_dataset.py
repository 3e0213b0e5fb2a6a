"""The scripted demonstrator of the pixel reacher and the data set it makes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from agent.dataset.sequence import StitchedSequenceDataset
from env.pixel_reacher import LINKS, MAX_STEPS, PixelReacher
from script.dataset import generate_pixel_reacher_dataset as module
from tests.rendering import need_working_renderer


def tip_of(angles):
    first, second = LINKS
    both = angles[0] + angles[1]
    return np.array(
        [
            first * np.cos(angles[0]) + second * np.cos(both),
            first * np.sin(angles[0]) + second * np.sin(both),
        ]
    )


def test_angles_bring_the_tip_to_the_target_with_the_elbow_on_one_side():
    rng = np.random.default_rng(0)
    for radius, angle in zip(
        rng.uniform(0.03, 0.2, 50), rng.uniform(-np.pi, np.pi, 50), strict=True
    ):
        target = radius * np.array([np.cos(angle), np.sin(angle)])
        angles = module.solve_angles(target)
        np.testing.assert_allclose(tip_of(angles), target, atol=1e-9)
        assert 0 <= angles[1] <= 3.0
        assert abs(angles[0]) <= np.pi


@pytest.mark.parametrize("target", [[0.0, 0.0], [0.0, 0.01], [0.3, 0.0]])
def test_targets_out_of_reach_are_approached(target):
    target = np.array(target)
    reach = np.clip(np.linalg.norm(target), 0.0272, sum(LINKS))
    tip = tip_of(module.solve_angles(target))
    assert np.linalg.norm(tip) == pytest.approx(reach, abs=1e-4)


def test_success_is_a_whole_chunk_at_the_target():
    rewards = np.zeros((3, MAX_STEPS))
    rewards[0, 4:8] = 1
    rewards[1, 5:9] = 1  # four steps, but of two chunks
    rewards[2, 48:] = 1  # the last chunk has two steps
    episodes = module.summarise(rewards.reshape(-1))
    assert episodes["success"].tolist() == [True, False, False]
    assert episodes["reward"].tolist() == [4, 4, 2]


def test_no_demonstration_is_refused(tmp_path):
    with pytest.raises(ValueError, match="n_demos must be >= 1, got 0"):
        module.generate(tmp_path, 0, seed=0)


@pytest.mark.full
def test_the_demonstrator_succeeds_and_chance_does_not():
    rates = []
    for act in (module.Demonstrator(), module.act_at_random):
        data, distances = module.roll_out(act, 20, 0, "", blank=True)
        rates.append(module.summarise(data["rewards"])["success"].mean())
        np.testing.assert_array_equal(distances < 0.03, data["rewards"] == 1)
    assert rates[0] == 1.0
    assert rates[1] < 0.3


@pytest.mark.full
def test_episodes_differ_in_manner():
    env = PixelReacher(blank=True)
    env.reset(seed=0)
    env.data.qpos[:2] = module.solve_angles(env.target) + 0.1
    actions = [
        module.Demonstrator(tremor=0.0)(env, np.random.default_rng(seed))
        for seed in range(5)
    ]
    assert len(np.unique(actions, axis=0)) == 5
    assert -1 < np.min(actions) <= np.max(actions) < 0


@pytest.mark.full
def test_the_data_set_is_complete_and_can_be_made_again(tmp_path):
    need_working_renderer()
    for name in ("first", "second"):
        # A process of its own, because TensorFlow is loaded in this one.
        options = ["--n_demos=2", "--seed=3", f"--save_dir={tmp_path / name}"]
        command = [sys.executable, module.__file__, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "2 episodes, reward" in done.stdout
    first, second = (np.load(tmp_path / n / "train.npz") for n in ("first", "second"))
    assert set(first) == {
        *("states", "actions", "images", "rewards", "terminals", "traj_lengths")
    }
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    assert (first["images"].dtype, first["images"].shape[1:]) == (np.uint8, (3, 64, 64))
    assert not first["terminals"].any()
    source = json.loads((tmp_path / "first" / "source.json").read_text())
    assert (source["source"], source["seed"], source["steps"]) == ("generated", 3, 100)
    data = StitchedSequenceDataset(
        tmp_path / "first" / "train.npz", horizon_steps=4, use_img=True
    )
    batch = data.gather(np.array([0, 50]))
    assert len(data) == 2 * (MAX_STEPS - 3)
    np.testing.assert_array_equal(batch.conditions["rgb"][0, 0], first["images"][0])
    np.testing.assert_array_equal(batch.actions[1], first["actions"][53:57])
