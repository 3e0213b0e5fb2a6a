"""Parts of the reference's loops: estimates, minibatches, episodes, optimizers, EMA.

The code under test is this project's own: a small agent is built from a config, and
the part of its loop is run on recorded arrays.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from omegaconf import OmegaConf

from tests.fakes import ScriptedVectorEnv
from tests.parity.build import PendingError, execute, running
from tests.parity.case import Case
from tests.parity.pretrain_cases import replay_ema
from tests.parity.scripted import TapeDraws
from util.config import compose

Produced = dict[str, np.ndarray]

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "cfg/gym/finetune/hopper-v2/ft_ppo_diffusion_mlp.yaml"


def replay(case: Case, mode: str) -> Produced:
    """Computes the recorded results of a case.

    Raises:
        PendingError: The part belongs to a later issue.
    """
    handler = PARTS.get(_kind(case.meta))
    if handler is None:
        raise PendingError(f"{case.meta['class']}, {case.meta['method']}")
    return handler(case, mode)


def _kind(meta: Mapping[str, Any]) -> str:
    """What a case is about, by its method; PPO's blocks only among blocks."""
    name, method = str(meta["class"]), str(meta["method"])
    if method in ("buffer flatten", "advantage weights", "reward weights"):
        return method
    if "(block" in name and not name.startswith("TrainPPO"):
        return name
    return "optimizer" if name.startswith("torch.optim.") else method


# -- rollouts --------------------------------------------------------------------------


def make_rollout(
    rewards: np.ndarray, terminated: Any = None, truncated: Any = None, **changes: Any
) -> Any:
    """A rollout (S, E) with everything else empty or False."""
    from agent.common.rollout import Rollout

    never = np.zeros(rewards.shape, bool)
    steps, envs = rewards.shape
    fields: dict[str, Any] = {
        "obs": {"state": np.zeros((steps, envs, 1, 1))},
        "actions": np.zeros((steps, envs, 1, 1)),
        "extras": {},
        "rewards": rewards,
        "terminated": never if terminated is None else terminated,
        "truncated": never if truncated is None else truncated,
        "firsts": np.zeros((steps + 1, envs)),
        "last_obs": {"state": np.ones((envs, 1, 1))},
        "broken": never,
    }
    return Rollout(**{**fields, **changes})


def _advantages(case: Case, mode: str) -> Produced:
    """`TrainPPOAgent.estimate` on recorded values."""
    inputs, call = case.inputs(), case.meta["call"]
    settings = {f"train.{key}": value for key, value in call.items()}
    rollout = make_rollout(inputs["reward"], inputs["terminated"], inputs["truncated"])
    last = inputs["next_values_last"].reshape(-1).astype(np.float64)
    values = inputs["values"].reshape(-1)
    with ppo_agent(settings) as agent:
        # The last observation alone is not zero.
        agent.values_of = lambda o: last if np.all(o["state"]) else values
        obs = agent.observations(rollout.obs)
        _, advantages, returns = agent.estimate(rollout, obs, inputs["reward"])
    return {"out/advantages": advantages, "out/returns": returns}


@contextlib.contextmanager
def ppo_agent(settings: Mapping[str, Any]) -> Iterator[Any]:
    """A DPPO agent of this project with tiny networks and some settings."""
    from agent.finetune.train_ppo_diffusion_agent import TrainPPODiffusionAgent

    cfg = compose(CONFIG.parent, CONFIG.stem)
    sizes = {"obs_dim": 1, "action_dim": 1, "horizon_steps": 1, "act_steps": 1}
    networks = {"model.actor.mlp_dims": [4], "model.critic.mlp_dims": [4]}
    small = {**sizes, **networks, "base_policy_path": None, "wandb": None}
    with tempfile.TemporaryDirectory() as folder:
        for key, value in {**small, "logdir": folder, **settings}.items():
            OmegaConf.update(cfg, key, value, force_add=True)
        n_envs = cfg.env.n_envs
        tables = {
            "reward": np.zeros((0, n_envs)),
            "reset_obs": np.zeros((1, n_envs, 1, 1)),
        }
        agent = TrainPPODiffusionAgent(cfg, venv=ScriptedVectorEnv(tables))
        agent.trace = lambda *_, **__: None
        yield agent
        agent.logger.close()


def _td_values(case: Case, mode: str) -> Produced:
    """Targets of AWR's values."""
    from agent.finetune.train_awr_diffusion_agent import td_values

    names = ("states", "rewards", "terminateds", "state_values")
    inputs = [case.inputs()[name] for name in names]
    return {"out/tds": td_values(*inputs, **case.meta["call"])}


def _advantage_weights(case: Case, mode: str) -> Produced:
    """AWR's weights of a batch."""
    from agent.finetune.train_awr_diffusion_agent import TrainAWRDiffusionAgent

    agent = object.__new__(TrainAWRDiffusionAgent)
    agent.cfg = OmegaConf.create({"train": case.meta["call"]})
    advantages = tf.constant(case.inputs()["advantages"])
    scaled = agent.normalise(advantages)
    return {"out/normalized": scaled, "out/weights": agent.weigh(advantages)}


