"""A Gaussian policy over action chunks: behaviour cloning and sampling."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond
from util.checkpoint import PolicyFile, load_policy
from util.config import compat
from util.seeding import Draws
from util.torch_to_tf import nn_Module, torch_clamp, torch_tanh
from util.torch_to_tf.distributions import normal_entropy, normal_log_prob
from util.torch_to_tf.init import generator

logger = logging.getLogger(__name__)

DETERMINISTIC_STD = 1e-4


class Policy(nn_Module):
    """What every policy model has: a generator and a way to start from a file.

    Args:
        device: Accepted for the reference's signature; the launcher places tensors.
    """

    def __init__(self, device: str = "auto") -> None:
        super().__init__()
        self.rng = tf.random.Generator.from_seed(int(generator().integers(2**31)))

    def set_rng(self, rng: tf.random.Generator) -> None:
        """Makes all draws of this model and of its parts come from `rng`."""
        self.rng = rng
        for part in self.modules():
            if isinstance(getattr(part, "generator", None), tf.random.Generator):
                part.generator = rng

    def draws(self, noise: Sequence[Any] | Draws | None) -> Draws:
        """The source of one call's draws: recorded `noise`, or the generator.

        A source that other draws were made from already goes on.
        """
        return noise if isinstance(noise, Draws) else Draws(self.rng, noise)

    def description(self) -> dict[str, Any]:
        """What a checkpoint says about its policy, so that others can check it."""
        network = {"class": type(self.network).__name__, **self.network.get_config()}
        own = {name: getattr(self, name, None) for name in TRAINED_WITH + RUN_WITH}
        return {"network": network, **own}

    def check_description(self, policy: PolicyFile, names: Sequence[str]) -> None:
        """Refuses a policy that was made with other settings than this model's.

        Files of the reference say nothing about themselves and pass.

        Raises:
            ValueError: Names each setting with both values.
        """
        mine, theirs = self.description(), policy.meta
        pairs = {name: (theirs.get(name), mine[name]) for name in names}
        network = theirs.get("network", {})
        pairs |= {
            f"network.{key}": (network[key], value)
            for key, value in mine["network"].items()
            if key in network and key not in _FREE_OPTIONS
        }
        conflicts = [
            f"{name}={_plain(theirs)} (this config: {_plain(mine)})"
            for name, (theirs, mine) in pairs.items()
            if theirs is not None and _plain(theirs) != _plain(mine)
        ]
        if conflicts:
            raise ValueError(
                f"{policy.path} does not fit this config; it was made with "
                f"{', '.join(conflicts)}."
            )

    def load_network(self, path: str, use_ema: bool) -> None:
        """Copies the policy of a checkpoint into `self.network`.

        Args:
            path: `.pt` file, state folder or run folder.
            use_ema: Prefer the exponential moving average, if there is one.

        Raises:
            ValueError: No entry fits, or a shape differs.
        """
        policy = load_policy(path)
        self.check_description(policy, TRAINED_WITH)
        use_ema = use_ema and policy.ema is not None
        weights = (policy.ema if use_ema else policy.weights or policy.ema) or {}
        own = policy_entries("network.", weights)
        with naming(policy.path):
            missing, unexpected = self.network.load_state_dict(own, strict=False)
        # The config says how the deviation is made; mean and features must fit.
        missing, unexpected = (
            [key for key in keys if key not in (*_STD_BOUNDS, "logvar")]
            for keys in (missing, unexpected)
        )
        if missing or unexpected:
            raise ValueError(
                f"{policy.path} does not fit {type(self.network).__name__}: missing "
                f"{missing or 'nothing'}, unexpected {unexpected or 'nothing'}. Is it "
                "a checkpoint of another task or network?"
            )
        logger.info(
            "policy from %s (%s weights)", policy.path, "EMA" if use_ema else "raw"
        )

    def load_finetuned(self, path: str, *names: str, strict: bool = False) -> None:
        """Restores the named parts, besides `network`, if the file is of fine-tuning.

        Args:
            path: `.pt` file, state folder or run folder.
            *names: Attributes that are modules.
            strict: Refuse a file without these parts.

        Raises:
            ValueError: A shape differs; or, if strict, a part is missing.
        """
        policy = load_policy(path)
        if not strict and (policy.ema is not None or policy.weights is None):
            return
        for name in names:
            entries = policy_entries(f"{name}.", policy.weights or {})
            with naming(policy.path):
                getattr(self, name).load_state_dict(entries, strict)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of loading a state dict name the file that it came from."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path} is of another task or network: {error}") from error


def policy_entries(
    prefix: str, weights: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Entries under `prefix`, without it, that replace those of a config's network.

    Bounds of the standard deviation are the config's, unless the reference's behaviour
    is asked for.
    """
    entries = entries_below(prefix, weights)
    if compat("checkpoint_std_bounds"):
        return entries
    return {key: value for key, value in entries.items() if key not in _STD_BOUNDS}


