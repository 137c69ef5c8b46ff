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
    target: str = target("Network family (resnet, vgg, densenet, ufm), or path of a custom callable.")
    name: Name | None = setting("Name in figures and folder names; null: that of the callable.")
    weights: str | None = setting(
        "File of weights to start from; null: random initial weights.", neutral=None
    )


class ResNet(Network):
    depth: Literal[8, 18, 20, 32, 34, 50, 56, 101, 152] = setting("Number of layers.")
    stem: Literal["auto", "small", "imagenet"] = setting(
        "First layers of depths 18, 34, 50, 101, 152: small (3 x 3), imagenet (7 x 7, pooling), auto "
        "(small below 64 x 64 pixels).",
        neutral="auto",
    )


class VGG(Network):
    depth: Literal[6, 11, 13, 16, 19] = setting("Number of layers.")
    head_width: int | None = setting(
        "Width of the two hidden linear layers, so the number of features; null: 4096 (64 for depth 6).",
        neutral=None,
        ge=1,
    )


class DenseNet(Network):
    depth: Literal[10, 40, 100, 121, 201, 250] = setting("Number of layers.")
    growth_rate: int | None = setting(
        "Feature maps that each layer adds; null: 12 (depths 10, 40, 100), 24 (250) or 32 (121, 201).",
        neutral=None,
        ge=1,
    )
    stem: Literal["auto", "small", "imagenet"] = setting(
        "First layers: small (3 x 3), imagenet (7 x 7, pooling), or auto (small below 64 x 64 pixels).",
        neutral="auto",
    )


class UFM(Network):
    """Unconstrained features, for ``data=ufm`` alone: see :mod:`nc_runner.networks.ufm`."""

    features: int = setting("Number of features.", ge=1)
    class_size: int = passive("Samples per class; set from data.options.samples_per_class.", ge=1)
    dtype: Literal["float32", "float64"] = setting(
        "Number type of features, classifier and training: float32 or float64.", neutral="float32"
    )


class CustomNetwork(Network):
    """Further keys are arguments of the callable."""

    model_config = ConfigDict(extra="allow")


class Analysis(Group):
    schedule: Schedule = setting(
        "Epochs to measure: every, paper (the authors' epochs), or a list. 0: at initialisation. The "
        "last is always measured.",
        neutral="every",
    )
    samples: int | None = setting(
        "Train images to measure, equally many per class, and at most as many test images; null: all.",
        neutral=None,
        ge=2,
    )
    ridge: Annotated[str | float, values.ridge] = setting(
        "Ridge parameter of the MSE decomposition: objective (C*wd/2), notebook (wd/2), or a number.",
        neutral="objective",
    )
    metrics: Annotated[str | tuple[str, ...], values.metrics] = setting(
        "Optional columns of metrics.csv: core (none), all, or a list such as [nc1_cdnv,nc3_cosine].",
        neutral="core",
    )
    ood: Annotated[str, values.ood] | None = setting(
        "Out-of-distribution data set for nc5_ood_orthogonality, which uses its test images; null: none.",
        neutral=None,
    )
    custom: Annotated[dict[str, str], values.custom_metrics] = setting(
        "Custom metrics as COLUMN: path of a callable (stats, weight, bias) -> number.", neutral={}
    )
    layers: Annotated[Names, values.layers] = setting(
        "Inner layers to measure into layers.csv: module names or globs, such as [layer*].", neutral=()
    )
    robustness: int = setting(
        "Number of test images whose distance to the decision boundary DeepFool measures; 0: none.",
        neutral=0,
        ge=0,
    )
    batchnorm: Literal["running", "recomputed", "both"] = setting(
        "Batch-norm statistics in the measurement: running, recomputed (for the current weights), or "
        "both (adds columns).",
        neutral="running",
    )
    batch_size: int = passive("Maximum number of images per forward pass of the measurement.", ge=1)

    @property
    def further_columns(self) -> tuple[str, ...]:
        """The columns beyond those of every run, in the order of the header."""
        wider = wider_columns(self.metrics, self.ood is not None)
        return (*wider, *asked_columns(self.robustness, self.batchnorm), *self.custom)


class Launcher(Group):
    """What the presets of conf/launcher/ read."""

    name: Literal["basic", "joblib", "ray", "slurm", "submitit_local"] = passive(
        "How the runs of a sweep are launched; set by launcher=NAME."
    )
    jobs: int | None = passive(
        "Runs at a time; null: one per GPU, or one per CPU core if there is no GPU. Default of slurm: 256.",
        ge=1,
    )
    cpus: int | None = passive(
        "CPU cores and threads per run; null: all cores divided by the runs at a time. Default of slurm: 4.",
        ge=1,
    )
    gpus: int | None = passive(
        "GPUs per run, for slurm (default: 0) and ray (null: 1 if this machine has a GPU, else 0).", ge=0
    )
    hours: float = passive(
        "Time limit of a Slurm job in hours; a run that reaches it is saved, requeued and resumed.", gt=0
    )
    requeues: int = passive("Maximum number of times that a Slurm job is requeued.", ge=0)
    memory_gb: int = passive("Memory of a Slurm job in GB.", ge=1)
    partition: str | None = passive("Slurm partition; null: Slurm's default.")
    account: str | None = passive("Slurm account; null: Slurm's default.")
    address: str | None = passive(
        "Address of a running Ray cluster, such as auto or HOST:6379; null: start one on this machine."
    )


