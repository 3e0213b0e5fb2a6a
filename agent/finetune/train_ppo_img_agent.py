"""PPO on camera images: frames shifted once an iteration, accumulated gradients.

The reference repeats its PPO loop for images. Here they are an observation with three
options: `train.augment`, `train.grad_accumulate`, and where the frames are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from agent.common.blocks import sum_gradients
from agent.common.checkpoints import AttributeState
from agent.common.learner import host_flag
from agent.common.rollout import Rollout, tensor_type
from agent.finetune.train_ppo_agent import Tensors, TrainPPOAgent
from model.common.modules import shift_images
from model.common.vision import LARGEST_SHIFT
from util.checkpoint import StateRegistry
from util.config import compat

logger = logging.getLogger(__name__)

IMAGES = "rgb"


class TrainPPOImgAgent(TrainPPOAgent):
    """What images add to PPO; a leaf inherits from it and from an agent for states.

    Images are bytes from the environment to the network. Of one iteration there are two
    copies: the rollout's, and the shifted one on the accelerator that values, old
    log-probabilities and all epochs read. It is overwritten in place, so an iteration
    needs 2 * S * E * To * C * H * W bytes for them: 2.2 GB for 400 steps of 50
    environments with two 96 x 96 cameras (robomimic's transport).
    """

    config_keys: ClassVar[frozenset[str]] = TrainPPOAgent.config_keys | {
        "train.augment",
        "train.grad_accumulate",
    }

    def build(self) -> None:
        """Checks that there are images and what is done with them.

        Raises:
            ValueError: The environment has none, or a number is impossible.
        """
        train = self.cfg.train
        self.augment, self.accumulate = train.augment, train.grad_accumulate
        if self.accumulate < 1:
            raise ValueError(
                f"train.grad_accumulate must be >= 1, got {self.accumulate}."
            )
        if IMAGES not in self.venv.single_observation_space.spaces:
            raise ValueError(
                f"env.name={self.cfg.env.name} observes no images ({IMAGES!r}), which "
                f"{type(self).__name__} needs; for states take the agent without Img."
            )
        self._log_memory()
        self.frames: tf.Variable | None = None
        super().build()
        self.carried: Any = None  # a variable
        if compat("image_gradient_sum"):
            self.carried = tf.Variable(tf.zeros(sum(self._sizes())))

    def _log_memory(self) -> None:
        """Says how much memory the images of an iteration take."""
        space = self.venv.single_observation_space[IMAGES]
        size = np.prod(space.shape) * space.dtype.itemsize
        total = self.n_steps * self.venv.num_envs * int(size)
        logger.info("Images of an iteration: twice %.3g GB.", total / 1e9)

    def state(self) -> StateRegistry:
        """Adds gradients that the reference carries over."""
        registry = super().state()
        if self.carried is not None:
            registry.add("carried gradients", AttributeState(self, "carried"))
        return registry

    def compile(self) -> None:
        """Adds shifting, and scoring of what was sampled from unshifted images."""
        super().compile()
        self.shift = tf.function(shift_images)
        self.rescore = tf.function(self.logprobs_of)

    def logprobs_of(self, data: Tensors) -> tf.Tensor:
        """Log-probabilities of stored samples under the present policy."""
        raise NotImplementedError

    def evaluate(self, obs: Tensors) -> tf.Tensor:
        """Values (B, 1) of images as they are."""
        return self.model.critic(obs, no_augment=True)

    # -- the frames of an iteration -------------------------------------------------

    def score(self, rollout: Rollout) -> Tensors:
        """Also scores the samples anew if their images were shifted."""
        data = super().score(rollout)
        if self.augment:
            self.trace("augmented", images=self.frames)
            parts = [self.rescore(piece) for piece in self.slices(data)]
            data["logprobs"] = tf.concat(parts, axis=0)
        return data

    def observations(self, obs: Mapping[str, np.ndarray]) -> Tensors:
        """Images (S * E, To, C, H, W) as a variable, the rest as tensors."""
        others = {key: value for key, value in obs.items() if key != IMAGES}
        images = obs[IMAGES].reshape(-1, *obs[IMAGES].shape[2:])
        if self.frames is None:
            self.frames = tf.Variable(
                tf.zeros(images.shape, tensor_type(images.dtype)), trainable=False
            )
        self._store(images, self.frames)
        return {**super().observations(others), IMAGES: self.frames}

    def _store(self, images: np.ndarray, frames: tf.Variable) -> None:
        """Writes images (N, To, C, H, W) into the variable, shifted if configured."""
        rows, steps = images.shape[:2]
        shifts = None
        if self.augment:
            drawn = self.draws.integers(2 * LARGEST_SHIFT + 1, (rows * steps, 2))
            shifts = drawn.astype(np.int32).reshape(rows, steps, 2)
        for start in range(0, rows, self.slice_size):
            part = slice(start, start + self.slice_size)
            piece = tf.constant(images[part], frames.dtype)
            if shifts is not None:
                single = tf.reshape(piece, [-1, *images.shape[2:]])
                moves = tf.constant(shifts[part].reshape(-1, 2))
                moved = self.shift(single, moves, LARGEST_SHIFT)
                piece = tf.reshape(moved, piece.shape)
            # Assigning to a slice of the variable would copy all of it.
            places = tf.range(start, start + len(piece))
            frames.scatter_update(tf.IndexedSlices(piece, places))

    # -- accumulated gradients --------------------------------------------------------

    def minibatches(self, order: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Minibatches (G, B) of one step, with the index of the last one.

        The last step of an epoch may have fewer of them.
        """
        group: list[np.ndarray] = []
        single = list(super().minibatches(order))
        for number, rows in single:
            group.append(rows)
            if len(group) == self.accumulate or number == len(single) - 1:
                yield number, np.stack(group)
                group = []

    def take_step(
        self, data: Tensors, rows: np.ndarray, number: int
    ) -> list[tuple[Any, np.ndarray]]:
        """One step on the minibatches (G, B) of a group."""
        missing = self.accumulate - len(rows)
        padded = tf.constant(np.pad(rows, ((0, missing), (0, 0))), tf.int64)
        inputs = {**self.step_inputs(number), "count": tf.constant(len(rows))}
        if self.use_bc_loss:
            inputs["noise"] = self._noise_of(inputs["noise"], len(rows))
        if self.carried is not None:
            inputs["complete"] = host_flag(not missing)
            if missing:
                inputs["train"] = {name: host_flag(False) for name in self.learners}
        losses = self.learn_step(data, padded, inputs)
        fields = [field.numpy() for field in losses]
        return [
            (type(losses)(*values), batch)
            for *values, batch in zip(*fields, rows, strict=True)
        ]

    def _noise_of(self, first: list | None, count: int) -> list | None:
        """Recorded draws of each minibatch stacked, if there are any."""
        if first is None:
            return None
        others = [self.policy_noise(self.batch_size) for _ in range(count - 1)]
        return [tf.stack(draws) for draws in zip(first, *others, strict=True)]

    def gradients(
        self, data: Tensors, rows: tf.Tensor, inputs: Tensors, params: list
    ) -> tuple[Any, list[tf.Tensor | None]]:
        """Losses of minibatches (G, B), each (G,), and their mean gradient."""

        def minibatch(index: tf.Tensor) -> tuple[Any, list[tf.Tensor | None]]:
            noise = inputs.get("noise")
            own = {"noise": noise and [draw[index] for draw in noise]}
            return TrainPPOAgent.gradients(self, data, rows[index], own, params)

        losses, sums = sum_gradients(minibatch, inputs["count"], params)
        if self.carried is not None:
            return losses, self._carry(sums, inputs["complete"])
        count = tf.cast(inputs["count"], tf.float32)
        return losses, [None if total is None else total / count for total in sums]

    def _carry(
        self, sums: list[tf.Tensor | None], complete: tf.Tensor
    ) -> list[tf.Tensor | None]:
        """Adds what was left over; keeps it if the group is not complete."""
        before = tf.split(self.carried, self._sizes())
        totals = [
            tf.zeros_like(old) if new is None else old + tf.reshape(new, [-1])
            for old, new in zip(before, sums, strict=True)
        ]
        kept = tf.concat(totals, axis=0)
        self.carried.assign(tf.where(complete, tf.zeros_like(kept), kept))
        return [
            None if new is None else tf.reshape(total, new.shape)
            for total, new in zip(totals, sums, strict=True)
        ]

    def _sizes(self) -> list[int]:
        """Elements of each trained variable."""
        groups = (learner.params for learner in self.learners.values())
        return [int(np.prod(p.shape)) for params in groups for p in params]

    def exceeds_target(self, losses: Any) -> bool:
        """As the base, once the actor learns."""
        return self.itr >= self.warmup and super().exceeds_target(losses)
