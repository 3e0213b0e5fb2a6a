"""Converts a checkpoint: PyTorch's ``.pt`` to our state folder, or back.

``python script/convert_checkpoint.py SRC DST [--force]``. What DST becomes follows from
its name: a ``.pt`` file, or else a folder. SRC may also be a run folder. Only networks
are converted: ``{epoch, model, ema}`` if there are averaged weights, else
``{itr, model}``, the layouts of the reference.
"""

import argparse
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from util.checkpoint import PolicyFile, load_policy, save_state
from util.torch_file import save_torch_file


def _content(policy: PolicyFile) -> dict[str, Any]:
    """Returns the networks and the step in the reference's layout.

    Raises:
        ValueError: If there are averaged weights only; the reference needs both.
    """
    if policy.weights is None:
        raise ValueError(f"{policy.path} must hold 'model', it holds 'ema' only.")
    step = "itr" if policy.ema is None else "epoch"
    content: dict[str, Any] = {step: policy.step, "model": OrderedDict(policy.weights)}
    if policy.ema is not None:
        content["ema"] = OrderedDict(policy.ema)
    return content


def convert(source: Path, target: Path, *, force: bool = False) -> str:
    """Converts `source` to `target` and returns a line that says what was written.

    Raises:
        FileNotFoundError: If there is no checkpoint at `source`.
        FileExistsError: If `target` exists and `force` is not set.
        ValueError: If `source` is corrupt or already of the kind of `target`.
    """
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists; add --force to replace it.")
    policy = load_policy(source)
    kind = "torch" if target.suffix == ".pt" else "own"
    if kind == policy.kind:
        raise ValueError(
            f"{policy.path} is already of the kind that {target} asks for; "
            "a name that ends in .pt means a PyTorch file, any other a state folder."
        )
    content = _content(policy)
    if kind == "torch":
        save_torch_file(content, target)
    else:
        meta = {key: value for key, value in content.items() if key in ("itr", "epoch")}
        networks = {key: value for key, value in content.items() if key not in meta}
        save_state(target, networks, {**meta, "converted_from": policy.path.name})
    counts = " and ".join(
        f"{len(value)} arrays of {key}"
        for key, value in content.items()
        if key in ("model", "ema")
    )
    return f"wrote {target}: {counts}, step {policy.step}"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="a .pt file, state or run folder")
    parser.add_argument("target", type=Path, help="NAME.pt, or the folder to write")
    parser.add_argument("--force", action="store_true", help="replace the target")
    options = parser.parse_args(arguments)
    try:
        print(convert(options.source, options.target, force=options.force))
    except (OSError, ValueError, TypeError) as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
