"""Which recorded cases exist, which are tested here, and which are still pending.

`all_cases.txt` names every recorded case and the issue that brings it. A case is
either a file in this folder, and then it is tested, or a line of `pending.txt`, with
the classes that it waits for. To move cases from there to here when classes have
arrived, given the folder with all recorded areas:

    python -m tests.parity.inventory ../shared/parity
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.parity.build import PendingError
from tests.parity.case import HERE, load_case
from tests.parity.replay import check, modes_of

ALL_CASES = HERE / "all_cases.txt"
PENDING = HERE / "pending.txt"
HEADER = """\
# Recorded cases that are not tested yet: case, the issue that brings it, the classes
# that were missing. This list only gets shorter; `python -m tests.parity.inventory
# FOLDER` removes what passes.
# limit: {count}
"""


@dataclass(frozen=True)
class Pending:
    """A line of `pending.txt`.

    Attributes:
        name: `area/case`.
        issue: Number of the issue that brings it.
        classes: Dotted names that did not exist when the line was written.
    """

    name: str
    issue: int
    classes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}  issue {self.issue}  {', '.join(self.classes)}"


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_all_cases() -> dict[str, int]:
    """Every recorded case, `area/case`, and the issue that brings it."""
    pairs = (line.split() for line in _lines(ALL_CASES))
    return {name: int(issue) for name, issue in pairs}


def read_pending() -> list[Pending]:
    """The lines of `pending.txt`."""
    entries = []
    for line in _lines(PENDING):
        name, issue, classes = line.split("  ")
        entries.append(
            Pending(name, int(issue.removeprefix("issue ")), tuple(classes.split(", ")))
        )
    return entries


def read_limit() -> int:
    """The number of lines that `pending.txt` says it has."""
    for line in PENDING.read_text(encoding="utf-8").splitlines():
        if line.startswith("# limit: "):
            return int(line.removeprefix("# limit: "))
    raise ValueError(f"{PENDING} has no line '# limit: <number>'.")


def write_pending(entries: Iterable[Pending]) -> None:
    """Replaces `pending.txt`."""
    lines = sorted(map(str, entries))
    text = HEADER.format(count=len(lines)) + "".join(f"{line}\n" for line in lines)
    PENDING.write_text(text, encoding="utf-8")


def case_files() -> list[Path]:
    """Case files in this folder."""
    return sorted(path for path in HERE.glob("*/*.npz"))


def name_of(path: Path) -> str:
    """`area/case` of a file in a folder of its area."""
    return f"{path.parent.name}/{path.stem}"


def passes(path: Path) -> bool:
    """Whether a case file passes in all of its modes."""
    case = load_case(path)
    try:
        modes = modes_of(case, ("eager", "compiled"))
        return all(check(case, mode).passed for mode in modes)
    except PendingError:
        return False


def adopt(folder: Path) -> list[str]:
    """Copies pending cases that pass from `folder`, and shortens the list.

    Returns:
        Their names.
    """
    adopted, left = [], []
    for entry in read_pending():
        source = folder / f"{entry.name}.npz"
        if source.is_file() and passes(source):
            target = HERE / f"{entry.name}.npz"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
            adopted.append(entry.name)
        else:
            left.append(entry)
    write_pending(left)
    return adopted


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with all recorded areas")
    adopted = adopt(parser.parse_args(arguments).folder)
    print("\n".join(adopted))
    print(f"{len(adopted)} cases adopted, {len(read_pending())} pending")
    return 0


if __name__ == "__main__":
    sys.exit(main())
