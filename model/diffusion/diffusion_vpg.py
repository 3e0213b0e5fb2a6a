"""Policy gradient over denoising steps: a frozen base policy and a fine-tuned one.

The last `ft_denoising_steps` steps of the sampler use the fine-tuned network, the ones
before it the base network (DPPO, section 4.3). Each step is one Gaussian action of the
two-layer MDP, with the likelihood of eq. 4.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond, repeat_rows
from model.common.gaussian import naming
from model.diffusion.diffusion import DiffusionModel, Sample
from model.diffusion.modules import predict_rows
from util.checkpoint import load_policy
from util.torch_to_tf import clone_network, nn_Module
from util.torch_to_tf.distributions import normal_log_prob

_ROWS_FIRST = (1, 0, 2, 3)


class VPGDiffusion(DiffusionModel):
    """Sampling with exploration noise, and log-probabilities of denoising steps.

    Args:
        actor: Noise prediction network; becomes the frozen base policy.
        critic: State value.
        ft_denoising_steps: Number K of fine-tuned steps, counted from the clean end.
        ft_denoising_steps_d: How many steps fewer after each annealing interval.
        ft_denoising_steps_t: Iterations between two annealings; 0 for none.
        network_path: Checkpoint to start from.
        min_sampling_denoising_std: Least noise when exploring, a number, or an object
            that gives it when called and is advanced by its `step()`.
        min_logprob_denoising_std: Least standard deviation of the likelihood.
        eta: Module giving the noise of DDIM sampling.
        learn_eta: Train `eta`.
        **kwargs: Arguments of `DiffusionModel`.
    """

    def __init__(
        self,
        actor: nn_Module,
        critic: nn_Module,
        ft_denoising_steps: int,
        ft_denoising_steps_d: int = 0,
        ft_denoising_steps_t: int = 0,
        network_path: str | None = None,
        min_sampling_denoising_std: Any = 0.1,
        min_logprob_denoising_std: float = 0.1,
        eta: nn_Module | None = None,
        learn_eta: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(network=actor, network_path=network_path, **kwargs)
        self.ft_denoising_steps = ft_denoising_steps
        self.ft_denoising_steps_d = ft_denoising_steps_d
        self.ft_denoising_steps_t = ft_denoising_steps_t
        self.ft_denoising_steps_cnt = 0
        self.min_sampling_denoising_std = min_sampling_denoising_std
        self.min_logprob_denoising_std = min_logprob_denoising_std
        self.learn_eta = learn_eta
        # A variable, so that an annealed floor reaches compiled code.
        self.sampling_floor = tf.Variable(
            self.get_min_sampling_denoising_std(), dtype=tf.float32, trainable=False
        )
        self._check()
        if eta is not None:
            self.eta = eta.requires_grad_(learn_eta)
        self.actor_ft = clone_network(self.network).requires_grad_(True)
        self.actor = self.network.requires_grad_(False)
        # Registered in the reference's order: actor before actor_ft.
        modules = self.__dict__["_torch_modules"]
        modules["actor_ft"] = modules.pop("actor_ft")
        self.critic = critic
        if network_path:
            self._load_finetuned(network_path)

    def _check(self) -> None:
        steps = len(self.sampling_t)
        name = "ddim_steps" if self.use_ddim else "denoising_steps"
        if not 0 <= self.ft_denoising_steps <= steps:
            raise ValueError(
                f"ft_denoising_steps must be in 0..{name}={steps}, "
                f"got {self.ft_denoising_steps}."
            )
        if self.learn_eta and not self.use_ddim:
            raise ValueError("learn_eta needs use_ddim=True, got False.")

    def _load_finetuned(self, path: str) -> None:
        """Restores actor_ft, critic and eta if the file is of fine-tuning."""
        policy = load_policy(path)
        if policy.ema is None and policy.weights is not None:
            with naming(policy.path):
                self.load_state_dict(policy.weights, strict=False)

    # -- annealing ------------------------------------------------------------------

    def step(self) -> bool:
        """Advances the annealing of noise and fine-tuned steps by one iteration.

        Returns:
            Whether the number of fine-tuned steps changed (compiled code is stale).
        """
        if not isinstance(self.min_sampling_denoising_std, int | float):
            self.min_sampling_denoising_std.step()
            self.sampling_floor.assign(self.get_min_sampling_denoising_std())
        self.ft_denoising_steps_cnt += 1
        if not (self.ft_denoising_steps_d > 0 and self.ft_denoising_steps_t > 0):
            return False
        if self.ft_denoising_steps_cnt % self.ft_denoising_steps_t:
            return False
        before = self.ft_denoising_steps
        self.ft_denoising_steps = max(0, before - self.ft_denoising_steps_d)
        # The fine-tuned policy becomes the base; the optimizer keeps its variables.
        self.actor.load_state_dict(self.actor_ft.state_dict())
        return self.ft_denoising_steps != before

    def resume_annealing(self, count: int, ft_denoising_steps: int) -> None:
        """Continues after `count` calls of `step`; weights are loaded apart."""
        self.ft_denoising_steps_cnt = count
        self.ft_denoising_steps = ft_denoising_steps
        if not isinstance(self.min_sampling_denoising_std, int | float):
            for _ in range(count):
                self.min_sampling_denoising_std.step()
            self.sampling_floor.assign(self.get_min_sampling_denoising_std())

    def get_min_sampling_denoising_std(self) -> float:
        """Least noise when exploring, at this iteration."""
        std = self.min_sampling_denoising_std
        return float(std) if isinstance(std, int | float) else float(std())

    # -- posterior --------------------------------------------------------------------

    @property
    def first_ft_position(self) -> int:
        """Sampling position of the first fine-tuned step."""
        return len(self.sampling_t) - self.ft_denoising_steps

    def p_mean_var(
        self,
        x: tf.Tensor,
        t: tf.Tensor,
        cond: Cond,
        index: tf.Tensor | None = None,
        use_base_policy: bool = False,
        deterministic: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Mean, log-variance and eta, with the network chosen row by row.

        Args:
            x: Noisy chunk (B, Ta, Da).
            t: Denoising step of each row, (B,) int.
            cond: Observations.
            index: Sampling position of each row, (B,) int; DDIM only.
            use_base_policy: The base policy in every step.
            deterministic: No noise (eta 0) in DDIM.
        """
        base = self.actor(x, t, cond=cond)
        if use_base_policy:
            return self._posterior_eta(x, base, t, index, cond, deterministic)
        if self.use_ddim:
            finetuned = tf.greater_equal(index, self.first_ft_position)
        else:
            finetuned = t < self.ft_denoising_steps
        prediction = tf.where(
            tf.reshape(finetuned, [-1, 1, 1]), self.actor_ft(x, t, cond=cond), base
        )
        return self._posterior_eta(x, prediction, t, index, cond, deterministic)

    def _posterior_eta(
        self,
        x: tf.Tensor,
        prediction: tf.Tensor,
        t: tf.Tensor,
        index: tf.Tensor | None,
        cond: Cond,
        deterministic: bool,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if not self.use_ddim:
            mu, logvar = self.posterior(x, prediction, t, index)
            return mu, logvar, tf.ones_like(mu)
        if deterministic:
            eta = tf.zeros([tf.shape(x)[0], 1, 1])
        elif not hasattr(self, "eta"):
            raise ValueError(
                "DDIM with exploration needs model.eta, got none. Add e.g. "
                "model.eta._target_=model.diffusion.eta.EtaFixed."
            )
        else:
            eta = self.eta(cond)[:, None, :]
        mu, logvar = self.posterior(x, prediction, t, index, eta)
        return mu, logvar, eta

    # -- sampling ---------------------------------------------------------------------

    def sampling_posterior(
        self,
        x: tf.Tensor,
        prediction: tf.Tensor,
        t: tf.Tensor,
        index: tf.Tensor,
        cond: Cond,
        deterministic: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """With the noise of eta in DDIM."""
        return self._posterior_eta(x, prediction, t, index, cond, deterministic)[:2]

    def sampling_std(
        self, logvar: tf.Tensor, t: tf.Tensor, deterministic: bool
    ) -> tf.Tensor:
        """As the base class if deterministic; else at least the exploration noise."""
        if deterministic:
            return super().sampling_std(logvar, t, deterministic)
        return tf.maximum(tf.exp(0.5 * logvar), self.sampling_floor)

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        return_chain: bool = True,
        use_base_policy: bool = False,
        noise: Sequence[Any] | None = None,
    ) -> Sample:
        """Samples actions and keeps the chain of fine-tuned steps.

        An exploring policy also keeps their log-probabilities, `get_logprobs` of the
        chain: the means are at hand.

        Args:
            cond: Observations.
            deterministic: No exploration noise.
            return_chain: Also return the chain.
            use_base_policy: The base policy in every step.
            noise: 1 + n standard normal draws (B, Ta, Da): start, then each step.
        """
        x, z = self.sampling_noise(cond, noise)
        first, total = self.first_ft_position, len(self.sampling_t)

        if first:
            x, *_ = self.denoise(x, z, cond, self.actor, range(first), deterministic)
        start, scored = x[None], {} if deterministic else {"score": self._log_density}
        if first == total:
            return Sample(x, tf.transpose(start, _ROWS_FIRST) if return_chain else None)
        network = self.actor if use_base_policy else self.actor_ft
        x, kept, logprobs = self.denoise(
            x, z, cond, network, range(first, total), deterministic, **scored
        )
        if not return_chain:
            return Sample(x)
        chain = tf.transpose(tf.concat([start, kept], axis=0), _ROWS_FIRST)
        return Sample(
            x, chain, None if deterministic else tf.transpose(logprobs, _ROWS_FIRST)
        )

    call = forward

    # -- log-probabilities ------------------------------------------------------------

    def get_logprobs(
        self,
        cond: Cond,
        chains: tf.Tensor,
        get_ent: bool = False,
        use_base_policy: bool = False,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Log-probability of every step of every chain.

        Args:
            cond: Observations of B rows.
            chains: (B, K + 1, Ta, Da).
            get_ent: Also return eta.
            use_base_policy: Score under the base policy.

        Returns:
            Elementwise log-probabilities (B * K, Ta, Da), denoising step inner, the
            noisiest first.
        """
        steps = self.ft_denoising_steps
        rows = tf.shape(chains)[0]
        shape = [-1, self.horizon_steps, self.action_dim]
        return self.get_logprobs_subsample(
            cond,
            tf.reshape(chains[:, :-1], shape),
            tf.reshape(chains[:, 1:], shape),
            tf.tile(tf.range(steps, dtype=tf.int64), [rows]),
            get_ent,
            use_base_policy,
            copies=steps,
        )

    def get_logprobs_subsample(
        self,
        cond: Cond,
        chains_prev: tf.Tensor,
        chains_next: tf.Tensor,
        denoising_inds: tf.Tensor,
        get_ent: bool = False,
        use_base_policy: bool = False,
        copies: int = 1,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Log-probability of single denoising steps, log N(next; mu(prev), std).

        All rows are fine-tuned steps, so one network is evaluated.

        Args:
            cond: Observations of B / copies rows.
            chains_prev: Action before the step, (B, Ta, Da).
            chains_next: Action after it, (B, Ta, Da).
            denoising_inds: Index of the step in the chain, (B,) int, 0 the noisiest.
            get_ent: Also return eta, (B, 1, 1 or Da); ones (B, Ta, Da) for DDPM.
            use_base_policy: Score under the base policy.
            copies: Rows in succession that share an observation.

        Returns:
            Elementwise log-probabilities (B, Ta, Da).
        """
        index = tf.cast(denoising_inds, tf.int64) + self.first_ft_position
        t = tf.gather(tf.constant(self.sampling_t, tf.int64), index)
        network = self.actor if use_base_policy else self.actor_ft
        prediction = predict_rows(network, chains_prev, t, cond, copies)
        # Images are not repeated: where eta looks at observations, at the state.
        state = repeat_rows({"state": cond["state"]}, copies) if copies > 1 else cond
        mu, logvar, eta = self._posterior_eta(
            chains_prev, prediction, t, index, state, deterministic=False
        )
        logprob = self._log_density(chains_next, mu, logvar)
        return (logprob, eta) if get_ent else logprob

    def _log_density(self, x: tf.Tensor, mu: tf.Tensor, logvar: tf.Tensor) -> tf.Tensor:
        """log N(x; mu, std), elementwise, std at least `min_logprob_denoising_std`."""
        std = tf.maximum(tf.exp(0.5 * logvar), self.min_logprob_denoising_std)
        return normal_log_prob(x, mu, std)

    def loss(self, cond: Cond, chains: tf.Tensor, reward: tf.Tensor) -> tuple:
        """REINFORCE with a value baseline (DPPO, eq. 4.6); K must equal all steps.

        Args:
            cond: Observations of B rows.
            chains: (B, K + 1, Ta, Da).
            reward: Return of each row, (B,).

        Returns:
            Actor loss, critic loss, eta.

        Raises:
            ValueError: Not all denoising steps are fine-tuned.
        """
        if self.first_ft_position:
            raise ValueError(
                "REINFORCE needs ft_denoising_steps equal to all "
                f"{len(self.sampling_t)} steps, got {self.ft_denoising_steps}."
            )
        value = tf.squeeze(self.critic(cond), axis=1)
        advantage = tf.stop_gradient(reward - value)
        logprob, eta = self.get_logprobs(cond, chains, get_ent=True)
        joint = tf.reduce_sum(logprob, axis=-1)
        joint = tf.reshape(joint, [-1, self.ft_denoising_steps, self.horizon_steps])
        actor_loss = tf.reduce_mean(-tf.reduce_mean(joint, axis=[1, 2]) * advantage)
        return actor_loss, tf.reduce_mean((value - reward) ** 2), eta
