"""The focal loss of Lin et al. (2017): cross-entropy with less weight on well-classified images."""

import torch.nn.functional as F
from torch import Tensor


def focal_loss(outputs: Tensor, labels: Tensor, gamma: float) -> Tensor:
    """Outputs (B, C) and labels (B,) -> the mean of -(1 - p)^gamma log p, p the label's probability.

    nc-run gives outputs and labels; gamma comes from loss/focal.yaml.
    """
    log_p = F.log_softmax(outputs, dim=1).gather(1, labels[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()
