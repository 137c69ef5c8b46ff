"""deterministic=true: what torch is asked for, what is refused, and what it gives on a GPU."""

import os

import pytest
import torch
from helpers.settings import settings_of

from nc_runner.config.identity import folder_name
from nc_runner.errors import ConfigError
from nc_runner.runs.reader import read_run
from nc_runner.runs.record import COMPLETE
from nc_runner.training.reproducible import FIXED_WORKSPACE, WORKSPACE, deterministic_algorithms
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals

SMALL = ("epochs=2", "data.samples_per_class=20", "batch_size=50", "progress=none", "threads=1")


@pytest.fixture
def clean_workspace(monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)


@pytest.mark.usefixtures("clean_workspace")
def test_torch_is_asked_inside_alone():
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ[WORKSPACE] == FIXED_WORKSPACE
    assert not torch.are_deterministic_algorithms_enabled()
    with deterministic_algorithms(False):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("clean_workspace")
def test_an_operation_without_one_is_named():
    values, targets = torch.zeros(4, 4), torch.zeros(4, dtype=torch.long)
    message = r"put_ has no deterministic implementation.*\n.*deterministic=false"
    with pytest.raises(ConfigError, match=message), deterministic_algorithms(True):
        values.put_(targets, torch.ones(4), accumulate=False)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("clean_workspace")
def test_too_late_where_cuda_has_begun_without(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="used CUDA without it"), deterministic_algorithms(True):
        pass
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with deterministic_algorithms(True):
        pass


def test_it_is_a_part_of_what_identifies_a_run():
    assert folder_name(settings_of("deterministic=true")) != folder_name(settings_of())
    assert "deterministic" in folder_name(settings_of("deterministic=true"))


@pytest.mark.parametrize("extra", [(), ("loss=ce",), ("analysis.metrics=all", "analysis.robustness=10")])
def test_a_run_under_it_completes_with_the_rows_of_one_without(tmp_path, monkeypatch, extra):
    monkeypatch.setenv(WORKSPACE, FIXED_WORKSPACE)
    rows = []
    for deterministic in (False, True):
        folder = tmp_path / str(deterministic)
        folder.mkdir()
        execute(
            settings_of(*SMALL, *extra, f"deterministic={deterministic}", "device=cpu"), folder, StopSignals()
        )
        assert read_run(folder).state == COMPLETE
        rows.append(read_run(folder).rows.filter(regex="^(?!.*seconds)"))
    assert rows[0].equals(rows[1])


@pytest.mark.gpu
@pytest.mark.parametrize("net", ["net=resnet8", "net=vgg6", "net=densenet10"])
def test_the_same_seed_twice_gives_the_same_bits_on_a_gpu(tmp_path, monkeypatch, net):
    monkeypatch.setenv(WORKSPACE, FIXED_WORKSPACE)
    rows = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        execute(settings_of(*SMALL, net, "deterministic=true", "device=cuda"), folder, StopSignals())
        rows.append(read_run(folder).rows.filter(regex="^(?!.*seconds)"))
    assert rows[0].equals(rows[1])
