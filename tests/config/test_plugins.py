"""Custom callables: where they are looked for, and which arguments they take."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

from nc_runner.config import plugins
from nc_runner.config.plugins import check_arguments, taken
from nc_runner.errors import ConfigError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_callable_may_be_named_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "by_file.py").write_text("def f():\n    return 7\n")
    assert plugins.locate("deep/by_file.py:f", "net._target_")() == 7
    for path, problem in (
        ("deep/nothing.py:f", "there is no Python file deep/nothing.py"),
        ("deep:f", "there is no Python file deep"),
        ("deep/by_file.py:g", "has no attribute g"),
    ):
        with pytest.raises(ConfigError) as caught:
            plugins.locate(path, "net._target_")
        assert problem in str(caught.value)


def test_a_file_hidden_by_another_module_of_its_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "colorsys.py").write_text("def f():\n    return 7\n")
    with pytest.raises(ConfigError, match=r"another module called colorsys hides this file"):
        plugins.locate("colorsys.py:f", "net._target_")


def test_modules_beside_custom_yaml_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "beside_yaml.py").write_text("def f():\n    return 8\n")
    with pytest.raises(ConfigError, match="there is no module beside_yaml"):
        plugins.locate("beside_yaml.f", "loss._target_")
    plugins.look_in([str(tmp_path / "configs")])
    assert plugins.locate("beside_yaml.f", "loss._target_")() == 8


def test_a_name_that_ships_is_suggested_for_one_that_is_no_path() -> None:
    with pytest.raises(ConfigError, match=r"^data\._target_=mnits is not a .* path; did you mean mnist\?"):
        plugins.locate("mnits", "data._target_", ["mnist", "digits"])
    with pytest.raises(ConfigError, match=r"is not a dotted path\n"):
        plugins.locate("mnits", "data._target_")


def loss(outputs: Any, labels: Any, eps: float, *, power: int = 2) -> None:
    pass


def test_arguments_are_checked_against_the_signature() -> None:
    check_arguments(loss, "loss", {"eps": 1, "power": 3}, positional=2)
    check_arguments(functools.partial(loss, eps=1), "loss", {}, positional=2)
    check_arguments(loss, "loss", {}, provided=["eps"], positional=2)
    check_arguments(lambda **options: None, "loss", {"anything": 1})
    check_arguments(min, "loss", {"anything": 1})  # written in C, without a signature
    with pytest.raises(ConfigError, match=r"no setting loss\.epss: .* no such argument; did you mean eps\?"):
        check_arguments(loss, "loss", {"epss": 1}, positional=2)
    with pytest.raises(ConfigError, match=r"loss\.eps is not set, and loss needs it\n.*\+loss\.eps=VALUE"):
        check_arguments(loss, "loss", {}, positional=2)
    with pytest.raises(ConfigError, match=r"no setting loss\.labels"):  # it is given by position
        check_arguments(loss, "loss", {"eps": 1, "labels": 1}, positional=2)


def test_a_callable_gets_what_it_takes() -> None:
    names = ["eps", "root"]
    assert taken(loss, names) == ["eps"]
    assert taken(lambda **options: None, names) == names
    assert taken(min, names) == names
