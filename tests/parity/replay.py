"""Replays recorded cases: `python -m tests.parity.replay FILE.npz ...`.

Any case file may be given, wherever it lies. Each is computed with this project's code
under `reference()`, eagerly and compiled, and compared with what the reference
produced. One line per file and mode:

    PASS networks/mlp_relu eager  outputs 0.004 (out/y)  gradients 0.002 (grad/...)

The numbers are the largest error in units of its tolerance and the array it is in.
Exit code 0 if all pass, 1 if any fails, 2 if none fails but some need a class that
this project does not have yet ("pending: <class>").
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.parity.build import MODES, PendingError, needed_classes, require
from tests.parity.case import Case, load_case
from tests.parity.compare import Report, compare
from util.compat import reference

# Which module replays a case, by `meta["class"]` and then `meta["method"]`; the first
# match counts. Modules without modes have `replay(meta, arrays)`.
ROUTES: tuple[tuple[str, str, str], ...] = (
    (r"\(see meta\.call\)", "", "model_cases"),
    (r"env\.", "", "env_cases"),
    (r"agent\.dataset\.", "", "dataset_cases"),
    (r"script\.dataset\.", "", "process_cases"),
    (r"util\.", "", "util_cases"),
    (r".*\(block", "explained variance", "util_cases"),
    (r".*\(block", "", "block_cases"),
    (r"torch\.", "", "block_cases"),
    (r"agent\.pretrain\.train_agent\.PreTrainAgent", "step_ema", "block_cases"),
    (r"agent\.finetune\.train_(sac|rlpd|ibrl|calql)", r"run\(\)", "stepwise_cases"),
    (r"agent\.", r"run\(\)", "agent_cases"),
    (r"agent\.", "", "block_cases"),
    (
        r"model\.diffusion\.diffusion_(rwr|awr|dipo|dql|idql|qsm)",
        "",
        "diffusion_rl_cases",
    ),
    (r"model\.", "", "objective_cases"),
)
# Classes that an op needs besides those that `meta` names.
OP_CLASSES = {
    "aug_call": ["model.common.modules.RandomShiftsAug"],
    "ensemble": ["model.rl.gaussian_rlpd.RLPD_Gaussian"],
    "dist_gmm": ["model.rl.gmm_vpg.VPG_GMM"],
    "exact_logprob": ["model.diffusion.exact_likelihood"],
    "sde_quant": ["model.diffusion.sde_lib"],
    "ck_unet": ["model.diffusion.unet.VisionUnet1D"],
}
MODELESS = ("env_cases", "dataset_cases", "process_cases", "util_cases")


def module_of(case: Case) -> str:
    """The module of this package that replays a case."""
    if case.is_module_dialect:
        return "model_cases"
    class_name, method = str(case.meta["class"]), str(case.meta.get("method", ""))
    for class_pattern, method_pattern, module in ROUTES:
        if re.match(class_pattern, class_name) and re.match(method_pattern, method):
            return module
    raise PendingError(class_name)


def replay(case: Case, mode: str) -> dict[str, np.ndarray]:
    """Computes the recorded results of a case in one mode.

    Raises:
        PendingError: A class that the case needs does not exist yet.
    """
    require(classes_of(case))
    name = module_of(case)
    module = importlib.import_module(f"tests.parity.{name}")
    with reference():
        if name not in MODELESS:
            return module.replay(case, mode)
        takes_folders = "folders" in inspect.signature(module.replay).parameters
        extra = {"folders": case.folders()} if takes_folders else {}
        return module.replay(case.meta, case.arrays, **extra)


def classes_of(case: Case) -> list[str]:
    """Every class of this project that a case needs, as dotted names."""
    extra = OP_CLASSES.get(str(case.meta.get("op")), [])
    return sorted({*needed_classes(case.meta), *extra})


def chosen_differences(case: Case) -> Mapping[str, str]:
    """Outputs in which this project differs by choice, and what it has instead."""
    module = importlib.import_module(f"tests.parity.{module_of(case)}")
    return getattr(module, "DIFFERENT_BY_CHOICE", {})


def modes_of(case: Case, modes: Sequence[str]) -> Sequence[str]:
    """The modes that make a difference for a case: one for NumPy code."""
    return modes[:1] if module_of(case) in MODELESS else modes


def check(case: Case, mode: str) -> Report:
    """Replays a case in one mode and compares."""
    produced = replay(case, mode)
    return compare(case, produced, chosen_differences(case))


def describe(case: Case, mode: str, report: Report) -> str:
    """One line about a compared case."""
    parts = [
        "PASS" if report.passed else "FAIL",
        case.name,
        f"{mode:8s}",
        f"outputs {report.outputs.ratio:.3g} ({report.outputs.name})",
        f"gradients {report.gradients.ratio:.3g} ({report.gradients.name})",
    ]
    shown = report.problems[:3]
    if len(report.problems) > len(shown):
        shown.append(f"{len(report.problems) - len(shown)} more")
    chosen = [f"{name} differs by choice" for name in report.left_out]
    return "  ".join([*parts, *shown, *chosen])


def replay_file(path: Path, modes: Sequence[str]) -> int:
    """Replays one file and prints a line for each mode; returns an exit code."""
    case = load_case(path)
    code = 0
    try:
        for mode in modes_of(case, modes):
            report = check(case, mode)
            print(describe(case, mode, report), flush=True)
            code = max(code, 0 if report.passed else 1)
    except PendingError as error:
        print(f"PENDING  {case.name}  pending: {error}", flush=True)
        return 2
    except Exception as error:  # noqa: BLE001 - one broken case must not hide others
        print(f"FAIL  {case.name}  {type(error).__name__}: {error}", flush=True)
        return 1
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="case files (.npz)")
    parser.add_argument(
        "--modes",
        default="eager,compiled",
        help=f"comma-separated, of {', '.join(MODES)} (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    # Each case is traced once, which TensorFlow takes for a mistake.
    tf.get_logger().setLevel("ERROR")
    modes = options.modes.split(",")
    unknown = sorted(set(modes) - set(MODES))
    if unknown:
        parser.error(f"--modes must be of {', '.join(MODES)}, got {unknown}")
    codes = [replay_file(path, modes) for path in options.files]
    passed = codes.count(0)
    print(f"{passed} of {len(codes)} files pass, {codes.count(2)} pending")
    return 1 if 1 in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main())
