"""Models that others made, by name or by a user's callable, and weights from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nc_runner.config.plugins import locate, reason, taken
from nc_runner.config.values import nearest
from nc_runner.errors import ConfigError, MeasurementError
from nc_runner.networks.saved import load_saved

_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")  # of wrappers that a model was saved inside
_NESTED = ("state_dict", "model_state_dict", "model")  # keys under which checkpoints hold the weights


def load_model(name: str, *, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A model for images of this shape.

    Args:
        name: ``torchvision:NAME`` or ``timm:NAME``, with random weights; ``hf:NAME``, a folder or name of
            Transformers, with the weights that it has; or ``FILE.py:CALLABLE`` or a dotted path, which gets
            those of the other arguments that it names.

    Raises:
        ConfigError: there is no such model, it fails to be built, or its library is not installed.
    """
    shape = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    library, _, inner = name.partition(":")
    try:
        if library == "torchvision":
            return _torchvision(inner, num_classes)
        if library == "timm":
            return _timm(inner, num_classes, in_channels)
        if library == "hf":
            return _transformers(inner)
        target = locate(name, "--model")
        model = target(**{key: shape[key] for key in taken(target, shape)})
    except ConfigError:
        raise
    except ImportError as error:
        raise ConfigError(
            f"--model {name} needs the package {error.name}\npip install {error.name}"
        ) from None
    except Exception as error:  # whatever a library or a user's callable raises
        raise ConfigError(f"--model {name} failed to build the model: {reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(
            f"--model {name} returned an object of type {type(model).__name__}, not an nn.Module"
        )
    return model


def _torchvision(name: str, num_classes: int) -> nn.Module:
    from torchvision import models

    if name not in (known := models.list_models()):
        raise ConfigError(f"--model torchvision:{name}: there is no such model{nearest(name, known)}")
    model: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
    return model


def _timm(name: str, num_classes: int, in_channels: int) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"--model timm:{name}: there is no such model{nearest(name, timm.list_models())}")
    model: nn.Module = timm.create_model(
        name, pretrained=False, num_classes=num_classes, in_chans=in_channels
    )
    return model


def _transformers(name: str) -> nn.Module:
    from transformers import AutoModelForImageClassification

    model: nn.Module = AutoModelForImageClassification.from_pretrained(name)
    return model


def load_weights_file(model: nn.Module, path: Path) -> None:
    """Load a state_dict into a model, strictly: every weight, and no other.

    The file is one of torch.save or .safetensors, or a checkpoint that holds a state_dict under
    ``state_dict``, ``model_state_dict`` or ``model``; names may begin with ``module.`` or the like. Nothing
    in it is executed.

    Raises MeasurementError where the file cannot be read or does not fit the model.
    """
    weights = _unprefixed(_weights(path), set(model.state_dict()))
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise MeasurementError(f"{path} does not fit the model: {_cut(lines[0])}") from None


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content: Any = load_saved(path)
    except FileNotFoundError:
        raise MeasurementError(f"there is no file {path}") from None
    except ImportError:
        raise MeasurementError(f"{path} needs the package safetensors\npip install safetensors") from None
    except Exception as error:  # a damaged file can fail in any way inside the reader
        raise MeasurementError(
            f"{path} cannot be read as weights: {_cut(reason(error))}\n"
            "save model.state_dict(): whole models are code, which is not executed"
        ) from None
    for key in _NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise MeasurementError(f"{path} holds no state_dict\nsave model.state_dict()")
    return dict(content)


def _unprefixed(weights: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """The weights without the names of wrappers, where that makes them the wanted ones."""
    names = list(weights)
    while set(names) != wanted:
        prefix = next((p for p in _PREFIXES if names and all(name.startswith(p) for name in names)), None)
        if prefix is None:
            return weights
        names = [name.removeprefix(prefix) for name in names]
    return dict(zip(names, weights.values(), strict=True))


def _cut(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:160]}..."
