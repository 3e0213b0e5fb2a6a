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
from util.torch_to_tf.attention import nn_MultiheadAttention
from util.torch_to_tf.clamping import (
    torch_clamp,
    torch_clip,
    torch_tensor_clamp_,
)
from util.torch_to_tf.clip_grad import torch_nn_utils_clip_grad_norm_
from util.torch_to_tf.containers import nn_ModuleList, nn_Sequential
from util.torch_to_tf.convolution import nn_Conv1d, nn_Conv2d
from util.torch_to_tf.creation import (
    torch_full,
    torch_full_like,
    torch_ones,
    torch_ones_like,
    torch_zeros,
    torch_zeros_like,
)
from util.torch_to_tf.distributions import Independent, Normal
from util.torch_to_tf.elementwise import (
    torch_abs,
    torch_atanh,
    torch_exp,
    torch_log,
    torch_round,
    torch_sqrt,
    torch_square,
    torch_tanh,
)
from util.torch_to_tf.embedding import nn_Embedding
from util.torch_to_tf.extremes import (
    torch_argmax,
    torch_max,
    torch_min,
)
from util.torch_to_tf.func import (
    torch_func_functional_call,
    torch_func_stack_module_state,
)
from util.torch_to_tf.functional import nn_functional_pad, torch_mse_loss
from util.torch_to_tf.grid_sample import torch_nn_functional_grid_sample
from util.torch_to_tf.indexing import (
    torch_gather,
    torch_tensor_masked_fill,
    torch_where,
)
from util.torch_to_tf.initializers import (
    torch_nn_init_kaiming_uniform_,
    torch_nn_init_normal_,
    torch_nn_init_ones_,
    torch_nn_init_trunc_normal_,
    torch_nn_init_xavier_uniform_,
    torch_nn_init_zeros_,
)
from util.torch_to_tf.joining import (
    torch_cat,
    torch_hstack,
    torch_meshgrid,
    torch_split,
    torch_stack,
)
from util.torch_to_tf.layers import (
    compute_in,
    nn_Dropout,
    nn_Linear,
    replay_dropout,
    transposed_weights,
)
from util.torch_to_tf.mixtures import Categorical, MixtureSameFamily
from util.torch_to_tf.module import clone_network, nn_Module, nn_Parameter
from util.torch_to_tf.module_functions import (
    torch_register_buffer,
    torch_tensor_requires_grad_,
)
from util.torch_to_tf.normalization import nn_GroupNorm, nn_LayerNorm
from util.torch_to_tf.optim import torch_optim_Adam, torch_optim_AdamW
from util.torch_to_tf.parallel import nn_DataParallel
from util.torch_to_tf.quantiles import (
    torch_quantile,
)
from util.torch_to_tf.random import (
    torch_manual_seed,
    torch_rand,
    torch_randn,
    torch_randn_like,
)
from util.torch_to_tf.ranges import torch_arange, torch_linspace, torch_unravel_index
from util.torch_to_tf.rearrange import einops_layers_torch_Rearrange
from util.torch_to_tf.rearranging import (
    torch_flip,
    torch_repeat_interleave,
    torch_tensor_repeat,
    torch_triu,
)
from util.torch_to_tf.reductions import (
    torch_cumprod,
    torch_logsumexp,
    torch_mean,
    torch_nanmean,
    torch_prod,
    torch_softmax,
    torch_std,
    torch_sum,
)
from util.torch_to_tf.sampling import (
    torch_multinomial,
    torch_randint,
    torch_randperm,
)
from util.torch_to_tf.scheduler import tf_CosineAnnealingWarmupRestarts
from util.torch_to_tf.shapes import (
    torch_flatten,
    torch_reshape,
    torch_squeeze,
    torch_tensor_expand,
    torch_tensor_expand_as,
    torch_tensor_permute,
    torch_tensor_transpose,
    torch_tensor_view,
    torch_unsqueeze,
)
from util.torch_to_tf.transformer import (
    nn_TransformerDecoder,
    nn_TransformerDecoderLayer,
    nn_TransformerEncoder,
    nn_TransformerEncoderLayer,
)
from util.torch_to_tf.transformer import (
    nn_TransformerDecoder as torch_nn_TransformerDecoder,
)
from util.torch_to_tf.transposed_convolution import nn_ConvTranspose1d
from util.torch_to_tf.values import (
    torch_from_numpy,
    torch_tensor,
    torch_tensor_clone,
    torch_tensor_detach,
    torch_tensor_float,
    torch_tensor_item,
    torch_tensor_long,
)
from util.torch_to_tf.vmap import torch_vmap

