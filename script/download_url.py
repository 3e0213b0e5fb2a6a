"""Fetches the files that the reference published, looked up in `downloads.json`.

The table is matched by whole names: the experiment, and the words of the folder that
holds the file (`can-ph`, `can-img`). The reference searched the whole path for "ph" and
"img" and so took the wrong file for a user called phil. A download counts only after
the file has been read through: a quota page or half a file is removed and reported.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

ASIDE_PREFIX = ".download-"
"""Start of the names of folders that hold unfinished downloads."""

OFFLINE_AFTER_S = 5.0
"""How long to wait for an answer before the machine counts as offline."""

_TABLE = Path(__file__).with_name("downloads.json")
_HTML_STARTS = (b"<!doctype html", b"<html")


class DownloadFailedError(OSError):
    """A file could not be fetched; the message says why."""


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads(_TABLE.read_text())


def _experiment_of(cfg: DictConfig) -> str:
    """The experiment's name: `env` in pre-training configs, else `env_name`."""
    env = cfg.get("env")
    name = env if isinstance(env, str) else cfg.get("env_name")
    return _table()["aliases"].get(name, name)


def _variant_of(cfg: DictConfig, path: Path) -> str:
    """Which of an experiment's files is meant: a mode, "img", "ph" or ""."""
    if cfg.get("mode") is not None:
        return cfg.mode
    modes = _table()["modes"]
    words = path.parent.name.replace("_", "-").split("-")
    named = [modes[word] for word in words if word in modes]
    named += [word for word in ("img", "ph") if word in words]
    return named[0] if named else ""


def _look_up(cfg: DictConfig, kind: str, path: str) -> str:
    """The URL of `kind`, dataset or normalization, for the file at `path`.

    Raises:
        ValueError: If the table has no such experiment or variant.
    """
    experiment = _experiment_of(cfg)
    variants = _table()["experiments"].get(experiment, {})
    variant = "" if set(variants) == {""} else _variant_of(cfg, Path(path))
    if variant not in variants:
        raise ValueError(
            f"No published {kind} for {path} (experiment {experiment!r}, variant "
            f"{variant!r}); known: {sorted(_table()['experiments'])}."
        )
    return variants[variant][kind]


def get_dataset_download_url(cfg: DictConfig) -> str:
    """The folder with the published training data of a config.

    Args:
        cfg: With env or env_name, train_dataset_path or offline_dataset_path, and
            for d3il mode.

    Raises:
        ValueError: If none was published; names the path.
    """
    path = cfg.get("train_dataset_path") or cfg.get("offline_dataset_path")
    return _look_up(cfg, "dataset", str(path))


def get_normalization_download_url(cfg: DictConfig) -> str:
    """The published normalisation file of a config.

    Args:
        cfg: With env_name or env, normalization_path, and for d3il mode.

    Raises:
        ValueError: If none was published; names the path.
    """
    return _look_up(cfg, "normalization", str(cfg.get("normalization_path")))


def get_checkpoint_download_url(cfg: DictConfig) -> str | None:
    """The published checkpoint at `base_policy_path`, or None.

    Args:
        cfg: With base_policy_path, which must end in
            `<run>/<timestamp>/checkpoint/state_<n>.pt`.
    """
    key = "/".join(Path(str(cfg.get("base_policy_path"))).parts[-4:])
    return _table()["checkpoints"].get(key)


def fetch_file(url: str, path: Path) -> None:
    """Downloads one file, checks it, and puts it at `path`.

    Raises:
        DownloadFailedError: If it cannot be had; nothing is left behind.
    """
    with _aside(url, path.parent) as folder:
        aside = folder / path.name
        _run_gdown("download", _drive_id(url), aside)
        _check(aside)
        os.replace(aside, path)


def fetch_folder(url: str, path: Path) -> list[Path]:
    """Downloads a folder and puts its files beside `path`, which must be among them.

    Files that are there already stay as they are.

    Returns:
        The files that were added.

    Raises:
        DownloadFailedError: If it cannot be had; nothing is left behind.
    """
    with _aside(url, path.parent) as folder:
        _run_gdown("download_folder", _drive_id(url), folder)
        files = {file.name: file for file in folder.rglob("*") if file.is_file()}
        if path.name not in files:
            raise DownloadFailedError(
                f"{url} has no {path.name}, only {sorted(files) or 'nothing'}"
            )
        for file in files.values():
            _check(file)
        # The file that others wait for comes last.
        order = sorted(files, key=lambda name: name == path.name)
        added = [path.with_name(n) for n in order if not path.with_name(n).exists()]
        for target in added:
            os.replace(files[target.name], target)
        return added


@contextmanager
def _aside(url: str, parent: Path) -> Iterator[Path]:
    """A temporary folder inside `parent`, made once the network was found to be up."""
    reason = offline_reason("https://" + url.split("/")[2])
    if reason:
        raise DownloadFailedError(reason)
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=ASIDE_PREFIX, dir=parent) as folder:
        yield Path(folder)


def _drive_id(url: str) -> str:
    """The id in a link to a file or a folder."""
    parts = url.split("?")[0].split("/")
    marker = "folders" if "folders" in parts else "d"
    return parts[parts.index(marker) + 1]


def _run_gdown(function: str, drive_id: str, output: Path) -> None:
    """Calls gdown; whatever it raises becomes a `DownloadFailedError`."""
    try:
        import gdown
    except ImportError as error:
        raise DownloadFailedError("gdown is not installed") from error
    call: Callable[..., Any] = getattr(gdown, function)
    try:
        call(id=drive_id, output=str(output), use_cookies=False, timeout=60)
    except Exception as error:  # gdown and requests raise many unrelated classes
        text = " ".join(str(error).split()) or type(error).__name__
        raise DownloadFailedError(f"the download failed: {text[:300]}") from error


def _check(path: Path) -> None:
    """Refuses a file that is missing, a web page, or not whole.

    Raises:
        DownloadFailedError: If so.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise DownloadFailedError(f"{path.name} did not arrive")
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith(_HTML_STARTS):
        raise DownloadFailedError(
            f"{path.name}: the server sent a web page instead of the file (the "
            "download quota is used up, or the file is not shared any more)"
        )
    if path.suffix in (".pt", ".pth"):
        _check_torch_file(path)
    elif path.suffix == ".npz":
        _check_zip(path)


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DownloadFailedError(f"{path.name} is not whole: {error}") from error
    if damaged is not None:
        raise DownloadFailedError(f"{path.name} is not whole: {damaged} is damaged")


def _check_torch_file(path: Path) -> None:
    from util.torch_file import load_torch_file

    try:
        load_torch_file(path)
    except (ValueError, OSError) as error:
        raise DownloadFailedError(f"{path.name} is not whole: {error}") from error


@functools.cache
def offline_reason(url: str) -> str | None:
    """Why `url` cannot be reached, or None; asked once per process.

    Returns after `OFFLINE_AFTER_S` at the latest, also where name resolution hangs.
    """
    answers: list[str | None] = []
    # A daemon, because a hanging name resolution cannot be interrupted.
    thread = threading.Thread(target=lambda: answers.append(_ask(url)), daemon=True)
    thread.start()
    thread.join(OFFLINE_AFTER_S)
    if not answers:
        return f"offline: {url} did not answer within {OFFLINE_AFTER_S:g} s"
    return answers[0]


def _ask(url: str) -> str | None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=OFFLINE_AFTER_S).close()
    except urllib.error.HTTPError:
        return None  # It answered, if only to refuse.
    except (OSError, ValueError) as error:
        return f"offline: {url} cannot be reached ({error})"
    return None
