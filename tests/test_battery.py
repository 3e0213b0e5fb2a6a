"""Every kind of agent, made from its real leaf with tiny sizes, through one battery.

The quick suite runs it line by line; the full one compiled, and on a real simulator.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agent.tiny import (
    LEAVES,
    ROUNDS,
    changed,
    eagerly,
    tiny_config,
    write_dataset,
)
from util.checkpoint import load_state
from util.config import resolve_target
from util.metrics import read_metrics

DDIM = (
    "model.use_ddim=true",
    "model.ddim_steps=2",
    "model.eta._target_=model.diffusion.eta.EtaAction",
    "model.eta.action_dim=2",
    "model.learn_eta=true",
    "train.eta_lr=0.01",
    "train.eta_weight_decay=0",
    "train.eta_update_interval=1",
    "train.eta_lr_scheduler.first_cycle_steps=100",
    "train.eta_lr_scheduler.warmup_steps=10",
    "train.eta_lr_scheduler.min_lr=0.01",
)
SMALL_CRITIC = (
    "train.n_steps=3",
    "train.n_train_itr=4",
    "train.update_epochs=1",
    "model.critic.mlp_dims=[16]",
)
SMALL = (*SMALL_CRITIC, "model.actor.mlp_dims=[16]")
PRETRAIN = (
    "train.save_last_minutes=0",
    "train.epoch_start_ema=2",
    "train.update_ema_freq=2",
    "train.steps_per_call=2",
    "train.train_split=0.9",
    "train.val_freq=1",
    "model.network.mlp_dims=[16]",
)
# A learned deviation; samples of the base policy are scored too.
GAUSSIAN = (
    "train.max_grad_norm=1",
    "train.use_bc_loss=true",
    "train.bc_loss_coeff=0.1",
    "train.ent_coef=0.01",
    "model.actor.fixed_std=0.1",
    "model.actor.learn_fixed_std=true",
)
STEPWISE = ("sac", "rlpd", "ibrl", "calql", "calql offline")
STEPS = ("train.n_train_itr=8", "train.val_freq=5")
# Leaf, overrides, and where the run is interrupted: in iterations or epochs.
CASES: dict[str, tuple[str, tuple[str, ...], int]] = {
    "pretrain": ("pretrain", PRETRAIN, 2),
    "pretrain gaussian": ("pretrain gaussian", PRETRAIN, 2),
    "pretrain gmm": ("pretrain gmm", PRETRAIN, 2),
    "ppo": ("ppo", (*SMALL, "train.max_grad_norm=1"), 2),
    "ppo with DDIM": ("ppo", (*SMALL, *DDIM, "train.use_bc_loss=true"), 3),
    "ppo gaussian": ("ppo gaussian", (*SMALL, "train.batch_size=4"), 2),
    "ppo gaussian, learned std": ("ppo gaussian", (*SMALL, *GAUSSIAN), 3),
    "ppo gmm": ("ppo gmm", (*SMALL, "train.batch_size=4"), 2),
    "pretrain unet": ("pretrain unet", PRETRAIN[:-1], 2),
    "ppo unet": ("ppo unet", SMALL_CRITIC, 2),
    "pretrain img": ("pretrain img", (*PRETRAIN, "model.network.dropout=0.2"), 2),
    "pretrain gaussian img": ("pretrain gaussian img", PRETRAIN, 2),
    "ppo img": ("ppo img", SMALL, 3),
    "ppo gaussian img": ("ppo gaussian img", SMALL, 3),
    "ppo avoid": ("ppo avoid", SMALL, 2),
    "ppo avoid gaussian": ("ppo avoid gaussian", (*SMALL, "train.batch_size=4"), 2),
    **{name: (name, ("train.replay_ratio=2",), 3) for name in ROUNDS[:-1]},
    # So many rounds that calls take a block of them and single ones.
    "rwr": ("rwr", ("train.batch_size=1", "train.update_epochs=5"), 3),
    "awr gaussian": ("awr gaussian", ("train.replay_ratio=2",), 3),
    "rwr gaussian": ("rwr gaussian", (), 3),
    "vpg gaussian": ("vpg gaussian", (*SMALL, "train.batch_size=4"), 2),
    "ppo exact": ("ppo exact", (*SMALL, "train.batch_size=4"), 2),
    "sac": ("sac", (*STEPS, "train.n_explore_steps=3"), 6),
    "rlpd": ("rlpd", (*STEPS, "train.n_explore_steps=3"), 6),
    **{name: (name, STEPS, 6) for name in STEPWISE[2:]},
    "hopper": ("hopper", (*SMALL, "env.backend=async", "cond_steps=2"), 2),
}
COMPILED = pytest.mark.full
QUICK = (
    "pretrain",
    "pretrain gaussian",
    "ppo",
    "ppo with DDIM",
    "ppo gaussian",
    "ppo gmm",
    "ppo img",
    "sac",
)


def modes(cases: Iterable[str], quick: Iterable[str]) -> list[Any]:
    """Cases by mode; the quick suite has some of them, line by line."""
    return [
        *(pytest.param((case, "eager"), id=f"{case}, eager") for case in quick),
        *(
            pytest.param((case, "compiled"), marks=COMPILED, id=f"{case}, compiled")
            for case in cases
        ),
    ]


def running(mode: str) -> AbstractContextManager:
    """Compiled functions run as `mode` says."""
    return eagerly() if mode == "eager" else contextlib.nullcontext()


class Battery:
    """Runs of one case, made once.

    Args:
        folder: Where they go.
        case: A key of `CASES`.
        compiles: Whether functions are compiled.
    """

    def __init__(self, folder: Path, case: str, compiles: bool = False) -> None:
        self.folder, self.compiles = folder, compiles
        self.traces: dict[str, dict[str, int]] = {}
        self.kind, self.overrides, self.stop = CASES[case]
        self.clones = self.kind.startswith("pretrain")
        # Runs of D3IL draw pictures, and every iteration of theirs learns.
        self.draws = LEAVES[self.kind][0].startswith("d3il/finetune")
        if self.clones or case in STEPWISE:
            key = "train" if self.clones else "offline"
            path = write_dataset(folder / "train.npz")
            self.overrides = (*self.overrides, f"{key}_dataset_path={path}")

    def make(self, name: str, *overrides: str) -> Any:
        """An agent whose run folder is called `name`."""
        cfg = tiny_config(self.kind, self.folder / name, *self.overrides, *overrides)
        return resolve_target(cfg._target_)(cfg)

    def run(self, name: str, *overrides: str) -> Path:
        """The folder of an uninterrupted run."""
        agent = self.make(name, *overrides)
        agent.run()
        self.traces.setdefault(name, traces(agent))
        return self.folder / name

    @functools.cached_property
    def twin(self) -> Path:
        """The folder of a second run.

        To compile takes most of the time of a run, so the resumed one is taken where
        functions are compiled.
        """
        return self.halves if self.compiles else self.run("twin")

    @functools.cached_property
    def halves(self) -> Path:
        """The folder of a run that ended in the middle and was resumed."""
        name = "halves"
        agent = self.make(name)
        step = agent.run_epoch if self.clones else agent.iterate
        for _ in range(self.stop):
            step()
        if not self.clones:
            agent.venv.close()
        self.make(name, f"resume={self.folder / name}").run()
        return self.folder / name


def traces(owner: Any, path: str = "agent") -> dict[str, int]:
    """How often each compiled function was traced, by where the agent keeps it."""
    if hasattr(owner, "experimental_get_tracing_count"):
        return {path: owner.experimental_get_tracing_count()}
    if type(owner).__module__.startswith("agent."):
        owner = vars(owner)
    if not isinstance(owner, dict):
        return {}
    found = [traces(part, f"{path}.{name}") for name, part in owner.items()]
    return {name: count for part in found for name, count in part.items()}


@pytest.fixture(scope="module", params=modes(CASES, QUICK))
def battery(request, tmp_path_factory):
    case, mode = request.param
    folder = tmp_path_factory.mktemp(case.replace(" ", "_"))
    with running(mode):
        made = Battery(folder, case, mode == "compiled")
        made.run("straight")
        yield made


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch):
    monkeypatch.setattr("util.metrics.plot_curves", lambda *args, **kwargs: None)


TIMES = ("time", "elapsed")


def untimed(value: Any) -> Any:
    """Nested values without times; arrays as their bytes."""
    if isinstance(value, dict):
        return {key: untimed(v) for key, v in value.items() if key not in TIMES}
    if isinstance(value, list | tuple):
        return [untimed(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.generic):
        return value.tobytes()
    return repr(value) if isinstance(value, float) else value  # NaN equals NaN


def pictures(run: Path) -> list[Path]:
    """Files with pictures of a run."""
    return sorted((run / "render").glob("*.png"))


def assert_equal_runs(one: Path, other: Path) -> None:
    """Numbers, pictures and final states are the same to the last bit."""
    drawn, others = (
        {path.name: path.read_bytes() for path in pictures(run)} for run in (one, other)
    )
    assert drawn == others
    rows, others = (read_metrics(run / "metrics.jsonl") for run in (one, other))
    assert untimed(rows) == untimed(others)
    if (one / "result.pkl").exists():
        tables = [(run / "result.pkl").read_bytes() for run in (one, other)]
        assert untimed(pickle.loads(tables[0])) == untimed(pickle.loads(tables[1]))
    states = [load_state(run / "checkpoint" / "last")[0] for run in (one, other)]
    assert_equal_states(*states, "last")


def assert_equal_states(one: Any, other: Any, where: str) -> None:
    """As `untimed(one) == untimed(other)`, but says where they differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - set(TIMES):
            assert_equal_states(one[key], other[key], f"{where}/{key}")
    else:
        assert untimed(one) == untimed(other), where


