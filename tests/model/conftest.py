import pytest

from util.torch_to_tf import torch_manual_seed


@pytest.fixture(autouse=True)
def seed():
    """Initial values do not depend on which tests ran before."""
    torch_manual_seed(0)
