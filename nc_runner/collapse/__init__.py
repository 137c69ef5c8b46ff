"""The science of Neural Collapse: tensors in, numbers out. Imports torch alone, nothing of the project.

>>> import torch
>>> from nc_runner.collapse import ClassStatistics, collapse_metrics
>>> stats = ClassStatistics(num_classes=2, dim=2)
>>> stats.update(torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]), torch.tensor([0, 0, 1]))
>>> metrics = collapse_metrics(stats, weight=torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
>>> round(metrics["nc3_self_duality"], 12)
0.0
"""

from nc_runner.collapse.decomposition import least_squares_classifier, mse_decomposition, mse_loss
from nc_runner.collapse.dynamics import central_path, phi, snr_spectrum
from nc_runner.collapse.flow import initial_features, simulate_flow
from nc_runner.collapse.geometry import nc5_ood_orthogonality
from nc_runner.collapse.metrics import collapse_metrics, ncc_accuracy, ncc_mismatch
from nc_runner.collapse.norms import feature_norm
from nc_runner.collapse.statistics import ClassStatistics
from nc_runner.collapse.variability import nc1_numerical_rank
from nc_runner.collapse.wider import needs_classifier, wider_metrics

__all__ = [
    "ClassStatistics",
    "central_path",
    "collapse_metrics",
    "feature_norm",
    "initial_features",
    "least_squares_classifier",
    "mse_decomposition",
    "mse_loss",
    "nc1_numerical_rank",
    "nc5_ood_orthogonality",
    "ncc_accuracy",
    "ncc_mismatch",
    "needs_classifier",
    "phi",
    "simulate_flow",
    "snr_spectrum",
    "wider_metrics",
]
