"""The settings of the last layer, ``head.*``, and what goes together with them. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nc_runner.config.fields import Group, setting
from nc_runner.errors import ConfigError

if TYPE_CHECKING:
    from nc_runner.config.schema import Config


class Head(Group):
    bias: bool = setting("Whether the last layer has a bias.", neutral=True)
    features: int | None = setting(
        "Width of an extra linear layer, without activation, before the last layer; null: no extra layer.",
        neutral=None,
        ge=1,
    )
    normalize: Literal["none", "features", "rows", "both"] = setting(
        "What is scaled to norm 1: none, features, rows (of the last layer's weight), or both.",
        neutral="none",
    )
    temperature: float | None = setting(
        "With head.normalize: divisor of the outputs, before the bias is added; null: 1.", neutral=None, gt=0
    )
    scale: float | None = setting(
        "With classifier=etf: norm of each row of the weight; null: 1.", neutral=None, gt=0
    )

    @property
    def normalizes_features(self) -> bool:
        return self.normalize in ("features", "both")

    @property
    def normalizes_rows(self) -> bool:
        return self.normalize in ("rows", "both")


def head_completed(config: Config) -> Config:
    """With the numbers that are null filled in, where the head uses them.

    Raises ConfigError for settings of the last layer that do not go together.
    """
    head, classifier = config.head, config.classifier
    _check_use("head.temperature", head.temperature, "head.normalize", used=head.normalize != "none")
    _check_use("head.scale", head.scale, "classifier=etf", used=classifier == "etf")
    if head.features is not None and config.net.target == "vgg":
        raise ConfigError(
            f"head.features={head.features}: a VGG has linear layers before its classifier\n"
            f"set their width: net.head_width={head.features}"
        )
    if head.normalizes_rows and classifier == "etf":
        raise ConfigError(
            f"head.normalize={head.normalize}: the rows of classifier=etf have one norm, head.scale\n"
            f"give head.normalize={'features' if head.normalizes_features else 'none'}"
        )
    if head.normalizes_rows and classifier == "least_squares":
        raise ConfigError(
            f"head.normalize={head.normalize}: the rows of a least-squares classifier differ in norm\n"
            "give head.normalize=features or none, or classifier=gradient"
        )
    filled: dict[str, float] = {}
    if head.normalize != "none" and head.temperature is None:
        filled["temperature"] = 1.0
    if classifier == "etf" and head.scale is None:
        filled["scale"] = 1.0
    return config.model_copy(update={"head": head.model_copy(update=filled)}) if filled else config


def _check_use(key: str, value: float | None, needed: str, *, used: bool) -> None:
    if value is not None and not used:
        raise ConfigError(f"{key}={value:g} has no use without {needed}\nleave it out, or give {needed}")
