import torch

from tests.torch_to_tf import init_cases as cases
from util.torch_to_tf import torch_nn_init_ones_


def test_any_number_of_axes_is_filled_as_in_torch():
    cases.assert_fills_any_number_of_axes(torch_nn_init_ones_, torch.nn.init.ones_)


def test_variables_of_all_types_are_filled():
    cases.assert_fills_variables_of_all_types(torch_nn_init_ones_, 1.0)


def test_compiled_code_fills_too():
    cases.assert_fills_in_every_mode(torch_nn_init_ones_, 1.0)


def test_what_is_no_variable_is_refused():
    cases.assert_refuses_what_is_no_variable(torch_nn_init_ones_)
