"""Discs, squares and crosses in noise: a data set as torchvision's are, items of (image, label)."""

import numpy as np
from PIL import Image


class Shapes:
    def __init__(self, train: bool, count: int, size: int = 16) -> None:
        self.seed, self.count, self.size = (0 if train else 1), count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """Drawn when asked for. A class that reads files would open one here."""
        rng = np.random.default_rng([self.seed, index])
        label = index % 3
        y, x = np.mgrid[: self.size, : self.size] - self.size / 2 - rng.uniform(-2, 2, (2, 1, 1))
        inside = [np.hypot(x, y) < 5, np.maximum(abs(x), abs(y)) < 4, np.minimum(abs(x), abs(y)) < 2][label]
        pixels = 60 * inside + rng.normal(80, 30, inside.shape)
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), label


def load(count: int) -> tuple[Shapes, Shapes]:
    """The train and the test set. A loader also gets ``root`` and ``download`` if it names them."""
    return Shapes(train=True, count=count), Shapes(train=False, count=count // 4)
