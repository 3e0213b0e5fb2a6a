from __future__ import annotations

import logging
import sys
import textwrap
import types

import pytest
from omegaconf import OmegaConf

from tests.script.fake_agent import FakeModel
from util import config_check
from util.config_check import check_keys, nearest_key
from util.config_schema import TARGET_ALIASES

AGENT = "tests.script.fake_agent.FakeAgent"
MODEL = "tests.script.fake_agent.FakeModel"
CHILD = "tests.script.fake_agent.FakeChild"
RATE = f"{{_target_: {MODEL}, rat: 3}}"


def config(text: str):
    return OmegaConf.create(f"_target_: {AGENT}\n{textwrap.dedent(text)}")


def complaint(cfg, overrides=()) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        check_keys(cfg, "my.yaml", overrides)
    return str(error.value)


class FakeWrapper(FakeModel):
    def __init__(self, env, normalization_path, n_obs_steps=1):
        pass


@pytest.fixture
def wrappers(monkeypatch):
    module = types.ModuleType("env.gym_utils")
    module.wrapper_dict = {"multi_step": FakeWrapper}
    monkeypatch.setitem(sys.modules, "env.gym_utils", module)


def test_known_keys_pass():
    check_keys(
        config(
            f"""
            name: a
            seed: 1
            wandb: null
            reference: true
            compat: {{raw_weights: true}}
            train: {{n_epochs: 1, learning_rate: 1e-3}}
            shape_meta: {{obs: {{rgb: {{shape: [1, 2]}}}}}}
            env: {{name: x, specific: {{anything: 1}}}}
            model:
              _target_: {CHILD}
              width: 3
              inner: {{_target_: {MODEL}, width: 1, _convert_: all}}
            hydra: {{run: {{dir: x}}}}
            """
        ),
        "my.yaml",
    )


@pytest.mark.parametrize(
    ("text", "key", "near"),
    [
        ("sead: 1", "sead", "seed"),
        ("train: {n_epoch: 1}", "train.n_epoch", "train.n_epochs"),
        ("n_epochs: 3", "n_epochs", "train.n_epochs"),
        ("compat: {raw_weight: true}", "compat.raw_weight", "compat.raw_weights"),
        ("seed: {a: 1}", "seed.a", None),
        ("wandb: {entitty: x}", "wandb.entitty", "wandb.entity"),
        (f"model: {{_target_: {CHILD}, widht: 3}}", "model.widht", "model.width"),
        (
            f"model: {{_target_: {CHILD}, inner: {{_target_: {MODEL}, wid: 3}}}}",
            "model.inner.wid",
            None,
        ),
        (
            f"model: {{_target_: {CHILD}, inner: [{RATE}]}}",
            "model.inner[0].rat",
            "model.inner[0].rate",
        ),
        (
            f"model: {{_target_: {CHILD}, inner: {{a: {RATE}}}}}",
            "model.inner.a.rat",
            "model.inner.a.rate",
        ),
    ],
)
def test_unknown_key_is_named_with_file_and_nearest(text, key, near):
    said = complaint(config(text))
    assert f"Unknown key {key!r} in my.yaml." in said
    if near:
        assert f"Did you mean {near!r}?" in said


def test_all_unknown_keys_are_told_at_once():
    said = complaint(config("sead: 1\ntrain: {n_epoch: 1}"))
    assert said.count("Unknown key") == 2


def test_override_is_named_as_the_place():
    said = complaint(config("train: {n_epoch: 1}"), ["++train.n_epoch=1"])
    assert "on the command line (train.n_epoch=1)" in said


def test_key_of_the_users_own_passes_if_something_refers_to_it():
    check_keys(config("hidden: 3\ntrain: {n_epochs: '${hidden}'}"), "my.yaml")
    check_keys(config("my: {a: {b: 3}}\ntrain: {n_epochs: '${my.a.b}'}"), "my.yaml")
    assert "'hidden'" in complaint(config("hidden: 3"))


def test_variable_that_nothing_reads_is_refused():
    said = complaint(config(f"rate: 3\nmodel: {{_target_: {MODEL}, width: 1}}"))
    assert "Did you mean 'model.rate'?" in said


def test_wrappers_take_what_their_classes_take(wrappers):
    good = "env: {wrappers: {multi_step: {normalization_path: null, n_obs_steps: 1}}}"
    check_keys(config(good), "my.yaml")
    said = complaint(config("env: {wrappers: {multi_step: {n_obs_step: 1}}}"))
    assert "'env.wrappers.multi_step.n_obs_steps'?" in said
    said = complaint(config("env: {wrappers: {multistep: {}}}"))
    assert "Did you mean 'env.wrappers.multi_step'?" in said
    assert "Unknown key 'env.wrappers.multi_step.env'" in complaint(
        config("env: {wrappers: {multi_step: {env: 1}}}")
    )
    check_keys(config("env: {wrappers: {multi_step: null}}"), "my.yaml")
    check_keys(config("env: {wrappers: null}"), "my.yaml")


def test_wrappers_that_cannot_be_imported_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "env.gym_utils", None)
    said = complaint(config("env: {wrappers: {multi_step: {}}}"))
    assert "env.wrappers in my.yaml: " in said


def test_missing_value_is_told():
    said = complaint(config("train: {n_epochs: '???'}"))
    assert said == "train.n_epochs must be given, it is ??? in my.yaml."


def test_config_without_target_has_nothing_to_run():
    with pytest.raises(ValueError, match=r"No _target_ in my.yaml: nothing to run."):
        check_keys(OmegaConf.create({"seed": 1}), "my.yaml")


@pytest.mark.parametrize(
    ("cfg", "place"),
    [
        (OmegaConf.create({"_target_": "no.Where"}), "_target_"),
        (config("model: {_target_: no.Where}"), "model._target_"),
    ],
)
def test_target_that_cannot_be_imported_is_named_with_its_file(cfg, place):
    said = complaint(cfg)
    assert f"{place} in my.yaml: _target_ 'no.Where' is not importable: " in said


def test_dead_keys_warn_once(caplog, monkeypatch):
    monkeypatch.setattr(config_check, "_warned", set())
    cfg = config(f"train: {{unused: 1}}\nmodel: {{_target_: {MODEL}, colour: 1}}")
    with caplog.at_level(logging.WARNING):
        check_keys(cfg, "my.yaml")
        check_keys(cfg, "my.yaml")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "train.unused has no effect on FakeAgent: nothing reads it",
        "model.colour has no effect on FakeModel: no network has one",
    ]


def test_alias_of_a_target_is_followed(monkeypatch):
    monkeypatch.setitem(TARGET_ALIASES, "wrong.Model", MODEL)
    check_keys(config("model: {_target_: wrong.Model, width: 1}"), "my.yaml")


def test_interpolation_that_cannot_be_resolved_is_left_to_resolving():
    check_keys(config("train: {n_epochs: '${nowhere}'}"), "my.yaml")


def test_nearest_key_prefers_the_same_parent():
    known = {"a.width", "b.width", "train.n_steps", "x.*"}
    assert nearest_key("b.widt", known) == "b.width"
    assert nearest_key("n_steps", known) == "train.n_steps"
    assert nearest_key("trian.n_steps", known) == "train.n_steps"
    assert nearest_key("zzz", known) is None
