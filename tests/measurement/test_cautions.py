"""What a measurement warns of: the bias of NC1 for few samples, against simulations; labels not shifted."""

import warnings

import pytest
import torch

from nc_runner.collapse import ClassStatistics, collapse_metrics
from nc_runner.measurement.batches import Batch
from nc_runner.measurement.cautions import cautions, nc1_bias, unshifted
from nc_runner.measurement.measure import measure

C = 10


def simulated(dim, per_class, nc1, repetitions=15):
    """Measured over true NC1, and its estimate, of a simplex ETF with noise: means of repetitions."""
    generator = torch.Generator().manual_seed(0)
    means = (torch.eye(C) - 1 / C).double() @ torch.eye(dim)[:C].double()  # singular values 1
    noise = (nc1 / (C - 1)) ** 0.5
    labels = torch.arange(C).repeat_interleave(per_class)
    measured, estimated = [], []
    for _ in range(repetitions):
        stats = ClassStatistics(C, dim)
        h = means[labels] + noise * torch.randn(len(labels), dim, dtype=torch.float64, generator=generator)
        stats.update(h, labels)
        measured.append(collapse_metrics(stats, means)["nc1"] / nc1)
        estimated.append(1 - nc1_bias(stats))
    return sum(measured) / repetitions, sum(estimated) / repetitions


@pytest.mark.parametrize("dim", [32, 256])
@pytest.mark.parametrize("per_class", [5, 20, 100])
@pytest.mark.parametrize("nc1", [1e-3, 0.1, 1.0])
def test_the_estimate_follows_the_simulation(dim, per_class, nc1):
    measured, estimated = simulated(dim, per_class, nc1, 5 if per_class == 100 else 15)
    if measured > 0.5:
        assert estimated == pytest.approx(measured, abs=0.12)
    else:
        assert measured - 0.05 < estimated < 0.6


def test_many_samples_are_no_reason_for_caution():
    stats = ClassStatistics(C, 8)
    labels = torch.arange(C).repeat_interleave(200)
    stats.update(torch.eye(C, 8)[labels] + 0.1 * torch.randn(len(labels), 8), labels)
    assert cautions(stats) == []


def told(model, batch, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cautions = measure(model, [batch], **options).cautions
    return [caution for caution in cautions if "shift=True" in caution]


def test_a_causal_language_model_that_is_measured_without_shift_gets_a_caution():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=11, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    ids = torch.randint(0, 11, (20, 12), generator=torch.Generator().manual_seed(0))
    padded = torch.where(torch.arange(12) < 9, ids, -100)  # as collators label padding
    for labels in (ids, padded):
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        assert told(model, batch) == [
            "labels look like the input ids themselves: shift=True measures next-token prediction"
        ]
        assert not told(model, batch, shift=True)
    assert not told(model, {"input_ids": ids[:, :-1], "labels": ids[:, 1:]})  # shifted already


def test_labels_that_are_not_the_inputs_give_no_caution():
    ids = torch.arange(12).view(2, 6)
    masked = torch.where(ids % 3 == 0, 99, ids)  # as in masked language modelling: labels of masked ones
    assert not unshifted(Batch.of((masked, torch.where(ids % 3 == 0, ids, -100))))
    assert not unshifted(Batch.of((ids, torch.full_like(ids, -100))))
    assert not unshifted(Batch.of((ids.float(), ids)))
    assert not unshifted(Batch.of((torch.arange(3), torch.arange(3))))
    assert unshifted(Batch.of((ids, ids)))
