from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

from tests.cfg.fixed import CFG, compose_leaf, fixed_surroundings
from tests.script.fake_agent import FakeChild, FakeModel
from util import config
from util.config import (
    ROOT,
    compose,
    digest,
    finish,
    instantiate,
    prepare_environment,
    register_resolvers,
    rewrite_override,
)
from util.config_schema import TARGET_ALIASES

LEAF = "gym/pretrain/hopper-medium-v2/pre_diffusion_mlp.yaml"
MODEL = "tests.script.fake_agent.FakeModel"
CHILD = "tests.script.fake_agent.FakeChild"

# A complete YAML as the reference writes them, for the same experiment as LEAF.
OLD_STYLE = """
defaults:
  - _self_
hydra:
  run:
    dir: ${logdir}
_target_: agent.pretrain.train_diffusion_agent.TrainDiffusionAgent

name: ${env}_pre_diffusion_mlp_ta${horizon_steps}_td${denoising_steps}
logdir: ${oc.env:DPPO_LOG_DIR}/gym-pretrain/${name}/${now:%Y-%m-%d}_${now:%H-%M-%S}_${seed}
train_dataset_path: ${oc.env:DPPO_DATA_DIR}/gym/${env}/train.npz

seed: 42
device: cuda:0
env: hopper-medium-v2
obs_dim: 11
action_dim: 3
denoising_steps: 20
horizon_steps: 4
cond_steps: 1

wandb:
  entity: ${oc.env:DPPO_WANDB_ENTITY}
  project: gym-${env}-pretrain
  run: ${now:%H-%M-%S}_${name}

train:
  n_epochs: 200
  batch_size: 128
  learning_rate: 1e-3
  weight_decay: 1e-6
  lr_scheduler:
    first_cycle_steps: 200
    warmup_steps: 1
    min_lr: 1e-4
  save_model_freq: 100

model:
  _target_: model.diffusion.diffusion.DiffusionModel
  predict_epsilon: True
  denoised_clip_value: 1.0
  network:
    _target_: model.diffusion.mlp_diffusion.DiffusionMLP
    time_dim: 16
    mlp_dims: [512, 512, 512]
    activation_type: ReLU
    out_activation_type: Identity
    use_layernorm: False
    residual_style: True
    cond_dim: ${eval:'${obs_dim} * ${cond_steps}'}
    horizon_steps: ${horizon_steps}
    action_dim: ${action_dim}
  horizon_steps: ${horizon_steps}
  obs_dim: ${obs_dim}
  action_dim: ${action_dim}
  denoising_steps: ${denoising_steps}
  device: ${device}

ema:
  decay: 0.995

train_dataset:
  _target_: agent.dataset.sequence.StitchedSequenceDataset
  dataset_path: ${train_dataset_path}
  horizon_steps: ${horizon_steps}
  cond_steps: ${cond_steps}
  device: ${device}
"""  # noqa: E501 - as long as the reference has it


@pytest.fixture
def mine(tmp_path):
    """Writes a config of the user's own and returns its folder."""

    def write(text: str) -> Path:
        (tmp_path / "mine.yaml").write_text(text)
        return tmp_path

    return write


