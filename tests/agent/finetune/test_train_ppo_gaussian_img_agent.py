from agent.finetune.train_ppo_gaussian_agent import TrainPPOGaussianAgent
from agent.finetune.train_ppo_gaussian_img_agent import TrainPPOImgGaussianAgent
from tests.agent.tiny import eagerly, tiny_config


def test_it_is_the_agent_for_states_with_images_added(tmp_path):
    cfg = tiny_config("ppo gaussian img", tmp_path)
    with eagerly():
        agent = TrainPPOImgGaussianAgent(cfg)
        agent.iterate()
        agent.iterate()
    assert isinstance(agent, TrainPPOGaussianAgent)
    assert TrainPPOGaussianAgent.config_keys < TrainPPOImgGaussianAgent.config_keys
    assert agent.frames.shape == (8, 1, 3, 16, 16)
