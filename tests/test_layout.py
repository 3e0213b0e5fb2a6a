"""The tree is the reference's, each file has its test, imports point one way.

Limits and what they count are those of the style guide. An exception stands in a
table here, with its reason.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parity.case import HERE as PARITY
from util.compat import COMPAT
from util.config import ROOT

PATHS = ROOT / "tests" / "paths.txt"
PENDING = ROOT / "tests" / "layout_pending.txt"
DIFFERENCES = ROOT / "DIFFERENCES.md"
CONVERTED = "util/torch_to_tf/"
CONVERSIONS = ROOT / "tests" / "torch_to_tf" / "table.txt"

MAY_IMPORT = {
    "util": {"util"},
    "model": {"util", "model"},
    "env": {"util", "env"},
    "agent": {"util", "model", "env", "agent"},
    "script": {"util", "model", "env", "agent", "script"},
}
"""Which packages a package may import: util <- model, env <- agent <- script."""

MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60
MAX_FIXTURES, MAX_OTHER_FILE = 40_000_000, 2_000_000

UNTESTED: dict[str, str] = {
    "script/demo.py": "`make demo` runs it, and it fails unless the policy improves",
}
"""Source file without a test file of its own -> why."""

LONG_FILES: dict[str, str] = {}
"""File of more than MAX_FILE_LINES lines -> why."""

LONG_FUNCTIONS: dict[str, str] = {
    "env/gym_utils/__init__.py:make_async": "most lines document 15 arguments",
}
"""Function of more than MAX_FUNCTION_LINES lines -> why."""

UPWARD_IMPORTS: dict[str, str] = {}
"""Import against the arrow -> why."""

REGISTRY_WORDS = (
    ("py", "pi.org"),
    ("python", "hosted.org"),
    ("ana", "conda.org"),
    ("npm", "js.org"),
    ("download.py", "torch.org"),
)
"""Hosts of package registries, in two parts so that this file does not name them."""


@functools.cache
def files() -> tuple[str, ...]:
    """Paths of the project's files: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    names = {name for name in listed.stdout.split("\0") if name}
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


def python_files() -> list[str]:
    return [name for name in files() if name.endswith(".py")]


def sources() -> list[str]:
    return [name for name in python_files() if name.split("/")[0] in MAY_IMPORT]


@functools.cache
def text_of(name: str) -> str:
    """A file as text; "" if it is none."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@functools.cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(text_of(name), filename=name)


def lines_of(path: Path) -> list[str]:
    """Lines of a list, without comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


# -- paths of the reference ------------------------------------------------------------


def pending_paths() -> dict[str, int]:
    """Paths that later issues bring, each with the issue's number."""
    pairs = (line.split("  issue ") for line in lines_of(PENDING))
    return {path: int(issue) for path, issue in pairs}


def test_every_path_of_the_reference_exists_or_is_pending():
    pending = pending_paths()
    missing = [p for p in lines_of(PATHS) if p not in pending and p not in files()]
    assert missing == []


def test_pending_paths_do_not_exist_yet():
    assert [path for path in pending_paths() if (ROOT / path).exists()] == []


def test_pending_paths_are_of_the_reference_and_wait_for_a_later_issue():
    pending = pending_paths()
    assert sorted(pending.keys() - set(lines_of(PATHS))) == []
    assert {path: i for path, i in pending.items() if not 3 <= i <= 10} == {}


# -- tests -----------------------------------------------------------------------------


def has_code(name: str) -> bool:
    """Whether a module defines functions or classes."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return any(isinstance(node, kinds) for node in tree_of(name).body)


def mirrored_test(name: str) -> str:
    """The test file of a source file; `test_init.py` for an `__init__.py`."""
    path = Path(name)
    return f"tests/{path.parent}/test_{path.name.replace('__init__', 'init')}"


def converted_names(name: str) -> list[str]:
    """Public names that a file of the conversion library defines."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in tree_of(name).body if isinstance(node, kinds)]
    return [node.name for node in nodes if not node.name.startswith("_")]


@functools.cache
def converted_tests() -> dict[str, str]:
    """The test file of each row of the conversion library's table."""
    rows = [line.split() for line in lines_of(CONVERSIONS)]
    return {ours: f"{CONVERSIONS.parent.name}/{test}.py" for _, ours, test in rows}


def required_tests(name: str) -> list[str]:
    """Test files that a source file must have.

    A file of the conversion library has one of its own name, or those of its rows in
    the library's table.
    """
    if not name.startswith(CONVERTED):
        return [mirrored_test(name)]
    folder = f"tests/{CONVERTED.split('/')[1]}"
    of_file = f"{folder}/test_{Path(name).name}"
    if of_file in files():
        return [of_file]
    rows = converted_tests()
    named = [f"tests/{rows[own]}" for own in converted_names(name) if own in rows]
    return named or [of_file]


def test_every_source_file_has_its_test():
    missing = {
        name: test
        for name in sources()
        if name not in UNTESTED and (not name.endswith("__init__.py") or has_code(name))
        for test in required_tests(name)
        if test not in files()
    }
    assert missing == {}