def test_old_style_yaml_composes_equally(mine, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("DPPO_DATA_DIR", "DPPO_LOG_DIR", "DPPO_WANDB_ENTITY"):
        monkeypatch.delenv(name, raising=False)
    theirs = compose(mine(OLD_STYLE), "mine", ["device=auto"])
    ours = compose_leaf(LEAF)
    with fixed_surroundings():
        assert OmegaConf.to_container(theirs, resolve=True) == OmegaConf.to_container(
            ours, resolve=True
        )
    assert digest(theirs) == digest(ours)


def test_numbers_in_e_notation_are_floats(mine):
    cfg = compose(mine("a: 1e-4\nb: 3E5\nc: 1.5e-03\nd: '1e-4'"), "mine", ["e=2e-6"])
    assert OmegaConf.to_container(cfg) == {
        "a": 1e-4,
        "b": 3e5,
        "c": 1.5e-3,
        "d": "1e-4",
        "e": 2e-6,
    }


def test_layers_are_found_from_any_folder(mine, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cfg = compose(mine("defaults: [/base/task/gym/walker2d, _self_]\na: 1"), "mine")
    assert (cfg.obs_dim, cfg.action_dim, cfg.a) == (17, 6, 1)


def test_relative_folder_and_name_with_suffix(monkeypatch):
    monkeypatch.chdir(ROOT)
    folder = (CFG / LEAF).parent.relative_to(ROOT)
    assert compose(folder, "pre_diffusion_mlp.yaml").obs_dim == 11


def test_overrides_need_no_plus():
    given = ["model.use_ddim=True", "model.ddim_steps=5", "cond_steps=2", "wandb=null"]
    cfg = compose_leaf(LEAF, tuple(given))
    assert cfg.model.use_ddim is True
    assert cfg.model.ddim_steps == 5
    assert cfg.model.network.cond_dim == 22
    assert cfg.wandb is None


def test_old_overrides_still_work():
    given = ("+train.val_freq=1", "++seed=1", "~wandb", "model.network.mlp_dims=[8,8]")
    cfg = compose_leaf(LEAF, given)
    assert (cfg.train.val_freq, cfg.seed) == (1, 1)
    assert "wandb" not in cfg
    assert cfg.model.network.mlp_dims == [8, 8]


def test_composes_within_a_running_app(mine):
    """The launcher does so to say which command makes a missing policy."""
    folder = str(mine("seed: 1"))
    with hydra.initialize_config_dir(folder, version_base=None):
        running = GlobalHydra.instance().hydra
        assert compose(folder, "mine").seed == 1
        assert GlobalHydra.instance().hydra is running is not None
        with pytest.raises(HydraException):
            compose(folder, "mine", ["seed=[1"])
        assert GlobalHydra.instance().hydra is running
    assert not GlobalHydra.instance().is_initialized()


def test_missing_config_lists_those_there(tmp_path):
    (tmp_path / "other.yaml").touch()
    with pytest.raises(FileNotFoundError, match=r"No config 'mine' .*: other"):
        compose(tmp_path, "mine")


def test_missing_layer_and_malformed_override_are_refused(mine):
    folder = mine("defaults: [/base/nothing]")
    with pytest.raises(HydraException, match="nothing"):
        compose(folder, "mine")
    with pytest.raises(HydraException):
        compose_leaf(LEAF, ("seed=[1",))


@pytest.mark.parametrize(
    ("given", "rewritten"),
    [
        ("seed=1", "++seed=1"),
        ("train.plotter.x=a=b", "++train.plotter.x=a=b"),
        ("list[0]=1", "++list[0]=1"),
        ("+seed=1", "+seed=1"),
        ("++seed=1", "++seed=1"),
        ("~seed", "~seed"),
        ("hydra.verbose=true", "hydra.verbose=true"),
        ("hydra/launcher=joblib", "hydra/launcher=joblib"),
        ("base/task=x", "base/task=x"),
        ("--multirun", "--multirun"),
        ("group=x", "group=x"),
    ],
)
def test_plain_overrides_alone_are_rewritten(tmp_path, given, rewritten):
    (tmp_path / "group").mkdir()
    assert rewrite_override(given, tmp_path) == rewritten


def test_folders_have_absolute_defaults(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPPO_DATA_DIR", raising=False)
    monkeypatch.setenv("DPPO_LOG_DIR", "~/runs")
    monkeypatch.setenv("HOME", "/home/me")
    prepare_environment()
    assert os.environ["DPPO_DATA_DIR"] == str(tmp_path / "data")
    assert os.environ["DPPO_LOG_DIR"] == "/home/me/runs"


@pytest.mark.parametrize("entity", ["me", None, ""])
def test_entity_is_null_unless_given(monkeypatch, entity):
    monkeypatch.delenv("DPPO_WANDB_ENTITY", raising=False)
    if entity is not None:
        monkeypatch.setenv("DPPO_WANDB_ENTITY", entity)
    cfg = OmegaConf.create({"wandb": {"entity": "${oc.env:DPPO_WANDB_ENTITY}"}})
    assert finish(cfg).wandb.entity == (entity or None)
    fixed = OmegaConf.create({"wandb": {"entity": "mine"}})
    assert finish(fixed).wandb.entity == "mine"
    assert finish(OmegaConf.create({"wandb": None})).wandb is None


def test_wrong_target_of_the_reference_is_replaced_and_told(caplog, monkeypatch):
    monkeypatch.setattr(config, "_noted", set())
    wrong, right = next(iter(TARGET_ALIASES.items()))
    cfg = OmegaConf.create({"model": {"_target_": wrong}, "a": [1], "b": None})
    with caplog.at_level(logging.INFO):
        assert finish(cfg).model._target_ == right
        finish(OmegaConf.create({"model": {"_target_": wrong}}))
    assert caplog.text.count(wrong) == 1


def test_resolvers_can_be_registered_again():
    register_resolvers()
    register_resolvers()
    cfg = OmegaConf.create({"a": 3, "b": "${mul:${a},${round_up:${a},2}}"})
    assert cfg.b == 6


def test_eval_in_a_config_runs_no_code(tmp_path):
    register_resolvers()
    target = tmp_path / "made"
    cfg = OmegaConf.create({"a": "${eval:\"open('" + str(target) + "', 'w')\"}"})
    with pytest.raises(ValueError, match="only plain arithmetic"):
        OmegaConf.resolve(cfg)
    assert not target.exists()


def test_instantiate_builds_nested_objects_from_plain_containers():
    node = OmegaConf.create(
        {
            "size": 3,
            "node": {
                "_target_": CHILD,
                "width": "${size}",
                "colour": "red",
                "inner": {"_target_": MODEL, "width": 2, "inner": [1, {"a": [2]}]},
            },
        }
    ).node
    built = instantiate(node, rate=0.5)
    assert isinstance(built, FakeChild)
    assert (built.width, built.rate) == (3, 0.5)
    assert type(built.inner) is FakeModel
    assert type(built.inner.inner) is list
    assert type(built.inner.inner[1]["a"]) is list


def test_instantiate_raises_the_constructors_own_error():
    node = {"_target_": CHILD, "width": 1, "inner": {"_target_": MODEL, "width": 0}}
    with pytest.raises(ValueError, match=r"width must be >= 1, got 0.") as error:
        instantiate(node)
    assert "inner" in " ".join(error.value.__notes__) or error.value.__notes__


def test_instantiate_refuses_unknown_targets_and_missing_values():
    with pytest.raises(ValueError, match="not importable"):
        instantiate({"_target_": "no.Where"})
    with pytest.raises(Exception, match="width"):
        instantiate(OmegaConf.create({"_target_": MODEL, "width": "???"}))


BASE = {"name": "a", "seed": 1, "train": {"lr": 1.0}, "model": {"device": "auto"}}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"logdir": "x"},
        {"wandb": {"entity": "me"}},
        {"resume": "auto"},
        {"data": {"source": "local"}},
        {"device": "cpu"},
        {"model": {"device": "cuda:0"}},
        {"train": {"lr": 1}},
    ],
)
def test_digest_ignores_what_does_not_make_another_experiment(change):
    assert digest({**BASE, **change}) == digest(BASE)


@pytest.mark.parametrize(
    "change", [{"name": "b"}, {"train": {"lr": 2}}, {"compat": {"raw_weights": True}}]
)
def test_digest_sees_everything_else(change):
    assert digest({**BASE, **change}) != digest(BASE)
    assert len(digest(BASE)) == 16


def test_digest_is_equal_with_other_folders(monkeypatch):
    digests = set()
    for folder in ("/a/log", "/b/c/log/"):
        monkeypatch.setenv("DPPO_LOG_DIR", folder)
        path = f"{folder.rstrip('/')}/x.pt"
        digests.add(digest({"path": path, "list": [path], "logdir_like": "/a/logs"}))
    assert len(digests) == 1


def test_digest_of_resolved_and_unresolved_config_is_equal():
    with fixed_surroundings():
        cfg = compose_leaf(LEAF)
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert digest(cfg) == digest(plain)


def test_reading_configs_needs_no_tensorflow():
    code = "import sys, util.config; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
