"""Every recorded case in this folder is reproduced; the others are accounted for."""

import pytest

from tests.parity.build import is_available
from tests.parity.case import HERE, load_case
from tests.parity.inventory import (
    case_files,
    name_of,
    read_all_cases,
    read_limit,
    read_pending,
)
from tests.parity.replay import check, classes_of, describe, modes_of

MODES = ("eager", "compiled")


@pytest.mark.full
@pytest.mark.parametrize("path", case_files(), ids=name_of)
def test_recorded_case_is_reproduced(path):
    case = load_case(path)
    for mode in modes_of(case, MODES):
        report = check(case, mode)
        assert report.passed, describe(case, mode, report)


def test_every_case_is_tested_or_pending_and_not_both():
    tested = [name_of(path) for path in case_files()]
    pending = [entry.name for entry in read_pending()]
    assert len(set(pending)) == len(pending)
    assert sorted(tested + pending) == sorted(read_all_cases())


def test_pending_cases_keep_the_issue_that_brings_them():
    issues = read_all_cases()
    assert {entry.name: entry.issue for entry in read_pending()} == {
        entry.name: issues[entry.name] for entry in read_pending()
    }


def test_no_case_of_this_issue_is_pending():
    assert [entry.name for entry in read_pending() if entry.issue <= 2] == []


def test_pending_list_has_no_more_lines_than_its_limit():
    assert len(read_pending()) == read_limit()


def test_pending_cases_wait_for_classes_that_do_not_exist():
    arrived = [
        entry.name
        for entry in read_pending()
        if all(is_available(name) for name in entry.classes)
    ]
    assert arrived == [], "run `python -m tests.parity.inventory FOLDER`"


def test_tested_cases_need_only_classes_that_exist():
    for path in case_files():
        missing = [n for n in classes_of(load_case(path)) if not is_available(n)]
        assert missing == [], name_of(path)


def test_recorded_files_stay_small():
    sizes = [path.stat().st_size for path in HERE.rglob("*") if path.is_file()]
    assert sum(sizes) < 40e6