__all__ = [
    "Categorical",
    "Independent",
    "MixtureSameFamily",
    "Normal",
    "clone_network",
    "compute_in",
    "einops_layers_torch_Rearrange",
    "nn_Conv1d",
    "nn_Conv2d",
    "nn_ConvTranspose1d",
    "nn_DataParallel",
    "nn_Dropout",
    "nn_ELU",
    "nn_Embedding",
    "nn_GELU",
    "nn_GroupNorm",
    "nn_Identity",
    "nn_LayerNorm",
    "nn_Linear",
    "nn_Mish",
    "nn_Module",
    "nn_ModuleList",
    "nn_MultiheadAttention",
    "nn_Parameter",
    "nn_ReLU",
    "nn_Sequential",
    "nn_Softplus",
    "nn_Tanh",
    "nn_TransformerDecoder",
    "nn_TransformerDecoderLayer",
    "nn_TransformerEncoder",
    "nn_TransformerEncoderLayer",
    "nn_functional_pad",
    "replay_dropout",
    "tf_CosineAnnealingWarmupRestarts",
    "torch_abs",
    "torch_arange",
    "torch_argmax",
    "torch_atanh",
    "torch_cat",
    "torch_clamp",
    "torch_clip",
    "torch_cumprod",
    "torch_exp",
    "torch_flatten",
    "torch_flip",
    "torch_from_numpy",
    "torch_full",
    "torch_full_like",
    "torch_func_functional_call",
    "torch_func_stack_module_state",
    "torch_gather",
    "torch_hstack",
    "torch_linspace",
    "torch_log",
    "torch_logsumexp",
    "torch_manual_seed",
    "torch_max",
    "torch_mean",
    "torch_meshgrid",
    "torch_min",
    "torch_mse_loss",
    "torch_multinomial",
    "torch_nanmean",
    "torch_nn_TransformerDecoder",
    "torch_nn_functional_grid_sample",
    "torch_nn_init_kaiming_uniform_",
    "torch_nn_init_normal_",
    "torch_nn_init_ones_",
    "torch_nn_init_trunc_normal_",
    "torch_nn_init_xavier_uniform_",
    "torch_nn_init_zeros_",
    "torch_nn_utils_clip_grad_norm_",
    "torch_ones",
    "torch_ones_like",
    "torch_optim_Adam",
    "torch_optim_AdamW",
    "torch_prod",
    "torch_quantile",
    "torch_rand",
    "torch_randint",
    "torch_randn",
    "torch_randn_like",
    "torch_randperm",
    "torch_register_buffer",
    "torch_repeat_interleave",
    "torch_reshape",
    "torch_round",
    "torch_softmax",
    "torch_split",
    "torch_sqrt",
    "torch_square",
    "torch_squeeze",
    "torch_stack",
    "torch_std",
    "torch_sum",
    "torch_tanh",
    "torch_tensor",
    "torch_tensor_clamp_",
    "torch_tensor_clone",
    "torch_tensor_detach",
    "torch_tensor_expand",
    "torch_tensor_expand_as",
    "torch_tensor_float",
    "torch_tensor_item",
    "torch_tensor_long",
    "torch_tensor_masked_fill",
    "torch_tensor_permute",
    "torch_tensor_repeat",
    "torch_tensor_requires_grad_",
    "torch_tensor_transpose",
    "torch_tensor_view",
    "torch_triu",
    "torch_unravel_index",
    "torch_unsqueeze",
    "torch_vmap",
    "torch_where",
    "torch_zeros",
    "torch_zeros_like",
    "transposed_weights",
]
