"""Runs one experiment: compose its config, prepare files, build the agent, run it.

    python script/run.py --config-name=<name> --config-dir=cfg/<env>/<stage>/<task> \
        [key=value ...] [--multirun]

Any folder and any YAML may be given, also a complete one in the reference's style. A
key may be set whether or not the YAML has it; a misspelt one is refused. Departures
from the reference: files that are missing are looked for or made as
`script/prepare_files.py` says; the run folder is `logdir`, made unique, and belongs to
one run only (each job of a `--multirun` has its own); `resume=` continues a run.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    # Started as a file: Python then looks for modules in script/, not beside it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from script.command_line import check_command, command, hydra_arguments
from util import config, run_folder
from util.device import select_device, shared_devices

log = logging.getLogger(__name__)

CONFIG_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    OSError,
    OmegaConfBaseException,
)
"""What preparing, checking and building a run may raise because of its input."""


class RunError(CompactHydraException):
    """A run that cannot start. Hydra prints its message alone and exits with 1."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for.

    Args:
        arguments: Command line without the program's name; default `sys.argv[1:]`.
    """
    config.prepare_environment()
    config.register_resolvers()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    layers = config.search_path()
    given = list(sys.argv[1:] if arguments is None else arguments)
    check_command(given, layers)
    sys.argv = [sys.argv[0], *hydra_arguments(given, layers)]
    hydra.main(version_base=None, config_path=str(layers[0]))(run_job)()


def run_job(cfg: DictConfig) -> None:
    """Runs one job that Hydra has composed.

    Raises:
        RunError: If the config or a file it needs does not allow the run.
        SystemExit: With code 130 if the user interrupts it.
    """
    config.register_resolvers()
    job = Job(cfg)
    try:
        try:
            job.build()
        except BaseException as error:
            job.abandon()
            if isinstance(error, CONFIG_ERRORS):
                raise RunError(explain(error)) from error
            raise
        job.run()
    except KeyboardInterrupt:
        word = "nothing was written."
        if job.folder is not None:
            word = f"continue with: {command()} resume={job.folder}"
        sys.stderr.write(f"\nInterrupted; {word}\n")
        raise SystemExit(130) from None


class Job:
    """One run: its config, its folder, its agent.

    Args:
        cfg: The composed config.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.folder: Path | None = None
        self.made: list[Path] | None = None  # None: the folder is an older run's
        self.agent: Any = None
        self.facts: dict[str, Any] = {}
        self.log_file: logging.FileHandler | None = None
        # Holds what is logged until the run folder, and run.log in it, is there.
        self.early = MemoryHandler(capacity=1_000_000, flushLevel=sys.maxsize)
        logging.getLogger().addHandler(self.early)

    def build(self) -> None:
        """Checks the config, prepares files, opens the run folder, builds the agent.

        Raises:
            ValueError: If the config has unknown keys, or does not fit together.
            FileNotFoundError: If a file is missing and cannot be obtained.
        """
        from script.prepare_files import prepare_files

        self._check()
        resumed = self._find_resumed()
        self.cfg.logdir = str(resumed or Path(str(self.cfg.logdir)).absolute())
        sources = prepare_files(self.cfg)
        self.folder = resumed or self._claim(f"{self.cfg.logdir}{job_suffix()}")
        self.cfg.logdir = str(self.folder)
        self._write_facts(self.folder, sources)
        self._open_log(self.folder)
        log.info("%s: results go to %s", self.facts["name"], self.folder)
        agent_class = config.resolve_target(str(self.cfg._target_))
        self._check_device(agent_class)
        with self._device():
            self.agent = agent_class(self.cfg)

    def _check(self) -> None:
        """Refuses unknown keys, resolves the config and turns switches on."""
        config.finish(self.cfg)
        config.check_keys(self.cfg, config_file(), task_overrides())
        OmegaConf.resolve(self.cfg)
        config.apply_compat(self.cfg)
        self.facts = {
            "name": self.cfg.get("name"),
            "seed": self.cfg.get("seed"),
            "digest": config.digest(self.cfg),
        }

    def _find_resumed(self) -> Path | None:
        """The folder of the run to continue, or None for a new one."""
        resume = self.cfg.get("resume")
        if resume is None:
            return None
        if resume != "auto":
            folder = Path(str(resume)).absolute()
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"resume={resume}: there is no such run folder."
                )
            self._compare(folder)
            return folder
        parent = Path(str(self.cfg.logdir)).absolute().parent
        found = run_folder.find_unfinished(parent, self.facts)
        word = f"continuing {found}" if found else f"no unfinished run in {parent}"
        log.info("resume=auto: %s", word if found else f"{word}, starting a new one")
        self.cfg.resume = str(found) if found else None
        return found

    def _compare(self, folder: Path) -> None:
        """Says if the run in `folder` was of another experiment."""
        before = run_folder.read_run(folder)
        for key in self.facts:
            if key in before and before[key] != self.facts[key]:
                log.warning(
                    "resume: the run in %s has %s %s, this config %s",
                    folder,
                    key,
                    before[key],
                    self.facts[key],
                )

    def _claim(self, wanted: str) -> Path:
        """A new run folder; remembers what has to be made for it."""
        absent = run_folder.absent_folders(Path(wanted))
        try:
            folder = run_folder.claim(wanted)
        except OSError as error:
            raise OSError(
                f"logdir={wanted} cannot be made: {error.strerror}. Set logdir or "
                "DPPO_LOG_DIR to a folder that can be written."
            ) from error
        self.made = list(dict.fromkeys([folder, *absent]))
        if folder == Path(wanted) and folder not in absent:
            self.made.remove(folder)
        return folder

    def _write_facts(self, folder: Path, sources: Any) -> None:
        """Writes the resolved config and what identifies the run."""
        OmegaConf.save(self.cfg, folder / "config.yaml")
        OmegaConf.save(OmegaConf.create(task_overrides()), folder / "overrides.yaml")
        run_folder.write_run(
            folder,
            **self.facts,
            status="running",
            started=now(),
            command=command(),
            commit=run_folder.commit(),
            versions=run_folder.versions(),
            data=sources,
        )

    def _open_log(self, folder: Path) -> None:
        """Sends what is and has been logged to `run.log` as well."""
        self.log_file = logging.FileHandler(folder / "run.log")
        form = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"
        self.log_file.setFormatter(logging.Formatter(form))
        self.early.setTarget(self.log_file)
        self.early.close()
        logging.getLogger().removeHandler(self.early)
        logging.getLogger().addHandler(self.log_file)

    def run(self) -> None:
        """Runs the agent and writes down how that ended."""
        status = "failed"
        try:
            with self._device():
                self.agent.run()
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except Exception:
            if self.log_file is not None and self.log_file.stream is not None:
                self.log_file.stream.write(traceback.format_exc())
            raise
        finally:
            if self.folder is not None:
                run_folder.write_run(self.folder, status=status, ended=now())
            self._close_log()

    def _device(self) -> AbstractContextManager[Any]:
        """Puts variables and computations on the config's device."""
        import tensorflow as tf

        return tf.device(select_device(self.cfg.get("device", "auto")))

    def _check_device(self, agent_class: Any) -> None:
        """Refuses several devices for an agent that would use the first only."""
        devices = shared_devices(self.cfg.get("device", "auto"))
        if len(devices) > 1 and not getattr(agent_class, "shares_devices", False):
            raise ValueError(
                f"device must be a single one for {agent_class.__name__}, got "
                f"{', '.join(devices)}."
            )

    def abandon(self) -> None:
        """Takes back what was written for a run that could not be built."""
        self._close_log()
        if self.folder is not None and self.made is not None:
            run_folder.discard(self.folder, self.made)
            self.folder = None

    def _close_log(self) -> None:
        """Closes `run.log`."""
        logging.getLogger().removeHandler(self.early)
        if self.log_file is not None:
            logging.getLogger().removeHandler(self.log_file)
            self.log_file.close()
            self.log_file = None


