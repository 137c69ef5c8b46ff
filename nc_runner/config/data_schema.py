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
    folder: FileName = setting("folder with train/CLASS/* and test/CLASS/*")
    size: int | None = setting("resize every image and cut it square", neutral=None, ge=1)
    train: str = setting("name of the folder of train images", neutral="train")
    test: str | None = setting("name of the folder of test images; null: test, else val", neutral=None)


class NpzOptions(Group):
    file: FileName = setting("an .npz file with train_images, train_labels, test_images, test_labels")


class TorchvisionOptions(Group):
    """Further keys are arguments of the data set's class."""

    model_config = ConfigDict(extra="allow")

    dataset: str = setting("name of a class in torchvision.datasets, or the path of one of that kind")
    size: int | None = setting("resize every image and cut it square", neutral=None, ge=1)


class UFMOptions(Group):
    classes: int = setting("number of classes", ge=2)
    samples_per_class: int = setting("samples of each class", ge=1)


class CustomOptions(Group):
    """All keys are arguments of the loader."""

    model_config = ConfigDict(extra="allow")


class Imbalance(Group):
    """How many images of each class are trained on: see :func:`nc_runner.data.subset.class_sizes`."""

    kind: Literal["none", "step", "exponential"] = setting(
        "classes of unequal size: none, step (the last are small), exponential (each smaller than the last)",
        neutral="none",
    )
    ratio: float | None = setting(
        "images of the largest class over those of the smallest", neutral=None, ge=1
    )
    minority_classes: int | None = setting(
        "of step alone: how many classes are small, which are the last ones", neutral=None, ge=1
    )


class Data(Group):
    target: str = target("name of a data set that ships, or the path of a custom loader")
    name: Name | None = setting("name in figures and folder names; null: that of file, folder or loader")
    root: str = passive("folder of the data files")
    download: bool = passive("fetch missing files where there is a public address")
    samples_per_class: int | None = setting(
        "balanced, seeded subset of the train set; with an imbalance: images of the largest class",
        neutral=None,
        ge=1,
    )
    imbalance: Imbalance = Field(description="classes of unequal size in the train set")
    label_noise: float = setting(
        "share of train images that get the label of a random one among them", neutral=0.0, ge=0, le=1
    )
    augment: Literal["none", "standard", "crop"] = setting(
        "in training alone: none, standard (pad by 4, random crop, flip; digits: no flip), crop (no flip)",
        neutral="none",
    )
    pad: int = setting("zero pixels added on each side, before normalising", ge=0, le=64)
    mean: Floats | None = setting("per channel, of pixels scaled to [0, 1]; null: computed")
    std: Annotated[Floats, values.each_above_zero] | None = setting(
        "per channel, of pixels scaled to [0, 1]; null: computed"
    )
    resident: Annotated[bool | Literal["auto"], values.resident] = passive(
        "images in the device's memory: true, false (streamed), auto (true where they fit)"
    )
    workers: int | None = passive(
        "processes that fetch streamed images; null: none for arrays, up to 4 for files", ge=0
    )
    options: Group = setting("further arguments of the loader")


class StandardData(Data):
    options: NoOptions = setting("none: this data set takes no further arguments")


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
