"""The settings of the data set, ``data.*``: one class for each kind of source. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from nc_runner.config import values
from nc_runner.config.fields import Group, passive, setting, target
from nc_runner.config.values import FileName, Floats, Name


class NoOptions(Group):
    pass


class FolderOptions(Group):
    folder: FileName = setting(
        "Folder with train/CLASS/* and test/CLASS/*, in the current folder or in data.root."
    )
    size: int | None = setting(
        "Side in pixels to which images are resized and centre-cropped; null: unchanged, all must "
        "have one size.",
        neutral=None,
        ge=1,
    )
    train: str = setting("Name of the folder of train images.", neutral="train")
    test: str | None = setting(
        "Name of the folder of test images; null: test, or val if there is no test.", neutral=None
    )


class NpzOptions(Group):
    file: FileName = setting("An .npz file with train_images, train_labels, test_images and test_labels.")


class TorchvisionOptions(Group):
    """Further keys are arguments of the data set's class."""

    model_config = ConfigDict(extra="allow")

    dataset: str = setting("Name of a class in torchvision.datasets, or dotted path of a similar class.")
    size: int | None = setting(
        "Side in pixels to which images are resized and centre-cropped; null: unchanged, all must "
        "have one size.",
        neutral=None,
        ge=1,
    )


class UFMOptions(Group):
    classes: int = setting("Number of classes.", ge=2)
    samples_per_class: int = setting("Number of samples per class.", ge=1)


class CustomOptions(Group):
    """All keys are arguments of the loader."""

    model_config = ConfigDict(extra="allow")


class Imbalance(Group):
    """How many images of each class are trained on: see :func:`nc_runner.data.subset.class_sizes`."""

    kind: Literal["none", "step", "exponential"] = setting(
        "Class sizes in the train set: none (unchanged), step (the last classes are small), or "
        "exponential (decreasing).",
        neutral="none",
    )
    ratio: float | None = setting(
        "Size of the largest class divided by that of the smallest; null without imbalance.",
        neutral=None,
        ge=1,
    )
    minority_classes: int | None = setting(
        "With data.imbalance.kind=step: how many classes, the last ones, are small; otherwise null.",
        neutral=None,
        ge=1,
    )


class Data(Group):
    target: str = target("Built-in data set, or path of a custom loader.")
    name: Name | None = setting(
        "Name in figures and folder names; null: that of the file, folder, class or loader."
    )
    root: str = passive(
        "Folder of the data files and of downloads; the environment variable NC_RUNNER_DATA sets it too."
    )
    download: bool = passive("Whether to download missing files, for data sets that have a public address.")
    samples_per_class: int | None = setting(
        "Train images per class, drawn at random; of the largest class if imbalanced. null: all "
        "(imbalanced: the smallest class's number).",
        neutral=None,
        ge=1,
    )
    imbalance: Imbalance = Field(description="Classes of unequal size in the train set.")
    label_noise: float = setting(
        "Share of the train images whose labels are shuffled among them; 0: none, 1: random labels.",
        neutral=0.0,
        ge=0,
        le=1,
    )
    augment: Literal["none", "standard", "crop"] = setting(
        "Augmentation in training: none, crop (pad by 4, random crop), or standard (crop, and random flip "
        "except for data sets of digits).",
        neutral="none",
    )
    pad: int = setting("Black pixels added on each side of an image, before normalisation.", ge=0, le=64)
    mean: Floats | None = setting(
        "Mean of each channel for normalisation, with pixels in [0, 1]; null: computed from the train set."
    )
    std: Annotated[Floats, values.each_above_zero] | None = setting(
        "Standard deviation of each channel for normalisation, with pixels in [0, 1]; null: computed "
        "from the train set."
    )
    resident: Annotated[bool | Literal["auto"], values.resident] = passive(
        "Images in the device's memory: true, false (streamed), or auto (true if they take at most "
        "half of what is free)."
    )
    workers: int | None = passive(
        "Processes that load streamed images; null: 0 for arrays, up to 4 for image files.", ge=0
    )
    options: Group = setting("Further arguments of the loader.")


class StandardData(Data):
    options: NoOptions = setting("This data set takes no further arguments.")


class FolderData(Data):
    options: FolderOptions


class NpzData(Data):
    options: NpzOptions


class TorchvisionData(Data):
    options: TorchvisionOptions


class UFMData(Data):
    options: UFMOptions


class CustomData(Data):
    options: CustomOptions


DATA_SETS: dict[str, type[Data]] = {
    **dict.fromkeys(
        ("digits", "mnist", "fashionmnist", "svhn", "cifar10", "cifar100", "stl10"), StandardData
    ),
    "folder": FolderData,
    "npz": NpzData,
    "torchvision": TorchvisionData,
    "ufm": UFMData,
}