def _reward_weights(case: Case, mode: str) -> Produced:
    """RWR's episodes, returns and weights."""
    from agent.common.episodes import find_spans
    from agent.dataset.gather import discounted_returns
    from agent.finetune.train_rwr_diffusion_agent import TrainRWRDiffusionAgent

    inputs, call = case.inputs(), case.meta["call"]
    agent = object.__new__(TrainRWRDiffusionAgent)
    agent.cfg = OmegaConf.create({"train": call})
    rollout = make_rollout(
        inputs["reward"],
        firsts=inputs["firsts"],
        obs={"state": inputs["obs"]},
        extras={"samples": inputs["samples"]},
    )
    rows, spans = agent.weigh(rollout), find_spans(inputs["firsts"])
    pieces = [inputs["reward"][a : b + 1, env] for env, a, b in spans]
    lengths = np.array([len(piece) for piece in pieces])
    rewards = np.concatenate(pieces)
    return {
        "out/episodes_start_end": spans,
        "out/reward_trajs_split/lengths": lengths,
        "out/reward_trajs_split/concat": rewards,
        "out/reward_to_go": discounted_returns(rewards, lengths, call["gamma"]),
        "out/normalized": rows["returns"],
        "out/rewards_k": rows["returns"],
        "out/weights": rows["weights"],
        "out/obs_k": rows["state"],
        "out/samples_k": rows["samples"],
    }


def _buffer_of_vector_steps(case: Case, mode: str) -> Produced:
    """The replay buffer of agents whose `buffer_size` counts vector steps."""
    from agent.common.replay import ReplayBuffer

    inputs = {key: np.asarray(value) for key, value in case.inputs().items()}
    steps, envs = inputs["reward"].shape
    buffer = ReplayBuffer(case.meta["call"]["buffer_size"] * envs)
    for step in range(steps):
        buffer.add({key: value[step] for key, value in inputs.items()})
    rows = buffer.take(np.arange(len(buffer)))
    return {f"out/{key}": value for key, value in rows.items()}


def _episodes(case: Case, mode: str) -> Produced:
    """`summarise` on recorded rewards and episode starts."""
    from agent.common.episodes import summarise

    inputs, call = case.inputs(), case.meta["call"]
    rollout = make_rollout(inputs["reward"], firsts=inputs["firsts"])
    found = summarise(
        rollout,
        call["act_steps"],
        call["best_reward_threshold_for_success"],
        call.get("furniture_sparse_reward", False),
    )
    return episode_arrays(found, rollout.rewards)


def episode_arrays(found: Any, rewards: np.ndarray) -> Produced:
    """Episode statistics under the recorded names."""
    pieces = [rewards[start : end + 1, env] for env, start, end in found.spans]
    values = {
        "episodes_start_end": found.spans,
        "reward_trajs_split/lengths": [len(piece) for piece in pieces],
        "reward_trajs_split/concat": np.concatenate(pieces) if pieces else [],
        "episode_reward": found.rewards,
        "episode_best_reward": found.best_rewards,
        "num_episode_finished": found.count,
        "avg_episode_reward": found.mean("rewards"),
        "avg_best_reward": found.mean("best_rewards"),
        "success_rate": found.mean("success"),
    }
    return {f"out/{key}": np.asarray(value) for key, value in values.items()}


# -- minibatches ----------------------------------------------------------------------


def _minibatches(case: Case, mode: str) -> Produced:
    """The rows that one epoch of the PPO agent hands to the loss."""
    call, order = case.meta["call"], case.arrays["in/inds_k"]
    settings = {
        "denoising_steps": call["denoising_steps"],
        "ft_denoising_steps": call["ft_denoising_steps"],
        "env.n_envs": call["n_envs"],
        "train.n_steps": call["n_steps"],
        "train.batch_size": call["batch_size"],
        "train.update_epochs": 1,
        "train.target_kl": None,
    }
    if call["use_ddim"]:
        steps = call.get("ddim_steps", call["denoising_steps"])
        eta = {"_target_": "model.diffusion.eta.EtaFixed"}
        settings |= {"model.use_ddim": True, "model.ddim_steps": steps}
        settings |= {"model.eta": eta}
    with ppo_agent(settings) as agent, running(mode):
        agent.draws = TapeDraws(["randperm"], [order])
        batches = _keep_minibatches(agent)
        agent.run_epochs(_coded_rows(call))
    produced: dict[str, Any] = {"inds_k": order, "num_batch": len(batches)}
    for number, batch in enumerate(batches):
        code = batch["obs_b"].ravel().astype(np.int64)
        step, env = code // 1000, code % 1000 // 100
        places = {"step": step, "env": env, "batch_inds_b": step * call["n_envs"] + env}
        for key, value in {**batch, **places}.items():
            produced[f"batch{number}/{key}"] = value
    return {f"out/{key}": np.asarray(value) for key, value in produced.items()}


