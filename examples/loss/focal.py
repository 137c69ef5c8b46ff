"""The focal loss of Lin et al. (2017): cross-entropy with less weight on what is classified well."""

import torch.nn.functional as F
from torch import Tensor

GAMMA = 2.0


def focal_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Outputs (B, C) and labels (B,) -> the mean of -(1 - p)^gamma log p, p the label's probability."""
    log_p = F.log_softmax(outputs, dim=1).gather(1, labels[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** GAMMA) * log_p).mean()
