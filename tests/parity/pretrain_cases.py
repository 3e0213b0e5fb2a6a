"""Recorded pre-training runs, and the schedule of the averaged weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from omegaconf import OmegaConf

from tests.parity.build import load_parameters
from tests.parity.case import Case
from tests.parity.scripted import Recorder, TapeDraws
from util.checkpoint import load_state
from util.torch_to_tf import nn_DataParallel, nn_Module, nn_Parameter

Produced = dict[str, np.ndarray]

DATASET = "agent.dataset.sequence.StitchedSequenceDataset"
# More than any recorded run has, so that all batches run one by one.
MANY = 10**9


# -- whole runs ------------------------------------------------------------------------


def replay_pretraining(case: Case, folder: Path) -> Produced:
    """Runs a pre-training agent; its data set is written from the recorded arrays.

    Raises:
        ValueError: The run made other draws than the recorded one.
    """
    data = folder / "train.npz"
    np.savez(data, **case.inputs()["data"])
    cfg = OmegaConf.create({**case.meta["cfg"], "logdir": str(folder / "run")})
    cfg.train_dataset._target_, cfg.train_dataset.dataset_path = DATASET, str(data)
    cfg.train.steps_per_call = MANY
    module, _, name = case.meta["class"].rpartition(".")
    agent = getattr(importlib.import_module(module), name)(cfg)
    load_parameters(agent.model, case)
    load_parameters(agent.ema.average, case)
    agent.draws = _tape(case)
    agent.trace = PretrainingTrace(agent)
    agent.run()
    if agent.draws.left:
        raise ValueError(f"{agent.draws.left} recorded draws were not made.")
    return {
        **agent.trace.recorder.produced,
        **_optimizer_state(agent),
        **_saved(folder / "run"),
    }


def _optimizer_state(agent: Any) -> Produced:
    """Moments by the number of their parameter among all, the untrained included."""
    numbers = {id(p): number for number, p in enumerate(agent.model.parameters())}
    state = agent.learner.optimizer.state_dict()["state"]
    return {
        f"out/optimizer/{numbers[id(agent.learner.params[int(index)])]}/{key}": (
            np.asarray(value)
        )
        for index, entry in state.items()
        for key, value in entry.items()
    }


def _tape(case: Case) -> TapeDraws:
    """The draws without those that PyTorch's DataLoader makes and nobody sees.

    At the end of each epoch its sampler draws a second permutation, of which it takes
    no row.
    """
    kept, permutations = [], 0
    for name, value in zip(case.noise_names, case.noise, strict=True):
        if "randperm" in name:
            permutations += 1
        if "randperm" not in name or permutations % 2:
            kept.append((name, value))
    return TapeDraws([name for name, _ in kept], [value for _, value in kept])


def _saved(folder: Path) -> Produced:
    """Names of the checkpoints in the reference's form, and what they hold."""
    saved = sorted((folder / "checkpoint").glob("state_*"))
    state, meta = load_state(saved[-1])
    keys = {"ema", "epoch", "model"} & {*state, *meta}
    return {
        "out/checkpoints": np.array([f"{path.name}.pt" for path in saved]),
        "out/checkpoint_keys": np.array(sorted(keys)),
    }


class PretrainingTrace:
    """An agent's trace as the recorded labels and variables."""

    def __init__(self, agent: Any) -> None:
        self.agent, self.recorder = agent, Recorder()

    def __call__(self, label: str, metrics: Any) -> None:
        """The hook."""
        agent = self.agent
        if label == "batch":
            counts = {"epoch": agent.epoch, "cnt_batch": agent.cnt_batch}
            self.recorder.add("batch", {**metrics, **counts})
            return
        states = {"model": agent.model, "ema": agent.ema.average}
        values = {
            f"{name}/{key}": value
            for name, module in states.items()
            for key, value in module.state_dict().items()
        }
        values |= {"lr": agent.learner.lr, "loss_train_mean": metrics["loss"]}
        self.recorder.add("epoch", values)


# -- averaged weights ------------------------------------------------------------------


class _Weights(nn_Module):
    """Two parameters, as in the recorded model."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.weight = nn_Parameter(np.zeros(shape, np.float32))
        self.bias = nn_Parameter(np.zeros(width, np.float32))


class _Script:
    """A learner whose step k sets the model to the recorded weights k."""

    def __init__(self, model: _Weights, inputs: dict[str, np.ndarray]) -> None:
        self.params = model.parameters()
        self.values = [tf.constant(inputs[key]) for key in ("weights", "biases")]
        self.number = tf.Variable(0, dtype=tf.int32)
        self.apply([])

    def apply(self, grads: Any) -> None:
        """One step; the first is the state at construction."""
        for param, values in zip(self.params, self.values, strict=True):
            param.assign(values[self.number])
        self.number.assign_add(1)


class _Items:
    """A data set whose items do not matter."""

    sizes = ()

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def gather_tensors(self, tensors: Any, rows: tf.Tensor) -> tf.Tensor:
        """Nothing to gather."""
        return rows

    def permutation(self, n: int) -> np.ndarray:
        """The order of an agent's draws."""
        return np.arange(n)

    def loss_noise(self) -> None:
        """No draws."""

    def progress(self, *_: Any, **__: Any) -> None:
        """No progress line."""


def replay_ema(case: Case, mode: str) -> Produced:
    """Epochs of `PreTrainAgent` in which the optimizer follows recorded weights."""
    from agent.pretrain.train_agent import EMA, PreTrainAgent

    call, inputs = case.meta["call"], case.inputs()
    model = _Weights(inputs["weights"].shape[1:], inputs["biases"].shape[1])

    class Averaging(PreTrainAgent):
        """Only what `_train_epoch` reads."""

        def __init__(self) -> None:
            self.learner = _Script(model, inputs)
            self.parallel = nn_DataParallel(())
            self.ema = EMA(model, call["decay"])
            self.epoch_start_ema = call["epoch_start_ema"]
            self.update_ema_freq = call["update_ema_freq"]
            self.dataset = self.draws = self.logger = _Items(call["batches_per_epoch"])
            self.tensors, self.batch_size, self.steps_per_call = (), 1, MANY
            self.epoch, self.cnt_batch = 0, 0
            self.recorder, self.actions = Recorder(), []
            self.run_step = self._run_step
            if mode != "eager":
                self.run_step = tf.function(self._run_step, jit_compile=mode == "jit")

        def loss(self, batch: Any, noise: Any = None) -> tuple[tf.Tensor, dict]:
            parts = [tf.reduce_sum(tf.convert_to_tensor(p)) for p in model.parameters()]
            return tf.add_n(parts), {}

        def _ema_tau(self, ahead: int) -> np.float32:
            tau = super()._ema_tau(ahead)
            self.actions.append(0 if tau == 0.0 else 1 if tau == 1.0 else 2)
            return tau

        def trace(self, label: str, **_: Any) -> None:
            state = self.ema.average.state_dict()
            self.recorder.add("ema", {f"ema_{k}": v for k, v in state.items()})

    agent = Averaging()
    for epoch in range(1, call["n_epochs"] + 1):
        agent.epoch = epoch
        agent._train_epoch()
    steps = range(agent.recorder.count("ema"))
    kept = agent.recorder.produced
    return {
        "out/action": np.array(agent.actions),
        "out/ema_weights": np.stack([kept[f"out/ema/{i}/ema_weight"] for i in steps]),
        "out/ema_biases": np.stack([kept[f"out/ema/{i}/ema_bias"] for i in steps]),
    }
