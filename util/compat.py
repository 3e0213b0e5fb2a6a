"""Switches that bring back single behaviours of the reference.

Where the reference is broken or odd this project does what `COMPAT` says is right.
`compat.<name>: true` in a config turns one of the reference's behaviours on, the root
key `reference: true` (in Python `with reference():`) all of them: recorded numbers of
the reference are replayed that way. Code asks `compat("<name>")`.

The switches are one process-wide setting. Worker processes started while a switch is
on inherit it when they are forked; nothing else may rely on it.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

COMPAT: dict[str, str] = {
    "gae_ignores_truncation": "GAE is cut at terminated only, not at truncated",
    "no_reset_after_eval": "training goes on from the evaluation's environments",
    "drop_single_chunk_episodes": "episodes of one chunk are not counted",
    "force_train_needs_reset": "no reset before the first rollout of force_train",
    "reward_scale_gamma_099": "the running reward scale uses 0.99, not train.gamma",
    "raw_weights": "raw instead of EMA weights where the reference reads them",
    "checkpoint_std_bounds": "std bounds of the checkpoint override the config's",
    "gmm_joint_logprob_clamp": "the GMM's log-density is summed before its clamp",
    "awr_broadcast": "every AWR value is regressed on the batch's mean target",
    "awr_oldest_rows": "the AWR critic sees the oldest rows of the buffer only",
    "awr_fixed_discount": "AWR's TD targets use a fixed discount of 0.99",
    "identical_ensembles": "members of an ensemble start from equal weights",
    "stale_ensemble_checkpoint": "the untrained critics are saved and act",
    "ibrl_exp_of_exp": "IBRL's soft choice applies exp twice",
    "ibrl_teacher_dropout": "IBRL's teacher acts with dropout",
    "calql_broadcast": "Cal-QL's terms broadcast over the batch",
    "calql_density": "Cal-QL's uniform proposal enters without its log-density",
    "unscaled_offline_rewards": "offline rewards and Cal-QL's returns are not scaled",
    "calql_misaligned_returns": "Cal-QL's online returns belong to other transitions",
    "dql_bc_on_own_actions": "DQL clones its own samples, not the buffer's actions",
    "dql_unit_action_clip": "DQL's differentiable samples are limited to 1",
    "bc_reverse": "the BC term has the reference's direction",
    "idql_two_level_choice": "IDQL explores with two weights, 0.7 and 0.3",
    "final_obs_aliasing": "the policy sees the old episode's last observation",
    "rwr_needs_finished_episode": "RWR uses finished episodes only",
    "exact_base_divergence": "exact likelihood takes the base network's divergence",
    "exact_drift_scale": "exact likelihood scales the drift as the reference does",
    "exact_score_of_clean_action": "a predicted clean action has a step's scales",
    "exact_switch_off_by_one": "exact likelihood changes networks a step away",
    "image_gradient_sum": "accumulated gradients are summed and carried over",
    "scheduler_min_above_max": "a schedule's min_lr may lie above its lr",
    "qlearning_zero_next_state": "Q-learning data end in zeros; a chunk has one reward",
    "robomimic_no_terminals": "robomimic's Q-learning data have no terminals",
    "augment_in_eval": "networks that augment images do so in evaluation mode, too",
    "single_step_clip_nan": "the clip range of a single fine-tuned step is NaN",
    "single_step_episode_statistics": "iterations of one step report no episodes",
    "d4rl_drop_nonpositive_returns": "D4RL episodes without positive return are cut",
}
"""Name of each switch and what the reference does when it is on."""

_active: frozenset[str] = frozenset()


def compat(name: str) -> bool:
    """Returns whether the reference's behaviour `name` is on.

    Raises:
        ValueError: If no such switch exists; names the nearest one.
    """
    _check_name(name)
    return name in _active


def _check_name(name: str) -> None:
    """Refuses a switch that is not in `COMPAT`."""
    if name not in COMPAT:
        near = difflib.get_close_matches(name, COMPAT, n=1, cutoff=0.0)
        raise ValueError(
            f"compat: no switch is called {name!r}; the nearest is {near[0]!r}."
        )


def _combine(start: frozenset[str], switches: Mapping[str, Any]) -> frozenset[str]:
    """The switches that are on after applying `switches` to `start`."""
    result = set(start)
    for name, on in switches.items():
        _check_name(name)
        if not isinstance(on, bool):
            raise ValueError(f"compat.{name} must be true or false, got {on!r}.")
        (result.add if on else result.discard)(name)
    return frozenset(result)


@contextmanager
def _setting(active: frozenset[str]) -> Iterator[None]:
    """Makes `active` the switches that are on, inside the `with` block."""
    global _active
    before, _active = _active, active
    try:
        yield
    finally:
        _active = before


@contextmanager
def reference(on: bool = True) -> Iterator[None]:
    """Turns every switch on (or off), inside the `with` block."""
    with _setting(frozenset(COMPAT) if on else frozenset()):
        yield


@contextmanager
def compat_scope(switches: Mapping[str, bool]) -> Iterator[None]:
    """Turns the named switches on or off, inside the `with` block.

    Raises:
        ValueError: If a name is unknown or a value is not a bool.
    """
    with _setting(_combine(_active, switches)):
        yield


def apply_compat(cfg: Mapping[str, Any]) -> list[str]:
    """Sets the switches from the root keys `reference` and `compat` of a config.

    What was set before is forgotten, so that jobs of one process do not mix.
    `compat.<name>: false` takes one switch out of `reference: true`.

    Args:
        cfg: The whole config.

    Returns:
        The names that are on, sorted.

    Raises:
        ValueError: If a name is unknown or a value is not a bool.
    """
    global _active
    everything = cfg.get("reference")
    if not isinstance(everything, (bool, type(None))):
        raise ValueError(f"reference must be true or false, got {everything!r}.")
    start = frozenset(COMPAT) if everything else frozenset()
    _active = _combine(start, cfg.get("compat") or {})
    if _active:
        log.info("Behaviours of the reference in use: %s", ", ".join(sorted(_active)))
    return sorted(_active)