def test_training_and_evaluation_are_reported(battery):
    rows = read_metrics(battery.folder / "straight" / "metrics.jsonl")
    names = set().union(*rows)
    if battery.clones:
        assert {"loss - train", "loss - val"} <= names
    else:
        assert "avg episode reward - train" in names
        assert ("avg episode reward - eval" in names) != battery.draws
    assert [path.name for path in pictures(battery.folder / "straight")] == (
        ["traj-0.png", "traj-3.png"] if battery.draws else []
    )
    numbers = [v for row in rows for k, v in row.items() if k != "explained variance"]
    assert np.isfinite([v for v in numbers if not isinstance(v, list)]).all()


# Functions that are called in two ways: with and without the guidance of DIPO, and with
# the last batch of an epoch of cloning, which is smaller.
CALLS = {"agent.actor_round": 2, "agent.run_step": 2}


def test_functions_are_traced_once_for_each_way_of_calling_them(battery):
    counts = battery.traces["straight"]
    if battery.compiles:
        assert any(counts.values())
        assert {name: n for name, n in counts.items() if n > CALLS.get(name, 1)} == {}
    else:
        assert not any(counts.values())


def test_same_seed_gives_the_same_numbers_and_weights(battery):
    assert_equal_runs(battery.twin, battery.folder / "straight")


