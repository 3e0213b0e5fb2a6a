import json
import os
import resource
import subprocess
import sys
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from tests.util.versions import load_version, save_version, versioned
from util.state_folder import (
    FORMAT_VERSION,
    find_complete,
    is_complete,
    list_states,
    load_state,
    read_meta,
    save_state,
)


def rewrite_manifest(folder: Path, change) -> None:
    """Applies `change` to the manifest and makes the marker fit."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    data = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(data)
    (folder / "DONE").write_text(str(zlib.crc32(data)))


@pytest.mark.parametrize(
    "dtype",
    ["f2", "f4", "f8", "i1", "i8", "u2", "u8", "?", "c8", "U5", "S3", ">f4", "M8[s]"],
)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_arrays_keep_values_dtype_and_shape(tmp_path, dtype, shape):
    array = np.zeros(shape, dtype)
    if array.size:
        array[...] = np.ones(shape).astype(array.dtype)
    save_state(tmp_path / "s", {"a": array}, {})
    loaded = load_state(tmp_path / "s")[0]["a"]
    assert loaded.dtype == array.dtype
    assert loaded.shape == shape
    np.testing.assert_array_equal(loaded, array)


def test_strided_arrays_and_special_values_survive(tmp_path):
    base = np.arange(12.0).reshape(3, 4)
    state = {"t": base.T, "r": base[::-2, 1:], "x": np.array([np.nan, np.inf, -0.0])}
    save_state(tmp_path / "s", state, {})
    loaded = load_state(tmp_path / "s")[0]
    for key, array in state.items():
        np.testing.assert_array_equal(loaded[key], array, strict=True)
    assert np.signbit(loaded["x"][2])


def test_python_values_keep_type_and_order(tmp_path):
    state = {
        "z": 1,
        "a": {"nested": [1, 2.5, None, True, "ä", [], {}]},
        "tuple": (1, (2, [3])),
        "rng": 2**127 + 1,
        "floats": [float("inf"), float("-inf"), -0.0, 1e-320, 0.1],
        "integer keys": {0: "a", -3: {"b": 1}},
        "mixed keys": {"a": 1, 2: "b"},
        "$array": {"$float": "not a tag", "$tuple": 1},
    }
    tagged = {"inner": state}
    save_state(tmp_path / "s", tagged, {})
    loaded = load_state(tmp_path / "s")[0]
    assert loaded == tagged
    assert list(loaded["inner"]) == list(state)
    assert repr(loaded) == repr(tagged)


def test_not_a_number_survives(tmp_path):
    save_state(tmp_path / "s", {"x": float("nan")}, {"y": float("nan")})
    state, meta = load_state(tmp_path / "s")
    assert np.isnan(state["x"])
    assert np.isnan(meta["y"])


def test_numpy_scalars_keep_their_type_in_the_state(tmp_path):
    state = {"a": np.float32(0.1), "b": np.int64(3), "c": np.bool_(True)}
    save_state(tmp_path / "s", state, {"best": np.float32(0.5)})
    loaded, meta = load_state(tmp_path / "s")
    assert {k: (type(v), v) for k, v in loaded.items()} == {
        k: (type(v), v) for k, v in state.items()
    }
    assert type(meta["best"]) is float


def test_one_array_under_two_names_comes_back_as_one(tmp_path):
    array = np.ones(3)
    save_state(tmp_path / "s", {"a": array, "b": [array], "c": array.copy()}, {})
    loaded = load_state(tmp_path / "s")[0]
    assert loaded["a"] is loaded["b"][0]
    assert loaded["a"] is not loaded["c"]


def test_values_made_on_the_fly_are_not_mistaken_for_each_other(tmp_path):
    class Fresh(dict):
        def items(self):
            return ((key, np.float64(value)) for key, value in super().items())

    state = Fresh({str(i): i for i in range(50)})
    save_state(tmp_path / "s", state, {})
    assert load_state(tmp_path / "s")[0] == {str(i): float(i) for i in range(50)}


def test_meta_is_read_without_the_arrays(tmp_path):
    meta = {"itr": 7, "tuple": (1, 2), "inf": float("inf"), "name": "hopper"}
    save_state(tmp_path / "s", versioned(1), meta)
    (tmp_path / "s" / "arrays.npz").write_bytes(b"")
    assert read_meta(tmp_path / "s") == meta


def test_only_named_entries_are_read(tmp_path):
    save_state(tmp_path / "s", versioned(4), {})
    assert load_state(tmp_path / "s", ["version", "none"])[0] == {"version": 4}


def test_ordered_dict_comes_back_as_dict(tmp_path):
    save_state(tmp_path / "s", OrderedDict(a=OrderedDict(b=1)), {})
    assert load_state(tmp_path / "s")[0] == {"a": {"b": 1}}


def test_nothing_is_pickled(tmp_path):
    save_state(tmp_path / "s", versioned(1), {})
    with np.load(tmp_path / "s" / "arrays.npz", allow_pickle=False) as npz:
        assert all(npz[name].dtype != object for name in npz.files)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [
        "DONE",
        "arrays.npz",
        "manifest.json",
    ]


@pytest.mark.parametrize(
    ("state", "meta", "message"),
    [
        ({"a": [{"b": {1}}]}, {}, r"state\['a'\]\[0\]\['b'\] must be .* got set"),
        ({"a": b"bytes"}, {}, r"state\['a'\] must be .* got bytes"),
        ({"a": np.array([None])}, {}, r"state\['a'\] must have .* got object"),
        ({"a": np.zeros(2, "f4,i4")}, {}, "must have a numeric or string dtype"),
        ({"a": {(1, 2): 3}}, {}, r"keys of state\['a'\] must be str or int"),
        ({1: 2}, {}, "keys of state must be str without '\\$', got 1"),
        ({"$x": 2}, {}, "keys of state must be str"),
        ([1], {}, "state must be a mapping, got list"),
        ({}, None, "meta must be a mapping, got NoneType"),
        ({}, {"a": np.ones(2)}, r"meta\['a'\] must not be an array"),
        ({}, {"a": object()}, r"meta\['a'\] must be .* got object"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(
    tmp_path, state, meta, message
):
    save_version(tmp_path / "s", 1)
    with pytest.raises(TypeError, match=message):
        save_state(tmp_path / "s", state, meta)
    assert load_version(tmp_path / "s") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_state_that_contains_itself_is_refused(tmp_path):
    loop: dict = {}
    loop["loop"] = loop
    with pytest.raises(ValueError, match="state must not contain itself"):
        save_state(tmp_path / "s", loop, {})


@pytest.mark.parametrize("missing", ["DONE", "manifest.json", "arrays.npz"])
def test_incomplete_state_is_not_found(tmp_path, missing):
    save_version(tmp_path / "s", 1)
    assert is_complete(tmp_path / "s")
    (tmp_path / "s" / missing).unlink()
    assert not is_complete(tmp_path / "s")
    for read in (load_state, read_meta, find_complete):
        with pytest.raises(FileNotFoundError, match=f"lacks {missing}") as caught:
            read(tmp_path / "s")
        assert str(tmp_path / "s") in str(caught.value)


def test_missing_state_is_not_found(tmp_path):
    assert not is_complete(tmp_path / "s")
    with pytest.raises(FileNotFoundError, match="s does not exist"):
        load_state(tmp_path / "s")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def damage_values(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)


def swap_arrays(path: Path) -> None:
    np.savez(path, **{"0": np.full(500, 9), "1": np.full(3, 9)})


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("arrays.npz", truncate),
        ("arrays.npz", damage_values),
        ("arrays.npz", swap_arrays),
        ("arrays.npz", lambda path: path.write_bytes(b"")),
        ("arrays.npz", lambda path: path.write_bytes(b"text")),
        ("arrays.npz", lambda path: np.savez(path, a=np.ones(2))),
        ("arrays.npz", lambda path: path.write_bytes(np.ones(2).tobytes())),
        ("manifest.json", truncate),
        ("manifest.json", lambda path: path.write_bytes(b"{}")),
        ("DONE", lambda path: path.write_text("12")),
        ("DONE", lambda path: path.write_text("")),
    ],
)
def test_corrupt_state_is_refused_by_name(tmp_path, name, damage):
    folder = tmp_path / "state_3"
    save_version(folder, 1)
    damage(folder / name)
    with pytest.raises(ValueError, match="is corrupt") as caught:
        load_state(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(version=FORMAT_VERSION + 1), "version 1, got .* version 2"),
        (lambda m: m.update(format="zip"), "format must be"),
        (lambda m: m.pop("version"), "KeyError"),
        (lambda m: m.update(state=[1]), "must be objects"),
        (lambda m: m.update(arrays=3), "TypeError"),
        (lambda m: m["state"].update(a={"$array": 99}), "KeyError"),
        (lambda m: m["state"].update(a={"$array": "x"}), "KeyError"),
        (lambda m: m["state"].update(a={"$items": 3}), "TypeError"),
        (lambda m: m["state"].update(a={"$float": "x"}), "could not convert"),
        (lambda m: m["arrays"][0].update(shape=[400]), "array 0 must be"),
        (lambda m: m["arrays"][0].update(dtype="<f8"), "array 0 must be"),
        (lambda m: m["arrays"][1].update(crc32=5), "array 1 must be"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(tmp_path, change, message):
    save_version(tmp_path / "s", 1)
    rewrite_manifest(tmp_path / "s", change)
    with pytest.raises(ValueError, match=message) as caught:
        load_state(tmp_path / "s")
    assert str(tmp_path / "s") in str(caught.value)


def test_pickled_array_is_not_read(tmp_path):
    save_version(tmp_path / "s", 1)
    evil = np.array([None, 1], dtype=object)
    np.savez(tmp_path / "s" / "arrays.npz", **{"0": evil, "1": evil})
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_state(tmp_path / "s")


def test_replaced_state_leaves_nothing_behind(tmp_path):
    for version in range(3):
        save_version(tmp_path / "last", version)
        assert load_version(tmp_path / "last") == version
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_reader_falls_back_to_the_state_that_was_being_replaced(tmp_path):
    save_version(tmp_path / "last", 1)
    (tmp_path / "last").rename(tmp_path / "last.old")
    assert load_version(tmp_path / "last") == 1
    assert find_complete(tmp_path / "last") == tmp_path / "last.old"
    (tmp_path / "last").mkdir()
    assert load_version(tmp_path / "last") == 1
    save_version(tmp_path / "last", 2)
    assert load_version(tmp_path / "last") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_folder_with_other_files_is_never_removed(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "thesis.txt").write_text("years")
    for path in (tmp_path / "docs", tmp_path / "docs" / "thesis.txt"):
        with pytest.raises(FileExistsError, match="is not a checkpoint"):
            save_version(path, 1)
    assert (tmp_path / "docs" / "thesis.txt").read_text() == "years"


@pytest.fixture
def small_files_only():
    """Lets writing fail after 20 kB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_keeps_the_old_state_and_names_the_free_space(
    tmp_path, small_files_only
):
    save_version(tmp_path / "last", 1)
    with pytest.raises(OSError, match=r"cannot write .*last.* \d+ bytes are free"):
        save_state(tmp_path / "last", {"a": np.ones(50_000)}, {})
    assert load_version(tmp_path / "last") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_failed_rename_keeps_a_loadable_state(tmp_path, monkeypatch):
    save_version(tmp_path / "last", 1)

    def refuse(self, target):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="cannot write"):
        save_version(tmp_path / "last", 2)
    assert load_version(tmp_path / "last") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


