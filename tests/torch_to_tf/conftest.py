import pytest
import torch

from util.torch_to_tf import torch_manual_seed

# Its tensors are small here; threads that wait for each other take most of the time.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    """Initial values do not depend on which tests ran before."""
    torch_manual_seed(0)
