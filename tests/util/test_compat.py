from __future__ import annotations

import re

import pytest

from util.compat import COMPAT, apply_compat, compat, compat_scope, reference
from util.config import ROOT


@pytest.fixture(autouse=True)
def _all_off():
    apply_compat({})
    yield
    apply_compat({})


def test_all_switches_are_off_by_default():
    assert not any(compat(name) for name in COMPAT)


def test_reference_turns_all_on_and_ends_with_its_block():
    with reference():
        assert all(compat(name) for name in COMPAT)
        with reference(False):
            assert not any(compat(name) for name in COMPAT)
        assert all(compat(name) for name in COMPAT)
    assert not any(compat(name) for name in COMPAT)


def test_scope_changes_the_named_switches_only():
    with reference(), compat_scope({"raw_weights": False}):
        assert not compat("raw_weights")
        assert compat("awr_broadcast")
    with compat_scope({"raw_weights": True}):
        assert compat("raw_weights")
        assert not compat("awr_broadcast")
    assert not compat("raw_weights")


def test_scope_ends_when_its_block_fails():
    with pytest.raises(KeyError), reference():
        raise KeyError
    assert not compat("raw_weights")


def test_config_sets_switches_and_forgets_earlier_ones():
    assert apply_compat({"compat": {"raw_weights": True}}) == ["raw_weights"]
    on = apply_compat({"reference": True, "compat": {"raw_weights": False}})
    assert set(on) == set(COMPAT) - {"raw_weights"}
    assert apply_compat({"compat": None}) == []


@pytest.mark.parametrize("use", [compat, lambda n: apply_compat({"compat": {n: True}})])
def test_unknown_switch_is_refused_with_the_nearest(use):
    with pytest.raises(ValueError, match="'raw_weigts'; the nearest is 'raw_weights'"):
        use("raw_weigts")


def test_unknown_switch_of_a_scope_is_refused():
    with pytest.raises(ValueError, match="nearest"), compat_scope({"nothing": True}):
        pass


@pytest.mark.parametrize("cfg", [{"reference": "yes"}, {"compat": {"raw_weights": 1}}])
def test_switch_values_must_be_bools(cfg):
    with pytest.raises(ValueError, match="must be true or false"):
        apply_compat(cfg)


def test_every_switch_is_described():
    assert all(name.isidentifier() and text for name, text in COMPAT.items())


def test_code_asks_for_existing_switches_only():
    asked = set()
    for folder in ("agent", "env", "model", "script", "util"):
        for file in (ROOT / folder).rglob("*.py"):
            asked |= set(
                re.findall(r"""\bcompat\(\s*["'](\w+)["']""", file.read_text())
            )
    assert asked
    assert asked <= COMPAT.keys()
