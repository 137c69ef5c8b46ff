"""A map data set of torchvision's kind as one array, whose images are decoded as they are indexed."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nc_runner.errors import DataError, NCRunnerError

# So many items of a data set are read so many times each, to find random transforms. A random flip of every
# second image is missed once in 17 million times, a change to one image in ten once in 29 times.
PROBES, READS = 8, 4


class MapDataset(Sized, Protocol):
    """As torchvision's data sets: ``len(d)`` items, each ``(image, label)``."""

    def __getitem__(self, index: int) -> Any: ...


class ImageSource:
    """The images of a map data set as uint8 (N, H, W, C), of which each is decoded when it is indexed.

    An image may be a PIL image, or an array or tensor of (H, W), (H, W, C) or (C, H, W) with 1 or 3 channels,
    in uint8 or in floats from 0 to 1, as torchvision's ToTensor gives. All must have the size of the first;
    with ``size`` each is resized, its shorter side to ``size``, and its middle cut out. An item must be the
    same whenever it is read: random transforms would stay as they are drawn first where images are resident,
    and be drawn again where they are streamed.

    Raises DataError where an item is no such image, or differs when it is read again.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, items: MapDataset, name: str, size: int | None = None) -> None:
        self.items, self.name, self.size = items, name, size
        if not len(items):
            raise DataError(f"data set {name} has no items\ncheck its folder and its settings")
        self.channels = 0  # not known yet: those of the first image
        first = self[0]
        self.channels = first.shape[2]
        self.shape = (len(items), *first.shape)
        self._check_repeatable()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """The image (H, W, C)."""
        with self._named(index):
            return self._image(index, self.items[index][0])

    def _image(self, index: int, given: Any) -> NDArray[np.uint8]:
        image = _pixels(given, self.channels, self.size)
        if self.channels and image.shape != self.shape[1:]:
            raise DataError(
                f"data set {self.name}: image {index} is {image.shape}, but the first is {self.shape[1:]}\n"
                "give all images one size, for instance data.options.size=64 with data=folder"
            )
        return image

    def labels(self) -> NDArray[np.int64]:
        """(N,). From ``targets`` or ``labels``, where the data set has them; else all items are read."""
        items: Any = self.items
        if getattr(items, "target_transform", None) is None:
            for name in ("targets", "labels"):
                given = getattr(items, name, None)
                if given is not None and len(given) == len(items):
                    labels = np.asarray(given)
                    probes = {0, len(items) // 2, len(items) - 1}
                    if labels.ndim == 1 and all(self._label(i) == labels[i] for i in probes):
                        return labels.astype(np.int64)
        return np.array([self._label(i) for i in range(len(items))], dtype=np.int64)

    def _label(self, index: int) -> int:
        with self._named(index):
            return int(self.items[index][1])

    def _check_repeatable(self) -> None:
        """Read several items several times: they must not differ, neither in pixels nor in labels."""
        last = len(self) - 1
        for index in sorted({round(last * probe / (PROBES - 1)) for probe in range(PROBES)}):
            first, *others = (self._item(index) for _ in range(READS))
            for what, position in (("other pixels", 0), ("another label", 1)):
                if not all(np.array_equal(item[position], first[position]) for item in others):
                    raise DataError(
                        f"data set {self.name}: image {index} has {what} each time it is read\n"
                        "remove the random transforms from the data set: nc-runner trains on fixed images, "
                        "and does not offer augmentation yet"
                    )

    def _item(self, index: int) -> tuple[NDArray[np.uint8], int]:
        with self._named(index):
            item = self.items[index]
            return self._image(index, item[0]), int(item[1])

    @contextmanager
    def _named(self, index: int) -> Iterator[None]:
        """Whatever a custom data set or a damaged file raises, as an error that names the image."""
        try:
            yield
        except NCRunnerError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"data set {self.name}: image {index} cannot be used: {type(error).__name__}: {reason}\n"
                "fix the data set or the file"
            ) from error


def _pixels(image: Any, channels: int, size: int | None) -> NDArray[np.uint8]:
    """(H, W, C) uint8. ``channels`` 0: those of the image itself."""
    if hasattr(image, "convert"):  # PIL; palettes and CMYK become colour, 1-bit becomes grey
        grey = channels == 1 or (not channels and image.mode in ("1", "L"))
        image = image.convert("L" if grey else "RGB")
        pixels = np.asarray(_fit(image, size) if size else image)
    else:
        pixels = _as_bytes(np.asarray(image))
        if pixels.ndim == 3 and pixels.shape[2] not in (1, 3) and pixels.shape[0] in (1, 3):
            pixels = pixels.transpose(1, 2, 0)
        if size:
            from PIL import Image

            flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
            pixels = np.asarray(_fit(Image.fromarray(flat), size))
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"an image of shape {pixels.shape}; 1 or 3 channels are needed")
    return pixels


def _as_bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f" or not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"pixels of type {pixels.dtype} from {pixels.min():.3g} to {pixels.max():.3g}; "
            "uint8, or floats from 0 to 1 before any normalising, are needed"
        )
    result: NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    return result


def _fit(image: Any, size: int) -> Any:
    """A PIL image, its shorter side resized to ``size``, bilinear with antialiasing, and its middle cut."""
    from PIL import Image

    width, height = image.size
    scale = size / min(width, height)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    left, top = (wide - size) // 2, (high - size) // 2
    resized = image.resize((wide, high), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))
