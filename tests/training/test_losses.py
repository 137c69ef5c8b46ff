import torch

from nc_runner.training.losses import cross_entropy, mse


def test_mse_is_torchs_on_one_hot_targets():
    outputs, labels = torch.randn(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    expected = torch.nn.MSELoss()(outputs, torch.nn.functional.one_hot(labels, 4).float())
    assert torch.equal(mse(outputs, labels), expected)
    assert torch.isclose(mse(outputs, labels), ((outputs - torch.eye(4)[labels]) ** 2).sum() / 24)


def test_cross_entropy_is_torchs():
    outputs, labels = torch.randn(6, 4), torch.tensor([0, 3, 1, 1, 2, 0])
    assert torch.equal(cross_entropy(outputs, labels), torch.nn.CrossEntropyLoss()(outputs, labels))
