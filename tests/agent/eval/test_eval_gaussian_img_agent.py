from agent.eval.eval_gaussian_img_agent import EvalImgGaussianAgent
from tests.agent.tiny import eagerly, tiny_config
from util.config import resolve_target


def test_a_policy_that_sees_is_evaluated(tmp_path):
    cfg = tiny_config("ppo gaussian img", tmp_path / "run", "train.n_train_itr=2")
    with eagerly():
        resolve_target(cfg._target_)(cfg).run()
        policy = f"base_policy_path={tmp_path / 'run'}"
        result = EvalImgGaussianAgent(
            tiny_config("eval gaussian img", tmp_path / "eval", policy)
        ).run()
    assert result["num_episode"] > 0
    assert (tmp_path / "eval" / "result.npz").exists()
