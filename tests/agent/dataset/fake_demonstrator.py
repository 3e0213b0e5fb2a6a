"""Weights of a small random policy in the format of shipped demonstrators."""

import json

import numpy as np


def write_weights(path, obs_dim, action_dim, hidden=(8, 8), seed=0, meta=None, **more):
    """Writes a weights file and returns its path."""
    rng = np.random.default_rng(seed)
    arrays = dict(more)
    sizes = [obs_dim, *hidden]
    layers = [
        (f"mlp_base.moduleList.{i}.linear_1", n_in, n_out)
        for i, (n_in, n_out) in enumerate(zip(sizes, hidden, strict=False))
    ]
    for head in ("mlp_mean", "mlp_logvar"):
        layers.append((f"{head}.moduleList.0.linear_1", hidden[-1], action_dim))
    for name, n_in, n_out in layers:
        bound = 1 / np.sqrt(n_in)
        for kind, shape in (("weight", (n_out, n_in)), ("bias", (n_out,))):
            values = rng.uniform(-bound, bound, shape)
            arrays[f"{name}.{kind}"] = values.astype(np.float32)
    arrays["logvar_min"] = np.float32(np.log(0.0067**2))
    arrays["logvar_max"] = np.float32(np.log(7.3891**2))
    facts = {"command": "made by a test", "seed": seed, "return": 12.5}
    facts |= {"activation": "ReLU", "tanh": True} | (meta or {})
    np.savez(path, meta=json.dumps(facts), **arrays)
    return path
