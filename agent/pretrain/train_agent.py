"""Behaviour cloning: epochs over a dataset, averaged weights, checkpoints.

Leaves own the loss. Minibatches are gathered inside the compiled function, and a block
of them runs in one call: at these sizes the call costs as much as the step.
"""

from __future__ import annotations

import logging
import time
from collections import namedtuple
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
from omegaconf import DictConfig

from agent.common.blocks import gradients_in_blocks
from agent.common.checkpoints import AttributeState, ModuleState, RunCheckpoints
from agent.common.learner import Learner
from agent.common.rollout import NonFiniteError
from agent.common.setup import make_logger, make_model
from model.common.objectives import polyak
from util.checkpoint import StateRegistry
from util.config import instantiate
from util.device import shared_devices
from util.seeding import HostDraws, Seeds
from util.torch_to_tf import clone_network, nn_DataParallel

logger = logging.getLogger(__name__)

# Images that a processor learns from at once, without XLA, whose gradients of weights
# are the slower ones there (docs/results/bench_networks).
IMAGE_BLOCK_SIZE = 64


class EMA:
    """Exponential moving average of a model's parameters.

    Args:
        model: The model that is trained.
        decay: Weight of the old average.
    """

    def __init__(self, model: Any, decay: float) -> None:
        self.decay = decay
        self.average = clone_network(model)
        self._pairs = (self.average.parameters(), model.parameters())

    def step(self, tau: tf.Tensor) -> None:
        """average <- (1 - tau) average + tau model; works in compiled code."""
        polyak(*self._pairs, tau)


