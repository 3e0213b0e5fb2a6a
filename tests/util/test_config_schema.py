from __future__ import annotations

import keras
import pytest

from tests.script.fake_agent import (
    FakeAgent,
    FakeChild,
    FakeModel,
    OpenModel,
    make_model,
)
from util.config_schema import (
    ROOT_KEYS,
    Schema,
    dead_keys,
    resolve_target,
    root_schema,
    target_schema,
)


def test_constructor_parameters_are_the_keys():
    schema = target_schema(FakeModel)
    assert schema.keys == {"width", "rate", "inner"}
    assert not schema.is_open


def test_kwargs_are_followed_to_the_parent():
    assert target_schema(FakeChild).keys == {"depth", "width", "rate", "inner"}


def test_parent_is_not_followed_without_kwargs():
    class Closed(FakeModel):
        def __init__(self, size):
            super().__init__(size)

    class Heir(Closed):
        pass

    assert target_schema(Closed).keys == {"size"}
    assert target_schema(Heir).keys == {"size"}


def test_own_arguments_of_keras_are_no_keys():
    class Layer(keras.layers.Layer):
        def __init__(self, width, **kwargs):
            super().__init__(**kwargs)

    schema = target_schema(Layer)
    assert schema.keys == {"width"}
    assert not schema.is_open


def test_kwargs_that_are_kept_accept_anything():
    assert target_schema(OpenModel).is_open
    assert target_schema(OpenModel).accepts("whatever")


def test_class_without_constructor_and_function_are_understood():
    class Nothing:
        pass

    assert target_schema(Nothing).keys == frozenset()
    assert not target_schema(Nothing).is_open
    assert target_schema(make_model).keys == {"width"}


def test_dead_keys_are_inherited():
    assert dead_keys(FakeChild) == {"colour": "no network has one"}
    assert target_schema(FakeChild).accepts("colour")
    assert dead_keys(make_model) == {}


def test_root_takes_its_own_keys_and_the_agents():
    class Heir(FakeAgent):
        config_keys = frozenset({"train.more"})

    schema = root_schema(Heir)
    assert schema.keys >= ROOT_KEYS.keys() | {"train.more", "train.n_epochs"}
    assert not schema.is_open
    assert root_schema(OpenModel).is_open


def test_schema_accepts_keys_their_parents_and_wildcards():
    schema = Schema("x", frozenset({"a.b", "c.*"}), {"d.e": "dead"})
    assert [
        key for key in ("a", "a.b", "c", "c.x.y", "d", "d.e") if schema.accepts(key)
    ]
    assert not any(schema.accepts(key) for key in ("b", "a.c", "a.b.c", "d.f"))
    assert schema.free_under("c.x")
    assert not schema.free_under("a.b")


def test_every_root_key_has_its_meaning():
    assert all(len(text) > 5 for text in ROOT_KEYS.values())


def test_targets_are_found_in_modules_and_classes():
    assert resolve_target("tests.script.fake_agent.FakeModel") is FakeModel
    method = resolve_target("tests.script.fake_agent.FakeAgent.run")
    assert method is FakeAgent.run


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("tests.script.no_such_file.Agent", "No module named 'tests.script.no_such_f"),
        ("no_such_package.x.Agent", "No module named 'no_such_package'"),
        ("tests.script.fake_agent.Nobody", "has no attribute 'Nobody'"),
        ("tests.script.no_such_file.A.B", "No module named 'tests.script.no_such_file"),
        ("Agent", "expected module.Class"),
    ],
)
def test_target_that_cannot_be_imported_says_why(target, reason):
    with pytest.raises(ValueError, match="is not importable") as error:
        resolve_target(target)
    assert repr(target) in str(error.value)
    assert reason in str(error.value)


def test_target_whose_module_fails_says_why(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import no_such_module_at_all\n")
    (tmp_path / "broken_one.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="No module named 'no_such_module_at_all'"):
        resolve_target("needs_more.Agent")
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        resolve_target("broken_one.Agent")
