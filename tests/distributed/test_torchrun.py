"""What torchrun's variables say of a process, and what several ranks cannot share."""

import json

import pytest

from nc_runner.distributed import torchrun
from nc_runner.errors import ConfigError


@pytest.fixture
def three_ranks(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 3, "LOCAL_RANK": 0, "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "localhost")


@pytest.mark.usefixtures("three_ranks")
@pytest.mark.parametrize(
    ("batch_size", "device", "message"),
    [
        (128, "auto", "cannot be split among 3\ntry batch_size=126 or batch_size=129"),
        (2, "cpu", "try batch_size=3, or another"),
        (126, "cuda:1", "device=cuda:1 is one device, and torchrun started 3 processes"),
        (126, "mps", "device=mps is one device"),
    ],
)
def test_what_ranks_cannot_share_is_an_error(batch_size, device, message):
    torchrun.check_settings(126, "auto")
    with pytest.raises(ConfigError) as caught:
        torchrun.check_settings(batch_size, device)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.usefixtures("three_ranks")
def test_another_launcher_under_torchrun_is_an_error():
    torchrun.check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    with pytest.raises(ConfigError, match="one job after the other"):
        torchrun.check_launcher("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher")


@pytest.mark.usefixtures("three_ranks")
def test_the_place_is_what_torchrun_says(monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert torchrun.place() == torchrun.Place(2, 3, 1, 2)
    monkeypatch.setenv("RANK", "two")
    assert torchrun.place() == torchrun.Place()


def test_a_launcher_without_local_ranks_is_not_torchrun(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # some clusters set it for nodes
    assert torchrun.place() == torchrun.Place()
    torchrun.check_settings(127, "cuda:1")


def test_torchruns_summary_shows_what_a_process_reports(tmp_path, monkeypatch):
    torchrun.report("nobody asks")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    torchrun.report("rank 1 is lost")
    assert json.loads((tmp_path / "error.json").read_text())["message"]["message"] == "rank 1 is lost"
