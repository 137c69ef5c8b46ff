"""A network of two hidden layers. nc-run measures the input of the last nn.Linear, which makes the output."""

from torch import Tensor, nn


class MLP(nn.Module):
    def __init__(self, num_classes: int, in_channels: int, image_size: int, width: int) -> None:
        """The first three come from the data set, width from net/mlp.yaml."""
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * image_size**2, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.hidden(images))
