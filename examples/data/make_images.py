"""Writes scikit-learn's digits as a folder of images and as an .npz file, both into the current folder."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def main() -> None:
    digits = load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)
    splits = {"train": slice(1500), "test": slice(1500, None)}
    for split, part in splits.items():
        for number, (image, label) in enumerate(zip(images[part], digits.target[part], strict=True)):
            folder = Path("images", split, str(label))
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
    arrays = {f"{split}_images": images[part] for split, part in splits.items()}
    arrays |= {f"{split}_labels": digits.target[part] for split, part in splits.items()}
    np.savez_compressed("images.npz", **arrays)


if __name__ == "__main__":
    main()