class Training(Optimization):
    seed: int = setting(
        "Seed of all random choices: initial weights, subsets, label noise, augmentation, shuffling.",
        ge=0,
        le=2**63 - 1,
    )
    epochs: int = setting("Number of passes over the train set.", neutral=350, ge=1)
    batch_size: int = setting(
        "Images per training step, over all ranks; an incomplete last batch is dropped.", neutral=128, ge=1
    )
    lr_schedule: Annotated[
        Annotated[LRSchedule, Tag("LRSchedule")] | Annotated[CustomLRSchedule, Tag("custom")],
        by_target(LR_SCHEDULES),
    ] = Field(description="Learning-rate schedule.")
    lr_warmup_epochs: int = setting(
        "Number of first epochs in which the learning rate rises linearly; 0: no warm-up.", neutral=0, ge=0
    )
    lr_milestones: Milestones | None = setting(
        "With lr_schedule=step: when the learning rate drops, as fractions of epochs or epoch "
        "numbers; otherwise null.",
        neutral=("1/3", "2/3"),
    )
    lr_gamma: float | None = setting(
        "With lr_schedule=step: factor of the learning rate at each milestone; otherwise null.",
        neutral=0.1,
        gt=0,
        le=1,
    )
    precision: Literal["fp32", "tf32", "bf16"] = setting(
        "Arithmetic of training: fp32, tf32, or bf16 (autocast). It does not change that of the measurement.",
        neutral="fp32",
    )
    channels_last: bool = setting(
        "Whether images and convolutions have the channels-last (NHWC) memory layout.", neutral=True
    )
    compile: bool = setting("Whether to compile the network for training, with torch.compile.", neutral=False)
    deterministic: bool = setting(
        "Whether to use deterministic algorithms only: a GPU then repeats its results bit for bit.",
        neutral=False,
    )
    sync_batchnorm: bool = setting(
        "Whether batch norm uses the images of all ranks together (torchrun on GPUs).", neutral=False
    )
    classifier: Literal["gradient", "least_squares", "etf"] = setting(
        "How the last layer is fitted: gradient, least_squares (after every epoch), or etf (fixed "
        "simplex ETF weight).",
        neutral="gradient",
    )
    head: Head = Field(description="The last layer.")


class Machine(Group):
    device: Annotated[str, values.device] = passive(
        "Device: auto (CUDA if available, else MPS, else CPU), cpu, cuda, cuda:N, or mps."
    )
    threads: int | None = passive(
        "CPU threads of torch; null: torch's choice, or with a launcher the run's share of the cores.", ge=1
    )
    rank_timeout_seconds: float = passive(
        "With torchrun: seconds without an answer after which a rank counts as lost.", gt=0
    )


class Recording(Group):
    checkpoint_seconds: float = passive("Seconds between two checkpoints; 0: one after every epoch.", ge=0)
    keep_checkpoints: Keep = passive(
        "Epochs whose weights are kept in weights/: none, analysed (all that are measured), or a list."
    )
    overwrite: bool = passive("Whether to start the run anew; the old one is kept in a folder beside it.")
    progress: Literal["auto", "live", "plain", "none"] = passive(
        "Progress display: live, plain, none, or auto (live on a terminal, otherwise plain)."
    )
    tracker: Annotated[Names, values.tracker] = passive(
        "Experiment trackers that the run logs to: tensorboard, wandb, mlflow, or a list; null: none."
    )
    tensorboard: bool = passive("Whether to log to TensorBoard too, as with tracker=tensorboard.")
    objective: str = passive(
        "Column of metrics.csv whose last value is the objective of a hyperparameter search."
    )
    sweep: str | None = passive("Name of the sweep that the run belongs to; set by nc-run -m.")

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
    ] = Field(description="The network.")
    data: Annotated[
        Annotated[StandardData, Tag("StandardData")]
        | Annotated[FolderData, Tag("FolderData")]
        | Annotated[NpzData, Tag("NpzData")]
        | Annotated[TorchvisionData, Tag("TorchvisionData")]
        | Annotated[UFMData, Tag("UFMData")]
        | Annotated[CustomData, Tag("custom")],
        by_target(DATA_SETS),
    ] = Field(description="The data set.")
    loss: Annotated[
        Annotated[Loss, Tag("Loss")]
        | Annotated[RescaledMSE, Tag("RescaledMSE")]
        | Annotated[CrossEntropy, Tag("CrossEntropy")]
        | Annotated[Focal, Tag("Focal")]
        | Annotated[CustomLoss, Tag("custom")],
        by_target(LOSSES),
    ] = Field(description="The loss.")
    analysis: Analysis = Field(description="The measurement.")
    launcher: Launcher = Field(description="How the runs of a sweep are launched.")
