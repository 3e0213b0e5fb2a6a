"""Standing in for a missing checkpoint: which own run is taken, and which is not."""

import hashlib

import numpy as np
import pytest
from omegaconf import OmegaConf

from script import find_base_policy as module
from script.find_base_policy import (
    WantedPolicy,
    file_digest,
    find_base_policy,
    misfit,
    pretrain_command,
    wanted_policy,
)
from util.checkpoint import save_state
from util.run_folder import write_run

RUN = "hopper-medium-v2_pre_diffusion_mlp_ta4_td20"
SHAPES = {
    "obs_dim": 11,
    "action_dim": 3,
    "horizon_steps": 4,
    "cond_steps": 1,
    "denoising_steps": 20,
}
NETWORK = {"_target_": "a.Net", "mlp_dims": [8, 8], "cond_dim": "${obs_dim}"}


def config(tmp_path, run=RUN, bench="gym-pretrain", **changes):
    """A fine-tuning config whose base policy is not there."""
    path = tmp_path / bench / run / "2024-06-12_23-10-05" / "checkpoint"
    model = {"actor": NETWORK | {"fixed_std": 0.1}}
    values = SHAPES | {"base_policy_path": f"{path}/state_3000.pt", "model": model}
    return OmegaConf.create(values | changes)


def make_run(
    tmp_path, stamp, states=(100, 200), run=RUN, data=None, status="finished", **changes
):
    """A pre-training run with complete states."""
    folder = tmp_path / "gym-pretrain" / run / stamp
    for step in states:
        save_state(folder / "checkpoint" / f"state_{step}", {"w": np.zeros(1)}, {})
    (folder / "checkpoint").mkdir(parents=True, exist_ok=True)
    values = SHAPES | {"model": {"network": NETWORK}} | changes
    OmegaConf.save(OmegaConf.create(values), folder / "config.yaml")
    write_run(folder, status=status, data=data or {})
    return folder


def test_path_says_what_is_wanted(tmp_path):
    wanted = wanted_policy(config(tmp_path))
    assert wanted == WantedPolicy((tmp_path / "gym-pretrain",), RUN, 3000, True)


def test_config_that_changes_the_shape_wants_another_run(tmp_path):
    cfg = config(tmp_path, denoising_steps=100, horizon_steps=8)
    wanted = wanted_policy(cfg)
    assert wanted.run == "hopper-medium-v2_pre_diffusion_mlp_ta8_td100"
    assert not wanted.is_literal


def test_nested_bench_folders_are_all_searched(tmp_path):
    cfg = config(tmp_path, bench="gym-pretrain/gym-pretrain")
    outer = tmp_path / "gym-pretrain"
    assert wanted_policy(cfg).benches == (outer, outer / "gym-pretrain")


@pytest.mark.parametrize("path", ["policy.pt", "/a/checkpoint/best.pt", "/a/b/s_1.pt"])
def test_other_paths_say_nothing_about_runs(path):
    cfg = OmegaConf.create({"base_policy_path": path})
    assert wanted_policy(cfg) is None
    with pytest.raises(FileNotFoundError, match=r"no such checkpoint\. It must be"):
        find_base_policy(cfg)


def test_last_state_of_the_newest_run_is_taken(tmp_path):
    make_run(tmp_path, "2025-01-01_10-00-00_42")
    newest = make_run(tmp_path, "2025-01-02_10-00-00_42")
    state = find_base_policy(config(tmp_path))
    assert state == newest / "checkpoint" / "state_200"


def test_state_with_the_number_asked_for_comes_before_later_ones(tmp_path):
    run = make_run(tmp_path, "2025-01-01_10-00-00_42", states=(3000, 5000))
    assert find_base_policy(config(tmp_path)) == run / "checkpoint" / "state_3000"


def test_finished_run_comes_before_newer_unfinished_one(tmp_path):
    finished = make_run(tmp_path, "2025-01-01_10-00-00_42")
    unfinished = make_run(tmp_path, "2025-01-02_10-00-00_42", status="running")
    cfg = config(tmp_path)
    assert find_base_policy(cfg).parents[1] == finished
    (finished / "config.yaml").unlink()
    assert find_base_policy(cfg).parents[1] == unfinished


def test_run_in_a_subfolder_of_the_bench_is_found(tmp_path):
    run = make_run(tmp_path, "2025-01-01_10-00-00_42")
    cfg = config(tmp_path, bench="gym-pretrain/hopper")
    assert find_base_policy(cfg).parents[1] == run
    inner = make_run(tmp_path, "2025-01-01_10-00-00_42", run=f"hopper/{RUN}")
    run.rename(tmp_path / "elsewhere")
    assert find_base_policy(config(tmp_path)).parents[1] == inner


def test_own_runs_on_avoid_data_have_another_name(tmp_path):
    run = make_run(tmp_path, "2025-01-01_10-00-00_42", run="avoid_m2_pre_gmm_mlp_ta4")
    cfg = config(tmp_path, run="m2/avoid_d57_r12_pre_gmm_mlp_ta4")
    assert find_base_policy(cfg).parents[1] == run


