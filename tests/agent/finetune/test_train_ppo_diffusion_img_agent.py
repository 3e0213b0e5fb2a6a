from agent.finetune.train_ppo_diffusion_agent import TrainPPODiffusionAgent
from agent.finetune.train_ppo_diffusion_img_agent import TrainPPOImgDiffusionAgent
from tests.agent.tiny import eagerly, tiny_config


def test_it_is_the_agent_for_states_with_images_added(tmp_path):
    cfg = tiny_config("ppo img", tmp_path)
    with eagerly():
        agent = TrainPPOImgDiffusionAgent(cfg)
        agent.iterate()
        agent.iterate()
    assert isinstance(agent, TrainPPODiffusionAgent)
    assert TrainPPODiffusionAgent.config_keys < TrainPPOImgDiffusionAgent.config_keys
    assert agent.frames.shape == (8, 1, 3, 16, 16)
