"""What the baselines on diffusion policies share: exploration, and twin critics.

An extra file next to `diffusion.py`: in the reference each of these models has its own
copy of the sampler, of the Bellman error and of the target updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import entries_below
from model.common.objectives import bellman_error, polyak, q_target
from model.diffusion.diffusion import DiffusionModel
from util.checkpoint import load_policy
from util.seeding import Noise
from util.torch_to_tf import clone_network, nn_Module


class ExploringDiffusion(DiffusionModel):
    """A DDPM policy that explores by adding noise in every denoising step.

    Args:
        use_ddim: Must be false.
        min_sampling_denoising_std: Least standard deviation of a step that explores.
        network_path: Checkpoint to start from.
        **kwargs: Arguments of `DiffusionModel`.
    """

    def __init__(
        self,
        use_ddim: bool = False,
        min_sampling_denoising_std: float = 0.1,
        network_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        if use_ddim:
            raise ValueError(
                f"use_ddim must be false, got {use_ddim}: {type(self).__name__} "
                "samples by DDPM only."
            )
        super().__init__(use_ddim=use_ddim, network_path=network_path, **kwargs)
        self.network_path = network_path
        self.min_sampling_denoising_std = min_sampling_denoising_std

    def restore_parts(self) -> None:
        """Reads critics and slow copies from `network_path`, if it has all of them."""
        if not self.network_path:
            return
        parts = [n for n, _ in self.named_children() if n not in ("network", "actor")]
        weights = load_policy(self.network_path).weights or {}
        if all(entries_below(f"{part}.", weights) for part in parts):
            self.load_finetuned(self.network_path, *parts)

    @property
    def policy(self) -> nn_Module:
        """The network that acts."""
        return self.network

    def sampling_std(
        self, logvar: tf.Tensor, t: tf.Tensor, deterministic: bool
    ) -> tf.Tensor:
        """As the base class if deterministic; else at least the exploration noise."""
        if deterministic:
            return super().sampling_std(logvar, t, deterministic)
        return tf.maximum(tf.exp(0.5 * logvar), self.min_sampling_denoising_std)

    def reparameterised(
        self,
        cond: Cond,
        deterministic: bool,
        noise: Noise = None,
    ) -> tf.Tensor:
        """Sampled actions (B, Ta, Da) as a function of the network, see `forward`."""
        x, z = self.sampling_noise(cond, noise)
        positions = range(self.denoising_steps)
        return self.denoise(x, z, cond, self.policy, positions, deterministic)[0]

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        noise: Noise = None,
    ) -> tf.Tensor:
        """Samples actions (B, Ta, Da), without gradient.

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: No exploration noise.
            noise: 1 + K standard normal draws (B, Ta, Da): start, then each step.
        """
        return tf.stop_gradient(self.reparameterised(cond, deterministic, noise))

    call: Callable[..., Any] = forward


class TwinQDiffusion(ExploringDiffusion):
    """An exploring policy with two Q-functions and their slow copies.

    Leaves say under which names, and register `actor`, the second name of `network`,
    where the reference has it among the entries of its checkpoints.

    Args:
        actor: Noise prediction network.
        critic: `CriticObsAct` with `double_q`, of whole chunks.
        **kwargs: Arguments of `ExploringDiffusion`.
    """

    critic_names: ClassVar[tuple[str, str]] = ("critic", "critic_target")

    def __init__(self, actor: nn_Module, critic: nn_Module, **kwargs: Any) -> None:
        super().__init__(network=actor, **kwargs)
        self._check_critic(critic)
        for name, module in zip(
            self.critic_names, (critic, clone_network(critic)), strict=True
        ):
            setattr(self, name, module)

    def _check_critic(self, critic: nn_Module) -> None:
        name, width = self.critic_names[0], self.horizon_steps * self.action_dim
        if not getattr(critic, "double_q", True):
            raise ValueError(f"{name}.double_q must be true, got false.")
        if getattr(critic, "action_width", width) != width:
            raise ValueError(
                f"{name} must see whole chunks of horizon_steps={self.horizon_steps} "
                f"actions, {width} numbers, got action_dim * action_steps="
                f"{critic.action_width}; act_steps must be horizon_steps."
            )

    def q_values(self, obs: Cond, actions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Q1 and Q2, each (B,)."""
        return getattr(self, self.critic_names[0])(obs, actions)

    def target_q_value(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """The lower one of both slow copies, (B,)."""
        return tf.minimum(*getattr(self, self.critic_names[1])(obs, actions))

    def next_value(self, next_obs: Cond, noise: Noise) -> tf.Tensor:
        """min Q(s', a') of the slow copies with a' from the policy, (B,)."""
        return self.target_q_value(next_obs, self.forward(next_obs, noise=noise))

    def loss_critic(
        self,
        obs: Cond,
        next_obs: Cond,
        actions: tf.Tensor,
        rewards: tf.Tensor,
        terminated: tf.Tensor,
        gamma: float,
        noise: Noise = None,
    ) -> tf.Tensor:
        """Sum of both critics' mean squared Bellman errors.

        Args:
            obs: {"state": (B, To, Do)}.
            next_obs: As `obs`.
            actions: (B, Ta, Da).
            rewards: (B,).
            terminated: (B,), 0 or 1.
            gamma: Discount per chunk step.
            noise: Draws of the next action, as for `forward`.
        """
        next_value = self.next_value(next_obs, noise)
        target = q_target(rewards, terminated, next_value, gamma)
        return bellman_error(self.q_values(obs, actions), target)

    def update_target_critic(self, tau: float) -> None:
        """target <- (1 - tau) target + tau critic."""
        critic, target = (getattr(self, name) for name in self.critic_names)
        polyak(target.parameters(), critic.parameters(), tau)
