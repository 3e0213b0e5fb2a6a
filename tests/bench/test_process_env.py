"""One process for each environment gives what ours gives."""

import numpy as np

from env.gym_utils import make_async
from tests.bench.leaves import leaf
from tests.bench.process_env import ProcessVectorEnv, env_factory
from tests.bench.test_cases import POINT


def test_trajectories_are_those_of_our_vector_env(tmp_path):
    cfg = leaf("finetune", tmp_path, *POINT)
    ours = make_async(cfg.env.name, 2, wrappers=cfg.env.wrappers, backend="sync")
    ours.seed([7, 8])
    theirs = ProcessVectorEnv(env_factory(cfg), 2, seed=7)
    try:
        np.testing.assert_array_equal(theirs.reset(), ours.reset()["state"])
        rng, ended = np.random.default_rng(0), 0
        for _ in range(15):
            actions = rng.uniform(-1, 1, (2, cfg.act_steps, cfg.action_dim))
            obs, *others, _ = ours.step(actions)
            mine, *results = theirs.step(actions)
            np.testing.assert_array_equal(mine, obs["state"])
            for one, other in zip(results, others, strict=True):
                np.testing.assert_array_equal(one, other)
            ended += int((others[1] | others[2]).sum())
        assert ended > 0
    finally:
        theirs.close()
        ours.close()