def test_command_for_avoid_names_the_config_of_its_data_set(tmp_path):
    run = "m2/avoid_d57_r12_pre_gmm_mlp_ta4"
    cfg = config(tmp_path, run=run, bench="d3il-pretrain")
    with pytest.raises(FileNotFoundError) as refusal:
        find_base_policy(cfg)
    expected = "--config-name=pre_gmm_mlp --config-dir=cfg/d3il/pretrain/avoid_m2"
    assert str(refusal.value).endswith(expected)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"denoising_steps": 10}, r"denoising_steps \(10, wanted 20\)"),
        ({"obs_dim": 12}, r"obs_dim \(12, wanted 11\)"),
        (
            {"model": {"network": {"mlp_dims": [8]}}},
            r"network\.mlp_dims \(\[8\], wanted",
        ),
        ({"model": {"network": {"_target_": "a.Other"}}}, r"network\._target_"),
    ],
)
def test_run_of_another_shape_is_skipped_and_the_reason_given(
    tmp_path, changes, reason
):
    older = make_run(tmp_path, "2025-01-01_10-00-00_42")
    make_run(tmp_path, "2025-01-02_10-00-00_42", **changes)
    cfg = config(tmp_path)
    assert find_base_policy(cfg).parents[1] == older
    (older / "config.yaml").unlink()
    with pytest.raises(
        FileNotFoundError, match=f"02_10-00-00_42: it differs.*{reason}"
    ):
        find_base_policy(cfg)


def test_nested_networks_are_compared_where_both_say_something(tmp_path):
    nested = {"backbone": {"size": 1, "only_here": 2}, "std_min": 1}
    run = make_run(tmp_path, "2025-01-01_10-00-00_42", model={"network": nested})
    for size, expected in ((1, None), (2, "it differs in network.backbone.size")):
        actor = {"backbone": {"size": size, "only_there": 3}, "std_min": 2}
        found = misfit(config(tmp_path, model={"actor": actor}), run, None)
        assert found is None if expected is None else found.startswith(expected)


def test_run_whose_data_were_normalised_otherwise_is_skipped(tmp_path):
    normalization = tmp_path / "normalization.npz"
    normalization.write_bytes(b"ranges")
    digest = hashlib.sha256(b"ranges").hexdigest()
    for stamp, used in (("2025-01-01_1", digest), ("2025-01-02_1", "0" * 64)):
        data = {"train_dataset_path": {"normalization_sha256": used}}
        make_run(tmp_path, stamp, data=data)
    cfg = config(tmp_path)
    assert find_base_policy(cfg, normalization).parents[1].name == "2025-01-01_1"
    assert find_base_policy(cfg).parents[1].name == "2025-01-02_1"
    normalization.write_bytes(b"others")
    with pytest.raises(FileNotFoundError, match="normalised otherwise than"):
        find_base_policy(cfg, normalization)


def test_run_without_complete_state_or_config_is_skipped(tmp_path):
    empty = make_run(tmp_path, "2025-01-01_10-00-00_42", states=())
    (empty / "checkpoint" / "state_100").mkdir()
    bare = make_run(tmp_path, "2025-01-02_10-00-00_42")
    (bare / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        find_base_policy(config(tmp_path))
    message = str(caught.value)
    assert f"{empty}: it has no state" in message
    assert f"{bare}: its config.yaml cannot be read" in message


def test_message_has_the_command_that_makes_the_policy(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        find_base_policy(config(tmp_path))
    assert f"own pre-training run {RUN!r} fits (there is none)" in str(caught.value)
    assert str(caught.value).endswith(
        "\n    python script/run.py --config-name=pre_diffusion_mlp "
        "--config-dir=cfg/gym/pretrain/hopper-medium-v2"
    )


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (
            "walker2d-medium-v2_pre_diffusion_mlp_ta4_td100",
            "--config-dir=cfg/gym/pretrain/walker2d-medium-v2 denoising_steps=100",
        ),
        (
            "halfcheetah-medium-v2_pre_diffusion_mlp_ta1_td20",
            "--config-dir=cfg/gym/pretrain/halfcheetah-medium-v2 horizon_steps=1",
        ),
        ("mine", "cfg/gym/pretrain/<task> name=mine"),
    ],
)
def test_command_sets_what_the_leaf_has_otherwise(tmp_path, run, expected):
    wanted = WantedPolicy((tmp_path / "gym-pretrain",), run, 200, True)
    assert pretrain_command(wanted).endswith(expected)


def test_leaf_that_does_not_compose_is_passed_over(tmp_path, monkeypatch):
    leaf = tmp_path / "cfg" / "gym" / "pretrain" / "task" / "pre_x.yaml"
    leaf.parent.mkdir(parents=True)
    leaf.write_text("defaults: [/no/such/layer]\n")
    monkeypatch.setattr(module, "search_path", lambda: [tmp_path / "cfg"])
    wanted = WantedPolicy((tmp_path / "gym-pretrain",), "task_pre_x_ta4", 1, True)
    assert "<name>" in pretrain_command(wanted)


def test_digest_of_an_unreadable_file_is_none(tmp_path):
    assert file_digest(tmp_path / "absent") is None