def test_resumed_run_equals_the_straight_one(battery):
    assert_equal_runs(battery.halves, battery.folder / "straight")


@pytest.mark.full
def test_another_seed_gives_other_weights(battery):
    with eagerly():
        runs = battery.run("other", "seed=6"), battery.folder / "straight"
    models = [load_state(run / "checkpoint" / "last")[0]["model"] for run in runs]
    assert changed(*models)


# -- evaluation ----------------------------------------------------------------------

_SCRATCH = ("model.network.activation_type=ReLU", "model.network.fixed_std=null")
# Training leaf, evaluating leaf, overrides of the latter.
EVALUATIONS = {
    "diffusion": ("ppo", "eval", ()),
    "gaussian": ("ppo gaussian", "eval gaussian", _SCRATCH),
    "gmm": ("ppo gmm", "eval gmm", ()),
    "img": ("ppo img", "eval img", ()),
    "gaussian img": ("ppo gaussian img", "eval gaussian img", ()),
    "avoid": ("ppo avoid", "eval avoid", ()),
    "avoid gaussian": ("ppo avoid gaussian", "eval avoid gaussian", ()),
}


@pytest.mark.parametrize("case", modes(EVALUATIONS, ("diffusion", "gaussian", "gmm")))
def test_evaluation_gives_the_same_numbers_twice(tmp_path, case):
    policy, mode = case
    training, evaluation, overrides = EVALUATIONS[policy]
    with running(mode):
        trained = Battery(tmp_path, training).run("straight", "train.n_train_itr=2")
        network = "model.network.mlp_dims=[16]"
        options = (f"base_policy_path={trained}", network, *overrides)
        results = []
        for name in ("one", "other"):
            cfg = tiny_config(evaluation, tmp_path / name, *options)
            results.append(resolve_target(cfg._target_)(cfg).run())
    assert results[0].pop("time") > 0
    assert results[1].pop("time") > 0
    assert results[0] == results[1]
    assert results[0]["num_episode"] > 0
    drawn = [path.name for path in pictures(tmp_path / "one")]
    assert drawn == (["traj-0.png"] if "plotter" in cfg else [])
