"""Where metrics go besides files: TensorBoard events and Weights & Biases.

Both are optional: without their package nothing is sent. wandb never asks anything and
never waits for a login: without an account it keeps the run in the log folder, from
where `wandb sync` sends it later. An extra file beside `util/metrics.py`, its only
user, to keep that file short.
"""

from __future__ import annotations

import logging
import netrc
import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

log = logging.getLogger(__name__)

_WANDB_HOST = "api.wandb.ai"
_WANDB_TIMEOUT = 30  # seconds that a missing network may cost, at start and at end


class TensorBoardSink:
    """Writes scalars to a TensorBoard event file, without importing TensorFlow.

    Args:
        folder: Folder of the event file; both are made with the first scalars.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._purge_from: int | None = None
        self._stream: Any = None
        self._writer: Any = None
        self._off = False

    def purge(self, step: int) -> None:
        """Makes TensorBoard forget what earlier files say of `step` and later."""
        self._purge_from = step

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes the scalars of a step.

        Raises:
            OSError: If the file cannot be written.
        """
        if self._off or (self._writer is None and not self._open()):
            return
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=k, simple_value=v) for k, v in scalars.items()]
        self._write(step=step, summary=Summary(value=values))
        self._stream.flush()

    def _open(self) -> bool:
        """Starts the event file, if the package is there."""
        try:
            from tensorboard.compat.proto.event_pb2 import SessionLog
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            log.info("tensorboard is not installed; no events are written.")
            self._off = True
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{os.getpid()}"
        self._stream = (self.folder / name).open("wb")
        self._writer = RecordWriter(self._stream)
        self._write(file_version="brain.Event:2")
        if self._purge_from is not None:
            start = SessionLog(status=SessionLog.START)
            self._write(step=self._purge_from, session_log=start)
        return True

    def _write(self, **event: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **event).SerializeToString())

    def close(self) -> None:
        """Closes the file."""
        if self._stream is not None:
            self._stream.close()
        self._stream, self._writer, self._off = None, None, True


class WandbSink:
    """Sends scalars to Weights & Biases; the run starts with the first ones.

    Args:
        folder: Where wandb keeps its files.
        options: `entity`, `project` and `run` (the run's name); None for no wandb.
        config: Shown with the run.
    """

    def __init__(
        self, folder: Path, options: Mapping[str, Any] | None, config: Mapping[str, Any]
    ) -> None:
        self.folder, self.options, self.config = folder, options, dict(config)
        self.run_id: str | None = None
        self._run: Any = None

    def log(self, step: int, scalars: Mapping[str, float], commit: bool) -> None:
        """Sends scalars; without `commit` together with the next ones."""
        if self._run is None and not self._open():
            return
        try:
            self._run.log(dict(scalars), step=step, commit=commit)
        except Exception as error:  # Nothing that wandb does may end a training.
            log.warning("wandb failed and is switched off: %s", error)
            self.options = self._run = None

    def _open(self) -> bool:
        """Starts the run, or continues it."""
        if self.options is None:
            return False
        mode = wandb_mode(self.options, os.environ)
        self._run = self._start(mode) if mode != "disabled" else None
        if self._run is None and mode == "online":
            log.warning("wandb cannot be reached; keeping this run offline.")
            self._run = self._start("offline")
        if self._run is None:
            self.options = None
        return self._run is not None

    def _start(self, mode: Any) -> Any:
        """The wandb run, None if it cannot be had."""
        try:
            import wandb
        except ImportError:
            log.warning("wandb is not installed; nothing is sent to it.")
            return None
        options = self.options or {}
        self.run_id = self.run_id or uuid.uuid4().hex[:8]
        try:
            return wandb.init(
                entity=options.get("entity"),
                project=options.get("project"),
                name=options.get("run"),
                id=self.run_id,
                resume="allow",
                dir=str(self.folder),
                config=self.config,
                mode=mode,
                settings=_wandb_settings(wandb),
            )
        except Exception as error:  # Nothing that wandb does may end a training.
            log.warning("wandb could not start (%s): %s", mode, error)
            wandb.teardown()  # or else the run's id stays taken for a second try
            return None

    def close(self, failed: bool = False) -> None:
        """Ends the run, with exit code 1 if it failed."""
        if self._run is not None:
            try:
                self._run.finish(exit_code=int(failed))
            except Exception as error:  # Nothing that wandb does may end a training.
                log.warning("wandb did not end well: %s", error)
        self.options = self._run = None


def _wandb_settings(wandb: Any) -> Any:
    """Quiet, without capture of the console, and never waiting long."""
    wanted = {
        "console": "off",
        "silent": True,
        "init_timeout": _WANDB_TIMEOUT,
        "finish_timeout": _WANDB_TIMEOUT,
        "finish_timeout_raises": False,
    }
    known = getattr(wandb.Settings, "model_fields", wanted)
    return wandb.Settings(**{k: v for k, v in wanted.items() if k in known})


def wandb_mode(options: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Returns "online", "offline" or "disabled", and says why if it is not online.

    Args:
        options: `entity`, `project` and `run`.
        environ: Environment; `WANDB_MODE` is obeyed, except that nobody can be online
            without a login.
    """
    asked = environ.get("WANDB_MODE", "").lower()
    if asked in ("disabled", "offline", "dryrun"):
        return "disabled" if asked == "disabled" else "offline"
    if not _has_login(environ):
        reason = "there is no wandb login (WANDB_API_KEY or `wandb login`)"
    elif not (options.get("entity") or environ.get("WANDB_ENTITY") or asked):
        reason = "no wandb.entity is set (DPPO_WANDB_ENTITY)"
    else:
        return "online"
    log.warning("wandb keeps this run offline: %s.", reason)
    return "offline"


def _has_login(environ: Mapping[str, str]) -> bool:
    """Whether wandb would find a key, in the environment or in a netrc file."""
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(environ.get("WANDB_BASE_URL", "")).hostname or _WANDB_HOST
    home = Path(environ.get("HOME", "~")).expanduser()
    given = environ.get("NETRC")
    files = [Path(given)] if given else [home / ".netrc", home / "_netrc"]
    for file in files:
        try:
            if netrc.netrc(str(file)).authenticators(host):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
