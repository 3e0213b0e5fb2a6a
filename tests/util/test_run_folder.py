from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from util import run_folder
from util.run_folder import (
    absent_folders,
    claim,
    discard,
    find_unfinished,
    read_run,
    write_run,
)

FACTS = {"name": "a", "seed": 1, "digest": "d"}


def make_run(parent, name, checkpoint="state_0", **facts):
    folder = claim(parent / name)
    write_run(folder, **{**FACTS, "status": "failed", "started": name, **facts})
    if checkpoint:
        (folder / "checkpoint" / checkpoint).mkdir(parents=True)
    return folder


def test_claim_gives_every_caller_another_folder(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim(tmp_path / "run"), range(8)))
    assert len(set(folders)) == 8
    assert all((folder / "run.json").exists() for folder in folders)


def test_claim_takes_an_empty_folder_and_leaves_a_used_one(tmp_path):
    (tmp_path / "empty").mkdir()
    assert claim(tmp_path / "empty") == tmp_path / "empty"
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "result.pkl").touch()
    assert claim(tmp_path / "used") == tmp_path / "used_1"


def test_claim_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        claim(tmp_path / "file" / "run")


def test_discard_leaves_nothing_of_the_run(tmp_path):
    absent = absent_folders(tmp_path / "name" / "run")
    assert absent == [tmp_path / "name" / "run", tmp_path / "name"]
    folder = claim(tmp_path / "name" / "run")
    (folder / "checkpoint" / "state_0").mkdir(parents=True)
    (folder / "checkpoint" / "state_0" / "arrays.npz").touch()
    (folder / "link").symlink_to(tmp_path)
    discard(folder, absent)
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())


def test_discard_keeps_folders_that_were_there_or_are_in_use(tmp_path):
    folder = claim(tmp_path / "name" / "run")
    other = claim(tmp_path / "name" / "other")
    discard(folder, [folder, tmp_path / "name"])
    assert list((tmp_path / "name").iterdir()) == [other]
    discard(other, [])
    assert other.is_dir()


def test_facts_are_added_to_those_there(tmp_path):
    write_run(tmp_path, a=1, b=2)
    write_run(tmp_path, b=3)
    facts = read_run(tmp_path)
    assert (facts["a"], facts["b"], facts["pid"]) == (1, 3, os.getpid())
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_unreadable_facts_are_none(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    assert read_run(tmp_path) == {}
    assert read_run(tmp_path / "absent") == {}


def test_newest_unfinished_run_is_found(tmp_path):
    make_run(tmp_path, "2024-01-01")
    newest = make_run(tmp_path, "2024-01-02")
    make_run(tmp_path, "2024-01-03", status="finished")
    make_run(tmp_path, "2024-01-04", digest="other")
    make_run(tmp_path, "2024-01-05", seed=2)
    make_run(tmp_path, "2024-01-06", checkpoint=None)
    assert find_unfinished(tmp_path, FACTS) == newest
    assert find_unfinished(tmp_path / "absent", FACTS) is None


def test_run_of_a_living_process_is_not_taken(tmp_path):
    folder = make_run(tmp_path, "run", status="running")
    assert find_unfinished(tmp_path, FACTS) is None
    facts = read_run(folder)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for change in (
        {"pid": dead.pid},
        {"pid_start": "0"},  # the number belongs to another process now
        {"host": "elsewhere"},
    ):
        (folder / "run.json").write_text(json.dumps({**facts, **change}))
        assert find_unfinished(tmp_path, FACTS) == folder


def test_versions_name_what_results_depend_on():
    assert {"python", "tensorflow", "numpy"} <= run_folder.versions().keys()


def test_commit_is_a_hash_or_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(run_folder, "ROOT", tmp_path)
    assert run_folder.commit() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert len(run_folder.commit() or "") == 40
