"""The lock of all composed configs: which leaves does a changed layer move?

`python -m tests.cfg.lock` (`make cfg-lock`) writes `cfg/lock.txt` anew and prints the
leaves that moved. A line holds the digest of all values of a leaf, resolved with fixed
folders and a fixed clock, and the leaf.
"""

from __future__ import annotations

import hashlib
import json

from tests.cfg.fixed import CFG, leaves, values

LOCK = CFG / "lock.txt"


def lock_digest(leaf: str) -> str:
    """16 hexadecimal digits for all values of a leaf."""
    text = json.dumps(values(leaf), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_lock() -> dict[str, str]:
    """The written digests, by leaf."""
    lines = LOCK.read_text().splitlines() if LOCK.is_file() else []
    return {leaf: digest for digest, leaf in (line.split() for line in lines)}


def moved(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What differs between two locks, one sentence per leaf."""
    sentences = []
    for leaf in sorted(before.keys() | after.keys()):
        if leaf not in after:
            sentences.append(f"{leaf} is gone")
        elif leaf not in before:
            sentences.append(f"{leaf} is new")
        elif before[leaf] != after[leaf]:
            sentences.append(f"{leaf} moved")
    return sentences


def main() -> None:
    """Writes the lock and prints what moved."""
    before = read_lock()
    after = {leaf: lock_digest(leaf) for leaf in leaves()}
    LOCK.write_text("".join(f"{digest}  {leaf}\n" for leaf, digest in after.items()))
    print("\n".join(moved(before, after)) or "no leaf moved")


if __name__ == "__main__":
    main()