def job_suffix() -> str:
    """Returns what a job of a sweep adds to its logdir: its number."""
    hydra_cfg = HydraConfig.get()
    sweeping = hydra_cfg.mode == RunMode.MULTIRUN
    return f"_{hydra_cfg.job.num}" if sweeping else ""


def task_overrides() -> list[str]:
    """Returns the overrides of this job, as Hydra got them."""
    return list(HydraConfig.get().overrides.task)


def now() -> str:
    """Returns the time, for `run.json`."""
    return datetime.datetime.now().astimezone().isoformat()


def config_file() -> Path:
    """Returns the YAML file that Hydra composes, as far as it can be told."""
    hydra_cfg = HydraConfig.get()
    name = str(hydra_cfg.job.config_name)
    folders = [Path(s.path) for s in hydra_cfg.runtime.config_sources if s.path]
    files = [config.leaf_file(folder, name) for folder in folders]
    return next((file for file in files if file.is_file()), Path(name))


def explain(error: BaseException) -> str:
    """Returns one message for an error that the user can mend."""
    message = str(error) or type(error).__name__
    if isinstance(error, KeyError):
        message = f"KeyError: {message}"
    notes = "".join(f"\n({note})" for note in getattr(error, "__notes__", ()))
    return f"Error: {message}{notes}"


def _entry() -> Callable[[], None]:
    """`main` of the importable module, so that launchers can send it to workers."""
    from script.run import main as importable

    return importable


if __name__ == "__main__":
    _entry()()
