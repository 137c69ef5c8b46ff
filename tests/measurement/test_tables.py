"""The table that features and outputs are written into, and where it is held."""

import pytest
import torch
from helpers.lab import few_images, settings_of

from nc_runner.measurement import tables as module
from nc_runner.measurement.tables import Rows, home
from nc_runner.training.run import build_trainer


def test_batches_come_to_lie_in_one_table_in_order():
    expected = torch.arange(21.0).view(7, 3)
    table = Rows(7)
    for batch in expected.split(3):
        table.append(batch)
    assert table.table.equal(expected)
    before = table.table.data_ptr()
    table.append(expected[:2])  # beyond the end
    assert table.table.equal(expected)
    assert table.table.data_ptr() == before


def test_a_table_that_is_not_full_is_not_given():
    table = Rows(7)
    with pytest.raises(ValueError, match="only 0 of 7"):
        _ = table.table
    table.append(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="only 3 of 7"):
        _ = table.table


def test_what_would_fill_a_gpu_is_held_by_the_host(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 5000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    gpu = torch.device("cuda")
    assert home(gpu, 600) == gpu  # half of what is free, or only reserved
    assert home(gpu, 601) == torch.device("cpu")
    assert home(torch.device("cpu"), 10**15) == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("classifier", ["gradient", "least_squares"])
def test_a_measurement_with_its_features_on_the_host_has_the_same_numbers(monkeypatch, classifier):
    settings = settings_of("net=resnet8", f"classifier={classifier}", "analysis.metrics=all", "batch_size=5")
    trainer = build_trainer(settings, few_images(count=47).to("cuda"), torch.device("cuda"))
    rows = []
    for share in (0.5, 0.0):
        monkeypatch.setattr(module, "SHARE_OF_FREE_MEMORY", share)
        rows.append(trainer.measurer.measure().row)
    assert rows[0] == pytest.approx(rows[1], rel=1e-6, abs=1e-9)
