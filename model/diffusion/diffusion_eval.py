"""A diffusion policy read from a checkpoint, pre-trained or fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import RUN_WITH, TRAINED_WITH, entries_below, naming
from model.diffusion.diffusion import DiffusionModel, Sample
from util.checkpoint import PolicyFile, load_policy
from util.config import compat
from util.torch_to_tf import clone_network, nn_Module


class DiffusionEval(DiffusionModel):
    """Deterministic sampling with the base and the fine-tuned network of a file.

    Args:
        network: Noise prediction network.
        network_path: Checkpoint to evaluate.
        ft_denoising_steps: Steps of the fine-tuned network, 0 for a pre-trained file;
            None takes what the checkpoint says.
        use_ddim: Sample with DDIM.
        use_ema: Averaged weights of a pre-trained file, if it has them. The reference
            evaluates the raw ones.
        **kwargs: Arguments of `DiffusionModel`.

    Raises:
        ValueError: The file does not fit the network or `ft_denoising_steps`.
    """

    def __init__(
        self,
        network: nn_Module,
        network_path: str,
        ft_denoising_steps: int | None = None,
        use_ddim: bool = False,
        use_ema: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network=network, use_ddim=use_ddim, **kwargs)
        policy = load_policy(network_path)
        weights = policy.weights or {}
        finetuned = any(key.startswith("actor_ft.") for key in weights)
        self.ft_denoising_steps = self._steps(policy, finetuned, ft_denoising_steps)
        self.check_description(policy, TRAINED_WITH)
        self.actor = self.network
        if finetuned:
            self.check_description(policy, RUN_WITH)
            with naming(policy.path):
                self._load_finetuned(weights)
        else:
            default = not compat("raw_weights")
            self._load_pretrained(policy, default if use_ema is None else use_ema)

    def _steps(self, policy: PolicyFile, finetuned: bool, given: int | None) -> int:
        """The number of fine-tuned steps, from the file unless it is given."""
        steps = policy.meta.get("ft_denoising_steps") if finetuned else 0
        steps = steps if given is None else given
        if steps is None:
            raise ValueError(
                f"{policy.path} is fine-tuned, but does not say with how many steps: "
                "set ft_denoising_steps (10 in the gym configs)."
            )
        if not 0 <= steps <= len(self.sampling_t):
            raise ValueError(
                f"ft_denoising_steps must be in 0..{len(self.sampling_t)}, got {steps}."
            )
        if finetuned and steps == 0 and not compat("raw_weights"):
            raise ValueError(
                f"{policy.path} is fine-tuned, but ft_denoising_steps=0 would evaluate "
                "its frozen base policy. Set it to the number it was trained with (10 "
                "in the gym configs); null reads it from a checkpoint of our own."
            )
        return steps

    def _load_finetuned(self, weights: Mapping[str, np.ndarray]) -> None:
        self.network.load_state_dict(entries_below("actor.", weights))
        self.actor_ft = clone_network(self.network)
        self.actor_ft.load_state_dict(entries_below("actor_ft.", weights))

    def _load_pretrained(self, policy: PolicyFile, use_ema: bool) -> None:
        if self.ft_denoising_steps:
            raise ValueError(
                f"{policy.path} is a pre-trained checkpoint without actor_ft, but "
                f"ft_denoising_steps={self.ft_denoising_steps}; it must be 0."
            )
        averaged = policy.ema if use_ema else None
        with naming(policy.path):
            self.network.load_state_dict(
                entries_below(
                    "network.", averaged or policy.weights or policy.ema or {}
                )
            )

    def p_mean_var(
        self,
        x: tf.Tensor,
        t: tf.Tensor,
        cond: Cond,
        index: tf.Tensor | None = None,
        deterministic: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log-variance with the network chosen row by row.

        Args:
            x: Noisy chunk (B, Ta, Da).
            t: Denoising step of each row, (B,) int.
            cond: Observations.
            index: Sampling position of each row, (B,) int; DDIM only.
            deterministic: Required for DDIM, which adds no noise here.
        """
        prediction = self.actor(x, t, cond=cond)
        if self.ft_denoising_steps:
            if self.use_ddim:
                first = len(self.sampling_t) - self.ft_denoising_steps
                finetuned = tf.greater_equal(index, first)
            else:
                finetuned = t < self.ft_denoising_steps
            prediction = tf.where(
                tf.reshape(finetuned, [-1, 1, 1]),
                self.actor_ft(x, t, cond=cond),
                prediction,
            )
        return self.sampling_posterior(x, prediction, t, index, cond, deterministic)

    def sampling_posterior(
        self,
        x: tf.Tensor,
        prediction: tf.Tensor,
        t: tf.Tensor,
        index: tf.Tensor | None,
        cond: Cond,
        deterministic: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Of the deterministic sampler in DDIM."""
        if not self.use_ddim:
            return self.posterior(x, prediction, t, index)
        if not deterministic:
            raise ValueError(
                "DiffusionEval has no eta, so DDIM needs deterministic=True."
            )
        eta = tf.zeros([tf.shape(x)[0], 1, 1])
        return self.posterior(x, prediction, t, index, eta)

    def forward(
        self,
        cond: Cond,
        deterministic: bool = True,
        noise: Sequence[Any] | None = None,
    ) -> Sample:
        """Samples actions; one network for each part of the chain.

        Args:
            cond: Observations.
            deterministic: As in `p_mean_var`.
            noise: 1 + n standard normal draws (B, Ta, Da): start, then each step.
        """
        x, z = self.sampling_noise(cond, noise)
        total = len(self.sampling_t)
        first = total - self.ft_denoising_steps
        parts = [(self.actor, range(first))]
        if self.ft_denoising_steps:
            parts.append((self.actor_ft, range(first, total)))

        for network, positions in parts:
            x, *_ = self.denoise(x, z, cond, network, positions, deterministic)
        return Sample(x)

    call = forward
