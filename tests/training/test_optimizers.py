"""The optimizer that the settings ask for."""

import pytest
import torch
from helpers.settings import settings_of

from nc_runner.training.optimizers import build_optimizer


def test_it_is_sgd_with_the_settings_on_the_parameters_that_are_trained():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    model[1].requires_grad_(False)
    settings = settings_of("lr=0.3", "momentum=0.5", "weight_decay=0.01")
    optimizer = build_optimizer(model.parameters(), settings, torch.device("cpu"))
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in model[0].parameters()]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.5, 0.01)
    assert not group["nesterov"]


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("cuda", True), ("mps", False)])
def test_the_step_is_one_kernel_where_torch_has_one(device, fused):
    parameters = torch.nn.Linear(3, 4, device="meta").parameters()
    optimizer = build_optimizer(parameters, settings_of(), torch.device(device))
    assert optimizer.defaults["fused"] is fused
