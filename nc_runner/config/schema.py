"""The settings of nc-run: one frozen, typed class for each group. Defaults are in conf/. Imports no torch.

A function of the package takes the class that holds the settings it uses: a :class:`Config` is also a
:class:`Training`, a :class:`Machine` and a :class:`Recording`, whose keys are all at the top level. Each
setting has its type, range and meaning here (those of ``data`` in data_schema.py, those of ``loss``,
``head`` and the optimizer in modules of their own), and, for those that identify a run, the neutral value
that never changes: see :mod:`nc_runner.config.identity`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Tag

from nc_runner.columns import asked_columns, wider_columns
from nc_runner.config import values
from nc_runner.config.data_schema import (
    DATA_SETS,
    CustomData,
    FolderData,
    NpzData,
    StandardData,
    TorchvisionData,
    UFMData,
)
from nc_runner.config.fields import Group, by_target, passive, setting, target
from nc_runner.config.head_schema import Head
from nc_runner.config.loss_schema import LOSSES, CrossEntropy, CustomLoss, Focal, Loss, RescaledMSE
from nc_runner.config.optimizer_schema import LR_SCHEDULES, CustomLRSchedule, LRSchedule, Optimization
from nc_runner.config.values import Keep, Milestones, Name, Names, Schedule


class Network(Group):
    target: str = target("vgg, resnet, densenet, or the path of a custom callable")
    name: Name | None = setting("name in figures and folder names; null: that of the callable")
    weights: str | None = setting("file of weights to start from; null: random ones", neutral=None)


class ResNet(Network):
    depth: Literal[8, 18, 20, 32, 34, 50, 56, 101, 152] = setting("layers")
    stem: Literal["auto", "small", "imagenet"] = setting(
        "first layers of 18 to 152: small (3 x 3), imagenet (7 x 7 and pooling), "
        "auto (small below 64 x 64 pixels)",
        neutral="auto",
    )


class VGG(Network):
    depth: Literal[6, 11, 13, 16, 19] = setting("layers")
    head_width: int | None = setting(
        "units of the two linear layers before the classifier; null: 4096 (64 for depth 6)",
        neutral=None,
        ge=1,
    )


class DenseNet(Network):
    depth: Literal[10, 40, 100, 121, 201, 250] = setting("layers")
    growth_rate: int | None = setting(
        "maps added by a layer; null: the depth's published value", neutral=None, ge=1
    )
    stem: Literal["auto", "small", "imagenet"] = setting(
        "first layers: small, imagenet, auto (small below 64 x 64 pixels)", neutral="auto"
    )


class UFM(Network):
    """Unconstrained features, for ``data=ufm`` alone: see :mod:`nc_runner.networks.ufm`."""

    features: int = setting("P, the number of features", ge=1)
    class_size: int = passive("samples of each class, set from data.options", ge=1)
    dtype: Literal["float32", "float64"] = setting("of features, classifier and training", neutral="float32")


class CustomNetwork(Network):
    """Further keys are arguments of the callable."""

    model_config = ConfigDict(extra="allow")


class Analysis(Group):
    schedule: Schedule = setting("every, paper, or a list of epochs; 0: at initialisation", neutral="every")
    samples: int | None = setting(
        "train images measured, as many of each class, and test images at most; null: all", neutral=None, ge=2
    )
    ridge: Annotated[str | float, values.ridge] = setting(
        "lambda of the decomposition: objective, notebook, or a number", neutral="objective"
    )
    metrics: Annotated[str | tuple[str, ...], values.metrics] = setting(
        "core, all, or a list of the wider columns to add", neutral="core"
    )
    ood: Annotated[str, values.ood] | None = setting(
        "data set whose test images nc5_ood_orthogonality sees", neutral=None
    )
    custom: Annotated[dict[str, str], values.custom_metrics] = setting(
        "custom metrics: COLUMN=path of a callable (stats, weight, bias) -> number", neutral={}
    )
    layers: Annotated[Names, values.layers] = setting(
        "inner layers to measure too: names or globs of modules", neutral=()
    )
    robustness: int = setting(
        "test images whose distance to the decision boundary is measured, by DeepFool; 0: none",
        neutral=0,
        ge=0,
    )
    batchnorm: Literal["running", "recomputed", "both"] = setting(
        "batch norm's statistics in the measurement: running, recomputed for the current weights, or both: "
        "running, and columns of what the others give",
        neutral="running",
    )
    batch_size: int = passive("images per forward pass of the measurement, at most", ge=1)

    @property
    def further_columns(self) -> tuple[str, ...]:
        """The columns beyond those of every run, in the order of the header."""
        wider = wider_columns(self.metrics, self.ood is not None)
        return (*wider, *asked_columns(self.robustness, self.batchnorm), *self.custom)


class Launcher(Group):
    """What the presets of conf/launcher/ read."""

    name: Literal["basic", "joblib", "ray", "slurm", "submitit_local"] = passive(
        "set by launcher=NAME: how the runs of a sweep are carried out"
    )
    jobs: int | None = passive("runs at a time; null: one for each GPU, else core (slurm: 256)", ge=1)
    cpus: int | None = passive(
        "CPU cores, and threads, of each run; null: the cores divided by the jobs (slurm: 4)", ge=1
    )
    gpus: int | None = passive(
        "GPUs of each run: slurm (null: 0) and ray (null: 1 where this machine has any)", ge=0
    )
    hours: float = passive("slurm: time limit of a job, after which it is requeued and resumes", gt=0)
    requeues: int = passive("slurm: how often a job is requeued, at most", ge=0)
    memory_gb: int = passive("slurm: memory of a job", ge=1)
    partition: str | None = passive("slurm: null is Slurm's own choice")
    account: str | None = passive("slurm: null is Slurm's own choice")
    address: str | None = passive("ray: of a running cluster; null starts one here")


class Training(Optimization):
    seed: int = setting("of weights, subset and shuffling", ge=0, le=2**63 - 1)
    epochs: int = setting("passes over the train set", neutral=350, ge=1)
    batch_size: int = setting("images per step; the last incomplete batch is dropped", neutral=128, ge=1)
    lr_schedule: Annotated[
        Annotated[LRSchedule, Tag("LRSchedule")] | Annotated[CustomLRSchedule, Tag("custom")],
        by_target(LR_SCHEDULES),
    ] = Field(description="the learning rate's course")
    lr_warmup_epochs: int = setting(
        "first epochs, in which lr rises step by step to its value", neutral=0, ge=0
    )
    lr_milestones: Milestones | None = setting(
        "of lr_schedule=step: fractions of the epochs, or epochs, after which lr drops",
        neutral=("1/3", "2/3"),
    )
    lr_gamma: float | None = setting("of lr_schedule=step: factor of each drop", neutral=0.1, gt=0, le=1)
    precision: Literal["fp32", "tf32", "bf16"] = setting("of training alone", neutral="fp32")
    channels_last: bool = setting("memory layout of images and convolutions", neutral=True)
    compile: bool = setting("torch.compile the network for training", neutral=False)
    deterministic: bool = setting("deterministic algorithms alone: the same bits on a GPU", neutral=False)
    sync_batchnorm: bool = setting(
        "under torchrun on GPUs: batch norm over the images of all ranks", neutral=False
    )
    classifier: Literal["gradient", "least_squares", "etf"] = setting(
        "gradient, least_squares (refit after every epoch), or etf (a fixed simplex ETF)", neutral="gradient"
    )
    head: Head = Field(description="the last layer")


class Machine(Group):
    device: Annotated[str, values.device] = passive("auto, cpu, cuda, cuda:N, mps")
    threads: int | None = passive("CPU threads of torch; null: torch's choice", ge=1)
    rank_timeout_seconds: float = passive(
        "under torchrun: a rank that is silent for so long counts as lost", gt=0
    )


class Recording(Group):
    checkpoint_seconds: float = passive("between two checkpoints; 0: every epoch", ge=0)
    keep_checkpoints: Keep = passive(
        "epochs after which weights/ gets the network's weights: none, analysed, or a list"
    )
    overwrite: bool = passive("start anew, keep the old folder beside")
    progress: Literal["auto", "live", "plain", "none"] = passive(
        "auto (live on a terminal, else plain), live, plain, none"
    )
    tracker: Annotated[Names, values.tracker] = passive(
        "tools that get rows, settings, state and figures too: tensorboard, wandb, mlflow, or a list; null: "
        "none"
    )
    tensorboard: bool = passive("true: tensorboard among the trackers too")
    objective: str = passive("column whose last value a run returns to a sweep's search")
    sweep: str | None = passive("set by nc-run -m: the sweep that the run belongs to")

    @property
    def trackers(self) -> tuple[str, ...]:
        """The names of all trackers that are asked for, each once."""
        return tuple(dict.fromkeys((*self.tracker, *(["tensorboard"] if self.tensorboard else []))))


NETWORKS: dict[str, type[Network]] = {"resnet": ResNet, "vgg": VGG, "densenet": DenseNet, "ufm": UFM}


class Config(Training, Machine, Recording):
    """All settings of one run."""

    net: Annotated[
        Annotated[ResNet, Tag("ResNet")]
        | Annotated[VGG, Tag("VGG")]
        | Annotated[DenseNet, Tag("DenseNet")]
        | Annotated[UFM, Tag("UFM")]
        | Annotated[CustomNetwork, Tag("custom")],
        by_target(NETWORKS),
    ] = Field(description="the network")
    data: Annotated[
        Annotated[StandardData, Tag("StandardData")]
        | Annotated[FolderData, Tag("FolderData")]
        | Annotated[NpzData, Tag("NpzData")]
        | Annotated[TorchvisionData, Tag("TorchvisionData")]
        | Annotated[UFMData, Tag("UFMData")]
        | Annotated[CustomData, Tag("custom")],
        by_target(DATA_SETS),
    ] = Field(description="the data set")
    loss: Annotated[
        Annotated[Loss, Tag("Loss")]
        | Annotated[RescaledMSE, Tag("RescaledMSE")]
        | Annotated[CrossEntropy, Tag("CrossEntropy")]
        | Annotated[Focal, Tag("Focal")]
        | Annotated[CustomLoss, Tag("custom")],
        by_target(LOSSES),
    ] = Field(description="the loss")
    analysis: Analysis = Field(description="the measurement")
    launcher: Launcher = Field(description="how a sweep's runs are spread")
