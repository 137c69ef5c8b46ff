"""The losses that ship, and custom ones with their arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from helpers.settings import settings_of

from nc_runner.config.loss_schema import LOSSES as KNOWN
from nc_runner.config.loss_schema import CustomLoss
from nc_runner.errors import ConfigError
from nc_runner.measurement.losses import cross_entropy, mse
from nc_runner.training import losses
from nc_runner.training.losses import build_loss, check_loss

OUTPUTS, LABELS = (
    torch.randn(6, 4, generator=torch.Generator().manual_seed(0)),
    torch.tensor([0, 3, 1, 1, 2, 0]),
)

CUSTOM = """
import torch
drawn = torch.rand(1000)  # an import that moves torch's generator

def scaled(outputs, labels, factor, power=1):
    return factor * outputs.pow(power).mean()

class Scaled:
    def __init__(self, factor=1.0):
        if factor < 0:
            raise ValueError("factor is below 0")
        self.factor, self.drawn = factor, torch.rand(1000)
    def __call__(self, outputs, labels):
        return self.factor * outputs.mean()

class Uncallable:
    pass

ready = torch.nn.CrossEntropyLoss()
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "custom_losses.py").write_text(CUSTOM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "custom_losses", raising=False)


def custom(path: str, **arguments: object) -> CustomLoss:
    given = [f"+loss.{key}={value}" for key, value in arguments.items()]
    loss = settings_of("loss=custom", f"loss._target_={path}", *given).loss
    assert isinstance(loss, CustomLoss)
    return loss


def test_mse_is_torchs_on_one_hot_targets() -> None:
    expected = torch.nn.MSELoss()(OUTPUTS, torch.nn.functional.one_hot(LABELS, 4).float())
    assert torch.equal(mse(OUTPUTS, LABELS), expected)
    assert torch.isclose(mse(OUTPUTS, LABELS), ((OUTPUTS - torch.eye(4)[LABELS]) ** 2).sum() / 24)


def test_cross_entropy_is_torchs() -> None:
    assert torch.equal(cross_entropy(OUTPUTS, LABELS), torch.nn.CrossEntropyLoss()(OUTPUTS, LABELS))


@pytest.mark.parametrize(("name", "function"), [("mse", mse), ("ce", cross_entropy)])
def test_the_losses_that_ship_are_found_by_name(
    name: str, function: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "locate", None)
    loss = settings_of(f"loss={name}").loss
    check_loss(loss)
    assert build_loss(loss) is function
    assert set(losses.LOSSES) == set(KNOWN)


def test_the_settings_of_a_custom_loss_reach_it() -> None:
    loss = build_loss(custom("custom_losses.scaled", factor=3, power=2))
    assert loss(OUTPUTS, LABELS) == 3 * OUTPUTS.pow(2).mean()


def test_a_class_is_made_with_the_settings_and_called() -> None:
    smooth = build_loss(custom("torch.nn.CrossEntropyLoss", label_smoothing=0.3))
    assert torch.equal(
        smooth(OUTPUTS, LABELS), torch.nn.CrossEntropyLoss(label_smoothing=0.3)(OUTPUTS, LABELS)
    )
    assert not torch.equal(smooth(OUTPUTS, LABELS), cross_entropy(OUTPUTS, LABELS))
    assert build_loss(custom("custom_losses.Scaled", factor=2))(OUTPUTS, LABELS) == 2 * OUTPUTS.mean()


def test_an_object_that_is_a_loss_already_is_called_as_it_is() -> None:
    assert torch.equal(
        build_loss(custom("custom_losses.ready"))(OUTPUTS, LABELS), cross_entropy(OUTPUTS, LABELS)
    )


@pytest.mark.parametrize("path", ["custom_losses.scaled", "custom_losses.Scaled"])
def test_finding_a_loss_leaves_the_generator_alone(path: str) -> None:
    before = torch.get_rng_state()
    build_loss(custom(path, factor=2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("call", [check_loss, build_loss])
@pytest.mark.parametrize(
    ("path", "arguments", "problem"),
    [
        (
            "custom_losses.scaled",
            {},
            r"^loss\.factor is not set, and scaled needs it\n.*\+loss\.factor=VALUE",
        ),
        ("custom_losses.scaled", {"factr": 1}, r"^there is no setting loss\.factr: .*did you mean factor\?"),
        (
            "custom_losses.Scaled",
            {"factr": 1},
            r"^there is no setting loss\.factr: Scaled has no such argument",
        ),
        ("torch.nn.functional.cross_entropy", {"label_smooting": 1}, r"did you mean label_smoothing\?"),
        ("torch.nn.CrossEntropyLoss", {"smoothing": 0.1}, r"loss\.smoothing: CrossEntropyLoss has no"),
        ("custom_losses.absent", {}, "has no attribute absent"),
        ("mes", {}, r"^loss\._target_=mes is not a dotted path\nname a module"),
        ("mse_", {}, r"^loss\._target_=mse_ is not a dotted path; did you mean mse\?"),
    ],
)
def test_a_loss_that_cannot_be_called_is_a_config_error(
    call: object, path: str, arguments: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        call(custom(path, **arguments))  # type: ignore[operator]
    assert len(str(caught.value).splitlines()) <= 2


def test_a_class_that_fails_or_makes_no_callable_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="Scaled failed with ValueError: factor is below 0"):
        build_loss(custom("custom_losses.Scaled", factor=-1))
    with pytest.raises(
        ConfigError, match="Uncallable makes an object that cannot be called\ngive a function"
    ):
        build_loss(custom("custom_losses.Uncallable"))