def test_parent_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        save_version(tmp_path / "file" / "last", 1)


def test_leftovers_of_killed_writers_are_removed_and_of_running_ones_kept(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    running = tmp_path / f".last.tmp-{process.pid}"
    killed = [tmp_path / f".last.tmp-{name}" for name in (os.getpid(), 2**40, "x")]
    other = tmp_path / ".state_1.tmp-x"
    for path in (running, other, *killed):
        path.mkdir()
    save_version(tmp_path / "last", 1)
    process.communicate(b"\n")
    assert {p.name for p in tmp_path.iterdir()} == {"last", running.name, other.name}
    save_version(tmp_path / "last", 2)
    assert {p.name for p in tmp_path.iterdir()} == {"last", other.name}


def test_reader_gives_up_on_a_folder_that_is_replaced_all_the_time(
    tmp_path, monkeypatch
):
    save_version(tmp_path / "s", 1)
    (tmp_path / "s" / "DONE").write_text("12")
    stamps = iter(range(100))
    monkeypatch.setattr("util.state_folder._stamp", lambda folder: next(stamps))
    with pytest.raises(FileNotFoundError, match="replaced faster"):
        load_state(tmp_path / "s")


def test_complete_states_are_listed_in_order(tmp_path):
    for number in (10, 9, 100, 7, 5):
        save_version(tmp_path / f"state_{number}", number)
    (tmp_path / "state_100" / "DONE").unlink()
    (tmp_path / "state_7").rename(tmp_path / "state_7.old")
    (tmp_path / "state_5").rename(tmp_path / "state_x")
    (tmp_path / "state_11").mkdir()
    (tmp_path / "state_12").write_text("a file")
    save_version(tmp_path / "last", 3)
    assert list_states(tmp_path) == [
        (7, tmp_path / "state_7.old"),
        (9, tmp_path / "state_9"),
        (10, tmp_path / "state_10"),
    ]
    assert list_states(tmp_path / "missing") == []
