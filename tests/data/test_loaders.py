"""Custom loaders: what they get, what they may return, and which are an error before anything is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import miniature
from helpers.miniature import assert_same, data_error
from helpers.settings import settings_of

from nc_runner.config.data_schema import DATA_SETS, Data
from nc_runner.data import loaders
from nc_runner.data.loaders import check_loader, load_raw
from nc_runner.errors import ConfigError

CUSTOM_LOADERS = """
from helpers import miniature
from nc_runner.data.raw import RawDataset

def plain():
    return miniature.random_raw((8, 8, 3), 5)

def with_root(root, *, copies=1, download=True):
    assert root == "somewhere" and download is False
    return miniature.random_raw((8, 8, 1), seed=copies)

def arrays():
    raw = plain()
    return raw.train.images, raw.train.labels

def transposed():
    raw = plain()
    return RawDataset(raw.test, raw.train, 7)

def broken():
    raise FileNotFoundError("no such file:\\n a.npz")

def anything(**options):
    assert set(options) == {"root", "download", "copies"}
    return miniature.random_raw((8, 8, 1), seed=options["copies"])

def needs_a_file(root, file):
    pass

class Items:
    def __init__(self, root, train, count):
        pass

number = 3
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "custom_data.py").write_text(CUSTOM_LOADERS)
    (tmp_path / "custom_syntax.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "custom_data", raising=False)


def custom(target: str, **options: object) -> Data:
    given = [f"+data.options.{key}={value}" for key, value in options.items()]
    common = ["data.root=somewhere", "data.download=false", "data.name=mine"]
    return settings_of("data=custom", f"data._target_={target}", *common, *given).data


def test_the_loaders_are_those_that_the_settings_know() -> None:
    assert set(loaders.LOADERS) == set(DATA_SETS)


def test_a_custom_loader_in_the_current_folder_gets_what_its_signature_takes() -> None:
    assert_same(load_raw(custom("custom_data.plain")), miniature.random_raw((8, 8, 3), 5))
    with_root = custom("custom_data.with_root", copies=4)
    assert_same(load_raw(with_root), miniature.random_raw((8, 8, 1), seed=4))


def test_a_loader_with_keyword_arguments_gets_root_download_and_every_option() -> None:
    """Its options cannot be checked."""
    check_loader(custom("custom_data.anything", copies=4))
    assert_same(load_raw(custom("custom_data.anything", copies=4)), miniature.random_raw((8, 8, 1), seed=4))


@pytest.mark.parametrize("call", [check_loader, load_raw])
@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("plain", {}, "data._target_=plain is not a dotted path"),
        ("mnits", {}, "data._target_=mnits is not a dotted path; did you mean mnist?"),
        ("nowhere.plain", {}, "there is no module nowhere"),
        ("custom_data.missing", {}, "has no attribute missing"),
        ("custom_syntax.f", {}, "cannot be imported"),
        ("custom_data.number", {}, "is of type int"),
        ("custom_data.plain", {"copies": 2}, "data.options.copies: plain has no such argument"),
        ("custom_data.with_root", {"copis": 2}, "data.options.copis: with_root has no such argument; "
                                                "did you mean copies?\nit takes copies"),
        ("custom_data.needs_a_file", {}, "data.options.file is not set, and needs_a_file needs it"),
    ],
)  # fmt: skip
def test_a_custom_loader_that_cannot_be_called_is_a_config_error(
    target: str, options: dict[str, object], problem: str, call: Callable[[Data], object]
) -> None:
    with pytest.raises(ConfigError) as caught:
        call(custom(target, **options))
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["KMINST"], "torchvision has no such data set; did you mean KMNIST?"),
        (["KMNIST", "+data.options.split=1"], "data.options.split: KMNIST has no such argument"),
        (["custom_data.Items"], "data.options.count is not set, and Items needs it"),
        (["custom_data.Absent"], "has no attribute Absent"),
    ],
)
def test_the_class_of_a_torchvision_data_set_is_checked_too(overrides: list[str], problem: str) -> None:
    dataset, *others = overrides
    data = settings_of("data=torchvision", f"data.options.dataset={dataset}", *others).data
    with pytest.raises(ConfigError) as caught:
        check_loader(data)
    assert problem in str(caught.value)
    check_loader(settings_of("data=torchvision", "data.options.dataset=KMNIST").data)
    settings = ("data=torchvision", "data.options.dataset=custom_data.Items", "+data.options.count=3")
    check_loader(settings_of(*settings).data)


@pytest.mark.parametrize("name", ["digits", "mnist", "folder", "npz"])
def test_nothing_is_looked_up_for_what_ships(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"folder": ["data.options.folder=x"], "npz": ["data.options.file=x"]}.get(name, [])
    monkeypatch.setattr(loaders, "locate", None)
    check_loader(settings_of(f"data={name}", *options).data)


def test_a_loader_that_returns_something_else_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"returned tuple, not a data set\na loader returns .*RawDataset"):
        load_raw(custom("custom_data.arrays"))


def test_a_loader_that_fails_or_gives_bad_arrays_is_a_data_error() -> None:
    broken, transposed = custom("custom_data.broken"), custom("custom_data.transposed")
    assert "FileNotFoundError: no such file: a.npz" in data_error(lambda: load_raw(broken))
    assert "data set mine: no train image of class 5, 6" in data_error(lambda: load_raw(transposed))
