"""PyTorch's names and numbers on TensorFlow tensors.

Replace the dot of `torch.x` by an underscore: `torch.nn.Linear` is `nn_Linear`.
"""

from util.torch_to_tf.activations import (
    nn_ELU,
    nn_GELU,
    nn_Identity,
    nn_Mish,
    nn_ReLU,
    nn_Softplus,
    nn_Tanh,
)
from util.torch_to_tf.init import torch_manual_seed
from util.torch_to_tf.layers import (
    compute_in,
    nn_Dropout,
    nn_LayerNorm,
    nn_Linear,
    nn_ModuleList,
    nn_Sequential,
    replay_dropout,
    transposed_weights,
)
from util.torch_to_tf.module import clone_network, nn_Module, nn_Parameter
from util.torch_to_tf.optim import (
    torch_nn_utils_clip_grad_norm_,
    torch_optim_Adam,
    torch_optim_AdamW,
)
from util.torch_to_tf.parallel import nn_DataParallel

__all__ = [
    "clone_network",
    "compute_in",
    "nn_DataParallel",
    "nn_Dropout",
    "nn_ELU",
    "nn_GELU",
    "nn_Identity",
    "nn_LayerNorm",
    "nn_Linear",
    "nn_Mish",
    "nn_Module",
    "nn_ModuleList",
    "nn_Parameter",
    "nn_ReLU",
    "nn_Sequential",
    "nn_Softplus",
    "nn_Tanh",
    "replay_dropout",
    "torch_manual_seed",
    "torch_nn_utils_clip_grad_norm_",
    "torch_optim_Adam",
    "torch_optim_AdamW",
    "transposed_weights",
]
