"""The study of the pixel reacher: what is done again, what counts as learned."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from script.studies import pixel_reacher as module
from tests.script.studies.finished import finish

COUNTS = {
    "random": 1,
    "demonstrator": 20,
    "diffusion": 15,
    "diffusion_blank": 2,
    "gaussian": 12,
    "gaussian_blank": 0,
}
"""Successes of 20 episodes."""


def episodes_of(label):
    success = np.arange(20) < COUNTS[label]
    found = {"success": success, "reward": 30.0 * success}
    if module.is_policy(label):
        found["pictures"] = np.full((module.CHUNKS, 3, 8, 8), 200, np.uint8)
    return found


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder of finished runs."""
    monkeypatch.setenv("DPPO_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("DPPO_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "log" / "studies" / "pixel_reacher"
    for name in module.POLICIES:
        finish(folder / name, [1.0, 0.5], "loss - train")
    return folder


@pytest.fixture
def commands(monkeypatch):
    """Commands that were to be run."""
    given = []
    monkeypatch.setattr(module, "run", given.append)
    monkeypatch.setattr(
        "script.studies.runs.run", lambda command, *_: given.append(command)
    )
    return given


@pytest.mark.parametrize(
    ("successes", "count", "expected"),
    [(0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (10, 10, (0.7225, 1.0))],
)
def test_the_interval_of_a_share_is_wilsons(successes, count, expected):
    assert module.wilson(successes, count) == pytest.approx(expected, abs=1e-4)


def test_episodes_are_summarised_with_intervals():
    found = {"success": np.array([True, False]), "reward": np.array([4.0, 8.0])}
    numbers = module.summarise(found)
    assert (numbers["episodes"], numbers["success_rate"]) == (2, 0.5)
    assert numbers["episode_reward"] == 6.0
    half = 1.96 * 2.0 / np.sqrt(2)
    assert numbers["episode_reward_interval"] == pytest.approx([6 - half, 6 + half])


def test_the_way_begins_at_chance_and_ends_at_the_demonstrator():
    table = {label: module.summarise(episodes_of(label)) for label in COUNTS}
    shares = module.shares_of_the_way(table, "success_rate")
    assert shares == pytest.approx(
        {
            "diffusion": 14 / 19,
            "diffusion_blank": 1 / 19,
            "gaussian": 11 / 19,
            "gaussian_blank": -1 / 19,
        }
    )
    assert module.is_learned(shares)
    assert not module.is_learned(shares | {"gaussian": 0.4})
    assert not module.is_learned(shares | {"gaussian_blank": 0.6})


def test_data_are_made_once(work, commands, tmp_path):
    module.make_data(7, seed=3)
    assert commands[0][1:3] == ["--n_demos=7", "--seed=3"]
    file = tmp_path / "data" / "pixel" / "reacher" / "train.npz"
    file.parent.mkdir(parents=True)
    file.touch()
    module.make_data(7, seed=3)
    assert len(commands) == 1


def test_evaluations_are_made_once(work, monkeypatch):
    made = []

    def play(label, episodes, seed):
        made.append((label, episodes, seed))
        return episodes_of(label)

    monkeypatch.setattr(module, "evaluate_scripted", play)
    results = [module.evaluate("random", work, 20, 5) for _ in range(2)]
    assert made == [("random", 20, 5)]
    np.testing.assert_array_equal(results[0]["success"], results[1]["success"])


def test_single_episodes_of_an_agent_are_kept(monkeypatch):
    rollout = SimpleNamespace(obs={"rgb": np.zeros((26, 2, 1, 3, 8, 8), np.uint8)})
    counted = SimpleNamespace(rewards=np.ones(4), success=np.zeros(4, bool))

    class Agent:
        def __init__(self, cfg):
            self.count_episodes = lambda rollout: counted

        def run(self):
            assert self.count_episodes(rollout) is counted

    monkeypatch.setattr(module, "resolve_target", lambda target: Agent)
    found = module.evaluate_policy(SimpleNamespace(_target_="some.Agent"))
    assert found["reward"].sum() == 4
    assert found["pictures"].shape == (module.CHUNKS, 3, 8, 8)


@pytest.mark.parametrize("label", ["diffusion", "gaussian_blank"])
def test_evaluations_compose(label, work):
    config, *overrides = module.evaluation(label, work, 50, 3)
    cfg = module.compose_evaluation(config, *overrides)
    assert cfg.env.specific.blank is module.is_blind(label)
    assert cfg.n_steps == 3 * module.CHUNKS
    assert cfg.n_steps * cfg.act_steps >= 3 * cfg.env.max_episode_steps
    assert cfg.model.network_path == str(work / label.partition("_")[0])


def test_the_result_has_all_numbers_and_no_folder_of_this_machine(
    work, commands, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(module, "evaluate", lambda label, *_: episodes_of(label))
    (tmp_path / "data" / "pixel" / "reacher").mkdir(parents=True)
    (tmp_path / "data" / "pixel" / "reacher" / "train.npz").touch()
    out = tmp_path / "pixel_reacher"
    assert module.main([f"--out={out}", "--episodes=20"]) == 0
    assert "diffusion: success rate 0.75, reward 22.5" in capsys.readouterr().out
    result = json.loads((out / "result.json").read_text())
    assert result["learned"] is True
    assert list(result["evaluations"]) == list(COUNTS)
    blind = result["evaluations"]["gaussian_blank"]
    assert "env.specific.blank=True" in blind["command"]
    assert "base_policy_path=RUNS/gaussian " in blind["command"]
    assert len(blind["config_digest"]) == 16
    assert [run["end"] for run in result["training"].values()] == [0.5, 0.5]
    single = json.loads((out / "episodes.json").read_text())
    assert sum(single["gaussian"]["success"]) == 12
    assert (out / "result.png").stat().st_size > 10_000
    for file in out.rglob("*.*"):
        if file.suffix != ".png":
            assert str(tmp_path) not in file.read_text(), file


def test_a_policy_that_did_not_learn_makes_the_exit_status_1(
    work, commands, monkeypatch, tmp_path
):
    few = episodes_of("random")

    def found(label, *_):
        return episodes_of(label) | (few if label == "gaussian" else {})

    monkeypatch.setattr(module, "evaluate", found)
    assert module.main([f"--out={tmp_path / 'out'}"]) == 1
    assert commands[0][0].endswith("generate_pixel_reacher_dataset.py")
