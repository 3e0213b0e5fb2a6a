"""Sizes of the experiments whose U-Net and vision transformer are measured.

The leaves of robomimic come with its environments. Until then leaves of other tasks
with the same networks and agents take the values of the original's configs, which are
named here.
"""

_SQUARE = ("obs_dim=23", "action_dim=7")
_CAN = (
    "obs_dim=9",
    "action_dim=7",
    "denoising_steps=100",
    "shape_meta.obs.rgb.shape=[3,96,96]",
)
SIZES = {
    # robomimic/finetune/square/ft_ppo_diffusion_unet
    "finetune unet": (
        *_SQUARE,
        "env.n_envs=50",
        "model.actor.dim=64",
        "train.n_steps=400",
        "train.batch_size=10000",
        "model.clip_ploss_coef_base=0.001",
        "normalization_path=null",
    ),
    # robomimic/pretrain/square/pre_diffusion_unet
    "pretrain unet": (
        *_SQUARE,
        "model.network.dim=64",
        "train.batch_size=256",
    ),
    # robomimic/finetune/can/ft_ppo_diffusion_mlp_img
    "finetune image": (
        *_CAN,
        "env.n_envs=50",
        "ft_denoising_steps=5",
        "model.use_ddim=True",
        "model.ddim_steps=5",
        "model.eta._target_=model.diffusion.eta.EtaFixed",
        "model.eta.base_eta=1",
        "model.eta.min_eta=0.1",
        "model.eta.max_eta=1.0",
        "model.clip_ploss_coef_base=0.001",
        "train.n_steps=300",
        "train.batch_size=500",
        "train.logprob_batch_size=500",
        "train.grad_accumulate=15",
        "train.n_critic_warmup_itr=0",  # both networks learn
    ),
    # robomimic/pretrain/can/pre_diffusion_mlp_img
    "pretrain image": (*_CAN, "train.batch_size=256"),
}
