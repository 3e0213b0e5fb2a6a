"""Writes the correspondence table: `python -m util.torch_to_tf.docs [FILE]`.

Names, what they stand for and examples are read from the docstrings; the tests evaluate
the examples and compare the page with what this module writes.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import util.torch_to_tf as library

PAGE = Path(__file__).resolve().parents[2] / "docs" / "torch_to_tf.md"

HEAD = """\
# From PyTorch to TensorFlow, name by name

Written by `make docs` from the docstrings of `util/torch_to_tf`; edit these, not this
file. A model is ported step by step in [the tutorial](torch_to_tf_tutorial.md).

    from util.torch_to_tf import nn_Linear, torch_gather

* **Names and numbers.** Replace the dot by an underscore: `torch.gather` is
  `torch_gather`, `torch.nn.Linear` is `nn_Linear`, a method such as `Tensor.view` is
  `torch_tensor_view(tensor, ...)`. Arguments, their order and defaults, types,
  shapes, values and gradients are PyTorch's (tests compare each with the real one).
  `out`, `layout`, `pin_memory` and `memory_format` have no counterpart and are left
  out.
* **Eager and compiled.** All of it works plainly, in `tf.function` and under XLA;
  where XLA cannot, the docstring says so. A wrapper adds no operation to the graph
  (`tests/torch_to_tf/test_no_cost.py`).
* **Layout.** Convolutions take and return PyTorch's layout (N, C, ...); what
  TensorFlow needs is inside.
* **Checkpoints.** `state_dict` and `load_state_dict` use PyTorch's keys, order and
  array layouts, both ways.
* **Errors.** What PyTorch refuses is refused with a `ValueError`, `TypeError` or
  `IndexError` that names the argument. Values inside tensors are checked when code
  runs eagerly.
* **Random numbers.** `torch_manual_seed` seeds all draws. The streams differ from
  PyTorch's by nature.
"""

_TORCH_NAME = re.compile(
    r"\(`((?:torch|einops)[\w.]*|CosineAnnealingWarmupRestarts)`\)"
)
_EXAMPLE = re.compile(r"Example: `([^`]+)` gives `([^`]+)`\.")


class Row(NamedTuple):
    """A name of the library: what it stands for, and an example with its result."""

    torch: str
    ours: str
    example: str
    result: str
    kind: str


def rows() -> Iterator[Row]:
    """All exported names that stand for one of PyTorch, by kind and name.

    Raises:
        ValueError: A docstring has no example.
    """
    found = []
    for name in library.__all__:
        value = getattr(library, name)
        text = " ".join((inspect.getdoc(value) or "").split())
        stands_for = _TORCH_NAME.search(text)
        if stands_for is None:
            continue
        example = _EXAMPLE.search(text)
        if example is None:
            raise ValueError(f"the docstring of {name} must end in an Example line.")
        found.append(Row(stands_for[1], name, example[1], example[2], _kind(value)))
    return iter(sorted(found, key=lambda row: (row.kind, row.ours.lower())))


def _kind(value: Any) -> str:
    """The first sentence of the file that defines a name."""
    doc = inspect.getdoc(inspect.getmodule(value)) or ""
    return doc.split("\n\n")[0].replace("\n", " ").rstrip(".")


def page() -> str:
    """The whole page, Markdown."""
    lines, kind = [HEAD], ""
    for row in rows():
        if row.kind != kind:
            kind = row.kind
            lines += [f"\n## {kind}\n", "| PyTorch | here | example |", "|---|---|---|"]
        example = f"`{row.example}` → `{row.result}`".replace("|", "\\|")
        lines.append(f"| `{row.torch}` | `{row.ours}` | {example} |")
    return "\n".join(lines) + "\n"


def main(given: list[str]) -> None:
    """Writes the page."""
    target = Path(given[0]) if given else PAGE
    target.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