class PreTrainAgent:
    """Owns epochs, blocks of steps, EMA, validation and saving.

    Args:
        cfg: Experiment.
    """

    config_keys: ClassVar[frozenset[str]] = frozenset(
        {
            "env",
            "obs_dim",
            "action_dim",
            "cond_steps",
            "horizon_steps",
            "act_steps",
            "denoising_steps",
            "train_dataset_path",
            "train_dataset",
            "ema.decay",
            "train.n_epochs",
            "train.batch_size",
            "train.learning_rate",
            "train.weight_decay",
            "train.lr_scheduler.first_cycle_steps",
            "train.lr_scheduler.warmup_steps",
            "train.lr_scheduler.min_lr",
            "train.save_model_freq",
            "train.save_last_minutes",
            "train.epoch_start_ema",
            "train.update_ema_freq",
            "train.val_freq",
            "train.log_freq",
            "train.train_split",
            "train.steps_per_call",
            "train.compute_dtype",
        }
    )
    # Whether `device` may name several, which then share the rows of a batch.
    shares_devices: ClassVar[bool] = True
    # Rows whose gradients are computed at once; None for the whole batch.
    block_size: int | None = None

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, train = cfg, cfg.train
        self.seeds = Seeds(cfg.seed)
        self.draws = HostDraws(self.seeds.numpy("agent"))
        self.model = make_model(cfg, self.seeds)
        self.ema = EMA(self.model, cfg.ema.decay)
        self.n_epochs, self.batch_size = train.n_epochs, train.batch_size
        self.epoch_start_ema = train.get("epoch_start_ema", 20)
        self.update_ema_freq = train.get("update_ema_freq", 10)
        self.steps_per_call = train.get("steps_per_call", 50)
        self._check()
        self.dataset = instantiate(cfg.train_dataset)
        self._check_data()
        self.validation = self._split(train.get("train_split", 1.0))
        self.learner = Learner(
            self.model.parameters(),
            train.learning_rate,
            train.weight_decay,
            train.lr_scheduler,
        )
        self.epoch, self.cnt_batch = 0, 0
        self.logger = make_logger(cfg, self.n_epochs, "epoch", wandb=True)
        self.checkpoints = RunCheckpoints(cfg, self.state(), self.checkpoint_meta)
        self.tensors = self.dataset.tensors()
        devices = shared_devices(cfg.get("device", "auto"))
        self.parallel = nn_DataParallel(devices, self.model.network)
        on_cpu = "CPU" in self.learner.params[0].value.device
        in_blocks = on_cpu and self.dataset.images is not None
        self.block_size = IMAGE_BLOCK_SIZE if in_blocks else None
        # XLA compiles for one device. Its draws differ from those made without it.
        jit = len(devices) < 2 and not in_blocks
        self._compiled_draws = tf.function(self.loss_draws, jit_compile=True)
        self.run_block = tf.function(self._run_block, jit_compile=jit)
        self.run_step = tf.function(self._run_step, jit_compile=jit)
        self.validate_batch = tf.function(self._validate_batch, reduce_retracing=True)

    def _check(self) -> None:
        for key in ("n_epochs", "batch_size", "save_model_freq"):
            if self.cfg.train[key] < 1:
                raise ValueError(f"train.{key} must be >= 1, got {self.cfg.train[key]}")
        if self.steps_per_call < 1:
            raise ValueError(
                f"train.steps_per_call must be >= 1, got {self.steps_per_call}."
            )

    def _check_data(self) -> None:
        for name, key in (("states", "obs_dim"), ("actions", "action_dim")):
            width = getattr(self.dataset, name).shape[1]
            expected = self.cfg.get(key, width)
            if width != expected:
                raise ValueError(
                    f"{self.dataset.dataset_path}: {name} have {width} columns, but "
                    f"{key}={expected}. Are these data of another task?"
                )

    def _split(self, share: float) -> Any | None:
        """Keeps `share` of the items for training; the rest is for validation."""
        if share >= 1.0:
            return None
        rng = self.seeds.numpy("validation split")
        held_out = self.dataset.set_train_val_split(share, rng)
        return self.dataset.subset(held_out)

    def loss(
        self, batch: Any, noise: Sequence | None = None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Loss of a batch and further metrics; written by leaves."""
        raise NotImplementedError

    def loss_draws(self, batch: Any) -> Sequence | None:
        """Random draws of the loss of a batch, which it takes as `noise`, if any."""
        return None

    # -- compiled ---------------------------------------------------------------------

    def _run_step(
        self, tensors: Any, rows: tf.Tensor, tau: tf.Tensor, noise: Sequence | None
    ) -> dict[str, tf.Tensor]:
        """One step on the items at `rows` (B,); the EMA moves by `tau`."""
        size = self.block_size if noise is None else None
        if noise is None and self.parallel.modules:
            noise, size = self._compiled_draws(self._batch(tensors, rows)), None

        def evaluate(rows: tf.Tensor, _: dict) -> tuple[tf.Tensor, Any]:
            loss, metrics = self.loss(self._batch(tensors, rows), noise)
            terms = {"loss": loss, **metrics}
            return loss, namedtuple("Terms", terms)(**terms)

        with self.parallel.on():
            terms, grads = gradients_in_blocks(
                lambda rows: {}, evaluate, rows, self.learner.params, size
            )
        self.learner.apply(grads)
        if tau > 0.0:
            self.ema.step(tau)
        return terms._asdict()

    def _batch(self, tensors: Any, rows: tf.Tensor) -> Any:
        """The items at rows (B,)."""
        return self.dataset.gather_tensors(tensors, rows, *self.dataset.sizes)

    def _run_block(
        self, tensors: Any, rows: tf.Tensor, taus: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Steps on rows (N, B), one after the other; returns means over steps."""
        count = rows.shape[0]
        first = self._run_step(tensors, rows[0], taus[0], None)
        if count == 1:
            return first

        def body(i: tf.Tensor, sums: dict) -> tuple:
            metrics = self._run_step(tensors, rows[i], taus[i], None)
            return i + 1, {key: sums[key] + value for key, value in metrics.items()}

        _, sums = tf.while_loop(
            lambda i, _: i < count,
            body,
            (tf.constant(1), first),
            maximum_iterations=count - 1,
        )
        return {key: value / count for key, value in sums.items()}

    def _validate_batch(self, tensors: Any, rows: tf.Tensor) -> tf.Tensor:
        """Loss of the items at `rows` (B,), nothing dropped or shifted."""
        self.model.eval()
        loss, _ = self.loss(self._batch(tensors, rows))
        self.model.train()
        return loss

    # -- the loop ---------------------------------------------------------------------

    def run(self) -> None:
        """Trains until `train.n_epochs`, from the start or where a run ended."""
        self.checkpoints.resume()
        try:
            while self.epoch < self.n_epochs:
                self.run_epoch()
        finally:
            self.logger.close()

    def run_epoch(self) -> None:
        """One pass over the data, in random order; the last batch may be smaller."""
        self.epoch += 1
        started = time.perf_counter()
        metrics = self._train_epoch()
        if not np.isfinite(metrics["loss"]):
            where = self.checkpoints.save_aside(f"nonfinite_{self.epoch}")
            raise NonFiniteError(
                f"epoch {self.epoch}: loss is {metrics['loss']}. {where}"
            )
        train = self.cfg.train
        if self.validation is not None and self.epoch % train.get("val_freq", 100) == 0:
            metrics["val"] = self._validate(self.validation)
        self.learner.step_schedule()
        self.trace("epoch", metrics=metrics)
        self.report(metrics, time.perf_counter() - started)
        due = self.epoch % train.save_model_freq == 0 or self.epoch == self.n_epochs
        if due:
            self.checkpoints.save(self.epoch)
        minutes = train.get("save_last_minutes", 3.0)
        self.checkpoints.save_last(minutes, force=due)

    def _train_epoch(self) -> dict[str, float]:
        """Means over batches; losses are read when the epoch is over."""
        order = self.draws.permutation(len(self.dataset)).astype(np.int32)
        size, batches = self.batch_size, -(-len(order) // self.batch_size)
        results: list[tuple[int, dict[str, tf.Tensor]]] = []
        at = 0
        while at < len(order):
            rows = order[at : at + size * self.steps_per_call]
            full = len(rows) == size * self.steps_per_call
            if full:
                taus = [self._ema_tau(k) for k in range(self.steps_per_call)]
                result = self.run_block(
                    self.tensors, tf.constant(rows.reshape(-1, size)), tf.constant(taus)
                )
                steps = self.steps_per_call
            else:
                rows, steps = rows[:size], 1
                noise = self.draws.loss_noise()
                result = self.run_step(
                    self.tensors,
                    tf.constant(rows),
                    tf.constant(self._ema_tau(0)),
                    noise,
                )
                self.trace("batch", metrics=result)
            at += len(rows)
            self.cnt_batch += steps
            results.append((steps, result))
            # A tensor: read only when the line is shown.
            self.logger.progress(self.epoch - 1 + at / len(order), loss=result["loss"])
        sums: dict[str, float] = {}
        for steps, result in results:
            for key, value in result.items():
                sums[key] = sums.get(key, 0.0) + steps * float(value)
        return {key: value / batches for key, value in sums.items()}

    def _ema_tau(self, ahead: int) -> np.float32:
        """How far the average moves after the batch `ahead` of the next one."""
        if (self.cnt_batch + ahead) % self.update_ema_freq:
            return np.float32(0.0)
        early = self.epoch < self.epoch_start_ema
        return np.float32(1.0 if early else 1.0 - self.ema.decay)

    def _validate(self, held_out: Any) -> float:
        """Mean loss over the held-out items."""
        tensors, count = held_out.tensors(), len(held_out)
        total = 0.0
        for at in range(0, count, self.batch_size):
            rows = np.arange(at, min(at + self.batch_size, count), dtype=np.int32)
            total += len(rows) * float(self.validate_batch(tensors, tf.constant(rows)))
        return total / count

    # -- reporting and state ----------------------------------------------------------

    def report(self, metrics: dict[str, float], seconds: float) -> None:
        """Writes one epoch's numbers under the reference's names."""
        if self.epoch % self.cfg.train.get("log_freq", 1):
            return
        names = {"val": "loss - val"}
        scalars = {
            names.get(key, f"{key} - train"): value for key, value in metrics.items()
        }
        self.logger.log(self.epoch, {**scalars, "lr": self.learner.lr})
        self.logger.console(
            f"{self.epoch}: train loss {metrics['loss']:8.4f} | t:{seconds:8.4f}"
        )

    def state(self) -> StateRegistry:
        """Everything that a resumed run needs, by name."""
        registry = StateRegistry()
        registry.add("model", ModuleState(self.model))
        registry.add("ema", ModuleState(self.ema.average))
        registry.add("learner", self.learner)
        registry.add("seeds", self.seeds)
        registry.add("metrics", self.logger)
        registry.add("loop", AttributeState(self, "epoch", "cnt_batch"))
        return registry

    def checkpoint_meta(self) -> dict[str, Any]:
        """What a reader of `state_<epoch>` wants to know without loading it."""
        own = {"kind": "pretrain", "epoch": self.epoch, "name": self.cfg.get("name")}
        return own | self.model.description()

    def trace(self, label: str, **values: Any) -> None:
        """Hook for tests that compare intermediate values; does nothing here."""
