"""What the families share: the choice of the first layers, and the error for a depth that they lack."""

from __future__ import annotations

from collections.abc import Iterable

from nc_runner.errors import ConfigError

# Images from this size on get the ImageNet stem when stem is auto: the cost of a network grows with the
# square of the size, and the stem divides the size by four.
IMAGENET_STEM_FROM = 64


def is_small(stem: str, image_size: int) -> bool:
    """Whether the first layers keep the resolution (3 x 3, stride 1) or divide it by 4, as for ImageNet."""
    if stem not in ("auto", "small", "imagenet"):
        raise ConfigError(f"net.stem={stem} is not valid: net.stem must be one of auto, small, imagenet")
    return stem == "small" or (stem == "auto" and image_size < IMAGENET_STEM_FROM)


def unknown_depth(depth: int, known: Iterable[int]) -> ConfigError:
    """The error for a depth that a family lacks."""
    return ConfigError(
        f"net.depth={depth} is not valid: net.depth must be one of {', '.join(map(str, sorted(known)))}"
    )