def _coded_rows(call: Mapping[str, Any]) -> dict[str, Any]:
    """Data whose entries say where they come from: step * 1000 + env * 100 + j."""
    steps, envs, inner = (
        np.arange(call[key]) for key in ("n_steps", "n_envs", "ft_denoising_steps")
    )
    base = (1000.0 * steps[:, None] + 100.0 * envs).reshape(-1).astype(np.float32)
    chain = np.arange(len(inner) + 1, dtype=np.float32)
    numbers = {
        "obs": {"state": base[:, None, None]},
        "chains": (base[:, None] + chain)[..., None, None],
        "returns": base + np.float32(0.1),
        "values": base + np.float32(0.2),
        "advantages": base + np.float32(0.3),
        "logprobs": (base[:, None] + inner + 0.4).astype(np.float32)[..., None, None],
    }
    return tf.nest.map_structure(tf.constant, numbers)


def _keep_minibatches(agent: Any) -> list[dict[str, np.ndarray]]:
    """Makes an agent's loss keep its arguments instead of computing anything.

    Returns:
        A list that fills with one dict of arrays for each minibatch.
    """
    from model.diffusion.diffusion_ppo import PPOLosses

    model, batches = agent.model, []
    names = ("obs_b", "chains_prev_b", "chains_next_b", "denoising_inds_b")
    names += ("returns_b", "values_b", "advantages_b", "logprobs_b", "t")

    def keep(*values: tf.Tensor) -> np.float32:
        batches.append(dict(zip(names, (v.numpy() for v in values), strict=True)))
        return np.float32(0.0)

    def loss(obs: dict, *rows: tf.Tensor, **_: Any) -> PPOLosses:
        t = _network_step(model, obs, *rows[:3])
        zero = tf.py_function(keep, [obs["state"], *rows, t], tf.float32)
        return PPOLosses(*[zero for _ in PPOLosses._fields])

    object.__setattr__(model, "loss", loss)
    # The recorded ones are as the minibatch was drawn, before they are weighed.
    object.__setattr__(model, "weigh_advantages", lambda advantages, _: advantages)
    return batches


def _network_step(model: Any, obs: dict, *rows: tf.Tensor) -> tf.Tensor:
    """The denoising step t that the fine-tuned network is asked about."""
    asked, network = [], model.actor_ft

    def ask(x: tf.Tensor, t: tf.Tensor, cond: Any) -> tf.Tensor:
        asked.append(t)
        return tf.zeros_like(x)

    object.__setattr__(model, "actor_ft", ask)
    try:
        model.get_logprobs_subsample(obs, *rows)
    finally:
        object.__setattr__(model, "actor_ft", network)
    return asked[0]


# -- optimizers ------------------------------------------------------------------------


def _optimizer(case: Case, mode: str) -> Produced:
    """Twenty steps with given gradients, and the state afterwards."""
    import util.torch_to_tf as torch_to_tf

    call, inputs = case.meta["call"], case.inputs()
    count = len(inputs["p0"])
    params = [torch_to_tf.nn_Parameter(inputs["p0"][str(i)]) for i in range(count)]
    kind = getattr(torch_to_tf, f"torch_optim_{call['opt']}")
    optimizer = kind(params, **call["kwargs"])
    grads = [inputs["grads"][str(i)] for i in range(count)]
    step = optimizer.apply
    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "jit")
    path: list[list[np.ndarray]] = [[] for _ in params]
    for number in range(len(grads[0])):
        if "lrs" in call:
            optimizer.lr.assign(call["lrs"][number])
        step([tf.constant(grad[number]) for grad in grads])
        for kept, param in zip(path, params, strict=True):
            kept.append(param.numpy().copy())
    produced = {f"out/p/{i}": np.stack(kept) for i, kept in enumerate(path)}
    return produced | optimizer_arrays(optimizer, "out/state")


def optimizer_arrays(optimizer: Any, prefix: str) -> Produced:
    """Step and moments of each parameter under `prefix/<i>/`."""
    return {
        f"{prefix}/{index}/{key}": np.asarray(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def _clip(case: Case, mode: str) -> Produced:
    """One norm over all gradients."""
    from util.torch_to_tf import torch_nn_utils_clip_grad_norm_

    grads = [tf.constant(value) for value in case.inputs().values()]
    limit = case.meta["call"]["max_norm"]
    clipped, norm = execute(lambda: torch_nn_utils_clip_grad_norm_(grads, limit), mode)
    named = {f"out/grad{i}": value.numpy() for i, value in enumerate(clipped)}
    return {"out/total_norm": norm.numpy(), **named}


PARTS: dict[str, Callable[[Case, str], Produced]] = {
    "GAE loop": _advantages,
    "td_values": _td_values,
    "advantage weights": _advantage_weights,
    "reward weights": _reward_weights,
    "buffer flatten": _buffer_of_vector_steps,
    "episode summary": _episodes,
    "minibatch indexing": _minibatches,
    "clip": _clip,
    "optimizer": _optimizer,
    "step_ema / EMA.update_model_average": replay_ema,
}