def test_test_files_define_tests():
    empty = [
        name
        for name in python_files()
        if re.match(r"tests/(.*/)?test_\w+\.py$", name)
        and not re.search(r"^\s*def test_", text_of(name), re.MULTILINE)
    ]
    assert empty == []


@pytest.mark.parametrize(
    "table", [UNTESTED, LONG_FILES, LONG_FUNCTIONS, UPWARD_IMPORTS]
)
def test_exceptions_have_reasons(table):
    assert all(len(reason.split()) >= 4 for reason in table.values())


def test_untested_files_exist_and_have_no_test():
    for name in UNTESTED:
        assert name in files()
        assert any(test not in files() for test in required_tests(name)), name


# -- imports ---------------------------------------------------------------------------


def imported(name: str) -> Iterator[str]:
    """Dotted name of each imported module, also inside functions."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = name.split("/")[: -node.level] if node.level else []
            yield ".".join([*package, node.module or ""])


def test_imports_point_one_way():
    ours = {*MAY_IMPORT, "tests"}
    wrong = {
        f"{name} imports {module}"
        for name in sources()
        for module in imported(name)
        if (head := module.split(".")[0]) in ours
        and head not in MAY_IMPORT[name.split("/")[0]]
    }
    assert sorted(wrong) == sorted(UPWARD_IMPORTS)


# -- limits ----------------------------------------------------------------------------


def test_files_are_not_too_long():
    long = {
        name: count
        for name in python_files()
        if (count := len(text_of(name).splitlines())) > MAX_FILE_LINES
    }
    assert sorted(long) == sorted(LONG_FILES), long


def test_functions_are_not_too_long():
    long = {
        f"{name}:{node.name}": length
        for name in python_files()
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }
    assert sorted(long) == sorted(LONG_FUNCTIONS), long


def test_no_assert_outside_tests():
    found = [
        f"{name}:{node.lineno}"
        for name in sources()
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_fixtures_and_other_files_are_small():
    sizes = {name: (ROOT / name).stat().st_size for name in files()}
    fixtures = [n for n in sizes if n.startswith("tests/") and not n.endswith(".py")]
    assert sum(sizes[name] for name in fixtures) <= MAX_FIXTURES
    large = [n for n in sizes.keys() - set(fixtures) if sizes[n] > MAX_OTHER_FILE]
    assert large == []


def machine_paths() -> re.Pattern[str]:
    """Folders of this machine or of somebody's home, as the start of a path.

    A shared folder for temporary files is not told apart from its use in examples.
    """
    shared = {Path("/"), Path(tempfile.gettempdir()).resolve()}
    here = {ROOT.parent.resolve(), Path.home().resolve()} - shared
    names = [re.escape(f"{path.as_posix()}/") for path in here]
    # /home/me is nobody's.
    homes = [r"/home/(?!me/)\w+/", r"/Users/\w+/", "/[r]oot/"]
    return re.compile(rf"(?<![\w.$}}-])({'|'.join(names + homes)})")


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(machine_paths(), id="machine paths"),
        pytest.param(
            re.compile("|".join(re.escape("".join(w)) for w in REGISTRY_WORDS)),
            id="package registries",
        ),
    ],
)
def test_files_do_not_name(pattern):
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in files()
        for number, line in enumerate(text_of(name).splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


# -- DIFFERENCES.md --------------------------------------------------------------------


def rows_with_switches() -> dict[str, str]:
    """Table rows of DIFFERENCES.md by the switch that they name."""
    rows = {}
    for line in DIFFERENCES.read_text(encoding="utf-8").splitlines():
        for name in (
            re.findall(r"`compat\.(\w+)`", line) if line.startswith("|") else ()
        ):
            rows[name] = rows.get(name, "") + line
    return rows


def test_differences_list_every_switch_and_no_other():
    assert sorted(rows_with_switches()) == sorted(COMPAT)


def used_switches() -> set[str]:
    pattern = re.compile(r"compat\(\s*\"(\w+)\"")
    return {switch for name in sources() for switch in pattern.findall(text_of(name))}


def test_switches_that_work_name_a_test_and_others_an_issue():
    used = used_switches() & COMPAT.keys()
    rows = rows_with_switches()
    assert [name for name in used if "tests/" not in rows[name]] == []
    excuse = re.compile(r"issue \d+|the switch has no effect")
    assert [
        name for name in COMPAT.keys() - used if not excuse.search(rows[name])
    ] == []


def named_tests() -> list[tuple[str, str, str]]:
    """File, function and case of every test that DIFFERENCES.md names."""
    text = DIFFERENCES.read_text(encoding="utf-8")
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`", text)


def test_tests_named_by_the_differences_exist():
    missing = []
    for name, function, case in named_tests():
        known = set()
        if name in files():
            known = {getattr(node, "name", "") for node in ast.walk(tree_of(name))}
        recorded = not case or bool(list(PARITY.glob(f"{case}.npz")))
        if function not in known or not recorded:
            missing.append(f"{name}::{function}[{case}]")
    assert named_tests() != []
    assert missing == []
