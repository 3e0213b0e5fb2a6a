"""An agent that needs no TensorFlow: tests of the launcher run it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

log = logging.getLogger(__name__)


class FakeAgent:
    """Writes its seed to `result.txt`; `train.ending` says how it ends."""

    config_keys: ClassVar[frozenset[str]] = frozenset(
        {"train.n_epochs", "train.learning_rate", "train.ending", "act_steps"}
    )
    dead_config_keys: ClassVar[dict[str, str]] = {"train.unused": "nothing reads it"}

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg
        Path(cfg.logdir, "checkpoint").mkdir(exist_ok=True)
        if cfg.train.n_epochs < 1:
            raise ValueError(f"train.n_epochs must be >= 1, got {cfg.train.n_epochs}.")

    def run(self) -> None:
        log.info("agent runs with seed %s", self.cfg.seed)
        ending = self.cfg.train.get("ending")
        Path(self.cfg.logdir, "checkpoint", "state_0").mkdir(exist_ok=True)
        if ending == "crash":
            raise RuntimeError("agent crashed")
        if ending == "interrupt":
            raise KeyboardInterrupt
        Path(self.cfg.logdir, "result.txt").write_text(str(self.cfg.seed))


class FakeModel:
    """A class to be named by `_target_`."""

    dead_config_keys: ClassVar[dict[str, str]] = {"colour": "no network has one"}

    def __init__(self, width: int, rate: float = 0.1, inner: Any = None) -> None:
        if width < 1:
            raise ValueError(f"width must be >= 1, got {width}.")
        self.width, self.rate, self.inner = width, rate, inner


class FakeChild(FakeModel):
    """Hands its further arguments to its parent."""

    def __init__(self, depth: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.depth = depth


class OpenModel:
    """Somebody's class that keeps whatever it is given."""

    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs


def make_model(width: int) -> FakeModel:
    """A function to be named by `_target_`."""
    return FakeModel(width)