def entries_below(
    prefix: str, weights: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Entries under `prefix`, without it."""
    return {
        key.removeprefix(prefix): value
        for key, value in weights.items()
        if key.startswith(prefix)
    }


_STD_BOUNDS = ("logvar_min", "logvar_max")
# Fine-tuning learns, and bounds by its own config, what pre-training kept constant.
# Options of a network that may differ between pre-training and what follows.
_FREE_OPTIONS = (
    *("fixed_std", "learn_fixed_std", "std_min", "std_max"),
    *("augment", "dropout"),
)
# Settings that a policy must keep for life, and those that it must be run with.
TRAINED_WITH = (
    "horizon_steps",
    "obs_dim",
    "action_dim",
    "denoising_steps",
    "predict_epsilon",
)
RUN_WITH = ("use_ddim", "ddim_steps", "ft_denoising_steps")


def _plain(value: Any) -> Any:
    """Lists and tuples alike, as they are after a round trip through JSON."""
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


class GaussianModel(Policy):
    """A Gaussian over the action chunk, trained by maximum likelihood.

    Args:
        network: Returns mean and standard deviation, each (B, Ta * Da).
        horizon_steps: Ta.
        network_path: Checkpoint to start from.
        device: Not used.
        randn_clip_value: Samples stay within this many standard deviations.
        tanh_output: Squash samples by tanh (the log-probability is corrected).
        use_ema: Start from averaged weights if the checkpoint has them.
    """

    def __init__(
        self,
        network: nn_Module,
        horizon_steps: int,
        network_path: str | None = None,
        device: str = "auto",
        randn_clip_value: float = 10,
        tanh_output: bool = False,
        use_ema: bool | None = None,
    ) -> None:
        super().__init__(device)
        self.network = network
        self.horizon_steps = horizon_steps
        self.randn_clip_value = randn_clip_value
        self.tanh_output = tanh_output
        if network_path:
            default = not compat("raw_weights")
            self.load_network(network_path, default if use_ema is None else use_ema)

    def forward_train(
        self,
        cond: Cond,
        deterministic: bool = False,
        network_override: nn_Module | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation, each (B, Ta * Da).

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: Use a standard deviation of 1e-4.
            network_override: Another network instead of `network`.
        """
        mean, std = (network_override or self.network)(cond)
        if deterministic:
            std = tf.ones_like(mean) * DETERMINISTIC_STD
        return mean, std

    def loss(
        self, true_action: tf.Tensor, cond: Cond, ent_coef: float = 0.0
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """-mean log N(a) - ent_coef mean entropy, both over all elements.

        Args:
            true_action: (B, Ta, Da).
            cond: {"state": (B, To, Do)}.
            ent_coef: Weight of the entropy.

        Returns:
            The loss, and {"entropy": mean entropy}.
        """
        mean, std = self.forward_train(cond)
        flat = tf.reshape(true_action, tf.shape(mean))
        entropy = tf.reduce_mean(normal_entropy(std))
        loss = -tf.reduce_mean(normal_log_prob(flat, mean, std)) - ent_coef * entropy
        return loss, {"entropy": entropy}

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        network_override: nn_Module | None = None,
        reparameterize: bool = False,
        get_logprob: bool = False,
        noise: Sequence[Any] | Draws | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Samples action chunks.

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: Sample with a standard deviation of 1e-4.
            network_override: Another network instead of `network`.
            reparameterize: Let gradients flow through the sample.
            get_logprob: Also return the log-probability.
            noise: One standard normal draw (B, Ta * Da).

        Returns:
            Actions (B, Ta, Da); with `get_logprob` also their joint log-probability
            (B,), corrected for the tanh (Haarnoja et al., 2018, appendix C).
        """
        mean, std = self.forward_train(cond, deterministic, network_override)
        sample = mean + std * self.draws(noise).normal(tf.shape(mean))
        if not reparameterize:
            sample = tf.stop_gradient(sample)
        reach = self.randn_clip_value * std
        sample = torch_clamp(sample, mean - reach, mean + reach)
        action = torch_tanh(sample) if self.tanh_output else sample
        width = mean.shape[-1] // self.horizon_steps
        chunk = tf.reshape(action, [-1, self.horizon_steps, width])
        if not get_logprob:
            return chunk
        logprob = normal_log_prob(sample, mean, std)
        if self.tanh_output:
            # In double: compilers fold 1 + 1e-6, which float32 cannot hold.
            slope = 1.0 - tf.cast(tf.square(action), tf.float64)
            logprob -= tf.cast(tf.math.log(slope + 1e-6), logprob.dtype)
        return chunk, tf.reduce_sum(logprob, axis=-1)

    call = forward


def cast_cond(cond: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Observations as tensors; images stay uint8, states become float32."""
    return {
        key: tf.convert_to_tensor(value) if key == "rgb" else tf.cast(value, tf.float32)
        for key, value in cond.items()
    }
