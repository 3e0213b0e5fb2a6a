"""The products that stand for a framework's own rate."""

import numpy as np
import pytest

from tests.bench.matmul import (
    Products,
    run_products,
    tensorflow_chain,
    torch_chain,
    weights,
)

NETWORK = (39, 512, 512, 512, 12)


class NumpyOps:
    transpose = staticmethod(np.transpose)

    def __init__(self):
        self.shapes = []

    def matmul(self, a, b):
        self.shapes.append((*a.shape, b.shape[1]))
        return a @ b

    def join(self, out, x):
        return np.concatenate([out, x[:, out.shape[1] :]], axis=1)


def test_flops_of_hand_counted_networks():
    assert Products(10, (3, 4, 2)).flops() == 2 * 10 * (12 + 8)
    back = Products(10, (3, 4, 2), backward=True).flops()
    assert back == 2 * 10 * (12 + 8 + 12 + 8 + 8)
    assert Products(40, NETWORK, times=20).flops() == 2 * 40 * 20 * 550_400


@pytest.mark.parametrize("backward", [False, True])
def test_flops_are_those_of_the_products_that_run(backward):
    lib, part = NumpyOps(), Products(5, (4, 3, 3, 2), times=3, backward=backward)
    run_products(np.ones((5, 4)), weights(part.widths), part, lib)
    assert sum(2 * a * b * c for a, b, c in lib.shapes) == part.flops()


def test_gradients_have_the_shapes_of_the_weights():
    part = Products(5, (4, 3, 2), backward=True)
    results = run_products(np.ones((5, 4)), weights(part.widths), part, NumpyOps())
    assert [r.shape for r in results] == [(5, 2), (3, 2), (4, 3)]


@pytest.mark.parametrize("chain", [torch_chain, tensorflow_chain])
def test_chains_run_in_both_frameworks(chain):
    chain([Products(3, (4, 5, 2), 2), Products(3, (4, 5, 1), backward=True)])()
