"""Features files: every format gives the run's own row; what does not fit is said."""

import os
import zipfile

import numpy as np
import pytest
import torch
from helpers import reference
from helpers.lab import few_images, trainer_of

from nc_runner.columns import metric_columns
from nc_runner.errors import MeasurementError
from nc_runner.measurement import tables
from nc_runner.measurement.features import FeaturesPlan, chosen_columns, measure_features
from nc_runner.measurement.features_file import read_features
from nc_runner.measurement.losses import LOSSES

C, P = 3, 5


def arrays(dtype=np.float32, count=60):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % C
    features = (rng.normal(size=(count, P)) + 3 * np.eye(C, P)[labels]).astype(dtype)
    test = rng.normal(size=(12, P)).astype(dtype)
    return {
        "features": features,
        "labels": labels,
        "weight": rng.normal(size=(C, P)).astype(dtype),
        "bias": rng.normal(size=C).astype(dtype),
        "test_features": test,
        "test_labels": np.arange(12) % C,
        "ood_features": rng.normal(size=(7, P)).astype(dtype),
    }


def write(path, content):
    if path.suffix == ".npz":
        (np.savez_compressed if "compressed" in path.name else np.savez)(path, **content)
        return path
    tensors = {key: torch.from_numpy(value) for key, value in content.items()}
    if path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization="old" not in path.name)
    return path


def row_of(path, metrics="all", loss="ce", **plan):
    features = read_features(path, LOSSES[loss])
    columns = chosen_columns(metrics, test=features.test is not None, ood=features.ood is not None)
    return measure_features(features, FeaturesPlan(columns, **plan)).row


FORMATS = ("f.npz", "compressed.npz", "f.pt", "old.pt", "f.safetensors")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_format_gives_the_row_of_the_definitions(name, dtype, tmp_path):
    content = arrays(dtype)
    row = row_of(write(tmp_path / name, content), ridge=0.01)
    assert row["train_loss_regularized"] == row["train_loss"]
    h, y, W, b = (content[key].astype(np.float64) for key in ("features", "labels", "weight", "bias"))
    y = y.astype(int)
    expected = reference.collapse_metrics(h, y, W) | reference.mse_decomposition(h, y, W, b, 0.01)
    expected |= reference.wider_metrics(h, y, W, b)
    expected["train_accuracy"] = np.mean((h @ W.T + b).argmax(1) == y)
    for key, value in expected.items():
        assert row[key] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), key
    assert tuple(row)[: len(metric_columns(C))] == metric_columns(C)


def test_features_in_blocks_from_a_file_larger_than_the_limit_have_the_same_bits(tmp_path, monkeypatch):
    path = write(tmp_path / "compressed.npz", arrays())
    plain = row_of(path)
    monkeypatch.setattr(tables, "free_memory", lambda: 100)
    monkeypatch.setattr("nc_runner.measurement.features_file.BLOCK", 64)
    row = row_of(path)
    assert {k: v for k, v in row.items() if k != "analysis_seconds"} == pytest.approx(
        {k: v for k, v in plain.items() if k != "analysis_seconds"}, rel=0, nan_ok=True
    )


@pytest.mark.parametrize("family", ["resnet8", "vgg6", "densenet10"])
@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("name", ["f.npz", "f.pt", "f.safetensors"])
def test_exported_features_of_a_network_give_its_own_row(family, loss, name, tmp_path):
    trainer = trainer_of(f"net={family}", f"loss={loss}", dataset=few_images(count=48))
    measurer = trainer.measurer
    own = measurer.measure().row
    content = {}
    for prefix, split in (("", trainer.dataset.train), ("test_", trainer.dataset.test)):
        samples = measurer.forward.respond(split)
        content |= {f"{prefix}features": samples.features.numpy(), f"{prefix}labels": split.labels.numpy()}
    classifier = trainer.network.classifier
    content |= {"weight": classifier.weight.detach().numpy(), "bias": classifier.bias.detach().numpy()}
    row = row_of(write(tmp_path / name, content), loss=loss, weight_decay=5e-4)
    for key, value in own.items():
        if key == "train_loss_regularized":  # of all parameters, which the file does not have
            assert np.isnan(row[key])
            continue
        tolerance = 1e-6 if key in ("train_loss", "test_loss") else 1e-9  # float32 means of float32 outputs
        assert row[key] == pytest.approx(value, rel=tolerance, abs=1e-12), key


def test_without_a_classifier_what_needs_one_is_nan(tmp_path):
    content = arrays()
    whole = row_of(write(tmp_path / "whole.npz", content))
    for key in ("weight", "bias"):
        del content[key]
    row = row_of(write(tmp_path / "f.npz", content))
    absent = {key for key, value in row.items() if np.isnan(value)} - {"epoch", "lr", "train_seconds"}
    assert absent >= {
        "nc3_self_duality",
        "mse_perp",
        "train_loss",
        "weight_norm",
        "nc4_ncc_mismatch",
        "nc3_cosine",
    }
    for key in (
        "nc1",
        "mse_ls",
        "snr_1",
        "nc2_equinorm_means",
        "test_nc1",
        "ncc_accuracy",
        "nc1_cdnv",
        "rank",
    ):
        assert row[key] == pytest.approx(whole[key], rel=1e-12), key


def test_float64_features_that_hold_float32_values_count_as_float32(tmp_path):
    rng = np.random.default_rng(0)
    low_rank = (rng.normal(size=(400, 3)) @ rng.normal(size=(3, 40))).astype(np.float32)
    content = {"features": low_rank.astype(np.float64), "labels": np.arange(400) % C}
    as_float32 = row_of(write(tmp_path / "a.npz", {**content, "features": low_rank}))
    assert row_of(write(tmp_path / "b.npz", content))["mse_ls"] == pytest.approx(
        as_float32["mse_ls"], rel=1e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "has no labels: it holds features"),
        ({"features": None}, "has no features"),
        ({"weight": None}, "has no weight"),
        ({"test_labels": None}, "has no test_labels"),
        (
            {"wieght": np.zeros(3)},
            r"wieght is unknown; did you mean weight\?\na features file has features, labels",
        ),
        ({"labels": np.zeros(59, int)}, r"labels must have shape \(N=60\), not \(59,\)"),
        ({"labels": np.zeros(60)}, "labels must be whole numbers, not float64"),
        ({"labels": np.full(60, -1)}, "labels must be from 0 on; one is -1"),
        ({"labels": np.full(60, 3)}, "label 3 is too large: there are 3 classes"),
        ({"features": np.zeros((60, P), int)}, "features must be floating-point numbers, not int64"),
        ({"features": np.zeros(60)}, r"features must have shape \(N, P\), not \(60,\)"),
        ({"features": np.full((60, P), np.nan)}, "features must be finite"),
        ({"weight": np.zeros((C, P + 1), np.float32)}, r"weight must have shape \(C=3, P=5\), not \(3, 6\)"),
        ({"bias": np.zeros((C, 1), np.float32)}, r"bias must have shape \(C=3\), not \(3, 1\)"),
        ({"weight": np.full((C, P), np.nan, np.float32)}, "weight must be finite"),
        ({"bias": np.full(C, np.inf, np.float32)}, "bias must be finite"),
        ({"test_features": np.full((12, P), np.nan, np.float32)}, "test_features must be finite"),
        ({"ood_features": np.full((7, P), -np.inf, np.float32)}, "ood_features must be finite"),
        ({"labels": np.full(60, 2**64 - 1, np.uint64)}, "labels must be from 0 on; one is -1"),
        ({"labels": np.full(60, 2**40), "weight": None, "bias": None}, "label 1099511627776 is too large"),
        ({"test_features": np.zeros((0, P), np.float32), "test_labels": np.zeros(0, int)}, "must have shape"),
    ],
)
@pytest.mark.parametrize("name", ["f.npz", "f.pt"])
def test_what_does_not_fit_is_said(change, message, name, tmp_path):
    content = {key: value for key, value in (arrays() | change).items() if value is not None}
    with pytest.raises(MeasurementError, match=message) as error:
        row_of(write(tmp_path / name, content))
    assert len(str(error.value).splitlines()) <= 2


def test_files_that_are_none_are_said_and_nothing_in_them_is_executed(tmp_path):
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "f.csv").write_text("1,2")
    np.savez(tmp_path / "object.npz", features=np.array([print], dtype=object), labels=np.zeros(1, int))
    torch.save({"features": print}, tmp_path / "code.pt")
    torch.save([1], tmp_path / "list.pt")
    write(tmp_path / "cut.npz", arrays())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:900])
    for name, message in {
        "text.npz": "cannot be read as .npz",
        "f.csv": "ends in none of",
        "object.npz": "holds Python objects",
        "code.pt": "cannot be read as .pt",
        "list.pt": "it is no dict of tensors",
        "cut.npz": "cannot be read",
        "absent.npz": "there is no file",
    }.items():
        with pytest.raises(MeasurementError, match=message):
            read_features(tmp_path / name, LOSSES["ce"])


def test_a_file_that_promises_more_than_it_holds_is_damaged_not_a_crash(tmp_path):
    write(tmp_path / "f.npz", arrays())
    with zipfile.ZipFile(tmp_path / "f.npz") as archive, zipfile.ZipFile(tmp_path / "lie.npz", "w") as lie:
        for member in archive.namelist():
            content = archive.read(member).replace(b"(60, 5)", b"(90, 5)")
            lie.writestr(member, content)
    with pytest.raises(MeasurementError, match="features is damaged: its size is not that of"):
        row_of(tmp_path / "lie.npz")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int8])
def test_labels_of_every_whole_number_type_are_read(dtype, tmp_path):
    content = arrays()
    rows = [
        row_of(write(tmp_path / "f.npz", content | {"labels": content["labels"].astype(kind)}))
        for kind in (dtype, np.int64)
    ]
    for key in rows[0].keys() - {"analysis_seconds"}:
        assert rows[0][key] == pytest.approx(rows[1][key], nan_ok=True), key


def test_a_classifier_in_half_precision_has_the_loss_of_its_outputs_in_float32(tmp_path):
    content = arrays()
    weight = (3 * content["weight"]).astype(np.float16)
    half = row_of(write(tmp_path / "half.npz", content | {"weight": weight}))
    single = row_of(write(tmp_path / "single.npz", content | {"weight": weight.astype(np.float32)}))
    assert half["train_loss"] == pytest.approx(single["train_loss"], rel=1e-3)
    outputs = torch.nn.functional.linear(
        *(torch.from_numpy(array).half() for array in (content["features"], weight, content["bias"]))
    )
    loss = torch.nn.functional.cross_entropy(outputs.double(), torch.from_numpy(content["labels"]))
    assert half["train_loss"] == pytest.approx(float(loss), rel=1e-6)


def test_features_in_half_precision_come_with_a_caution(tmp_path):
    content = arrays()
    content["features"] = content["features"].astype(np.float16)
    features = read_features(write(tmp_path / "f.npz", content), LOSSES["ce"])
    assert "the features are float16" in measure_features(features, FeaturesPlan()).cautions[-1]


def test_what_finds_no_room_in_memory_is_said_before_it_is_tried(tmp_path):
    wide = {"features": np.zeros((4, 2_000_000), np.float32), "labels": np.arange(4) % 2}
    with pytest.raises(MeasurementError, match="2 classes of 2000000 features need"):
        row_of(write(tmp_path / "f.npz", wide), metrics="core")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(60, "datetime64[s]"), "features is of type datetime64"),
        (np.zeros(60, "U3"), "features is of type <U3"),
        (np.zeros((60, P), np.longdouble), "features is of type"),
        (np.zeros((60, P), np.complex64), "features must be floating-point numbers"),
    ],
)
@pytest.mark.parametrize("name", ["f.npz", "compressed.npz"])
def test_the_array_that_numpy_wrote_and_cannot_be_read_is_named(array, message, name, tmp_path):
    with pytest.raises(MeasurementError, match=rf"{name}: {message}") as error:
        read_features(write(tmp_path / name, arrays() | {"features": array}), LOSSES["ce"])
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    "written",
    [np.asfortranarray, lambda a: a.astype(a.dtype.newbyteorder(">")), lambda a: a.T.astype(">f8").T],
    ids=["column order", "big-endian", "both"],
)
@pytest.mark.parametrize("name", ["f.npz", "compressed.npz"])
def test_transposed_arrays_and_those_of_other_machines_give_the_same_row(
    written, name, tmp_path, monkeypatch
):
    content = arrays(np.float64)
    expected = row_of(write(tmp_path / "plain.npz", content))
    monkeypatch.setattr("nc_runner.measurement.features_file.BLOCK", 64)
    other = {key: written(array) if array.ndim == 2 else array for key, array in content.items()}
    other["labels"] = content["labels"].astype(">i8")
    row = row_of(write(tmp_path / name, other))
    for key in row.keys() - {"analysis_seconds"}:
        assert row[key] == pytest.approx(expected[key], rel=1e-12, abs=1e-12, nan_ok=True), key


def test_tensors_with_gradients_are_read_and_sparse_ones_declined(tmp_path):
    tensors = {key: torch.from_numpy(value) for key, value in arrays().items()}
    torch.save(tensors | {"weight": torch.nn.Parameter(tensors["weight"])}, tmp_path / "f.pt")
    assert not read_features(tmp_path / "f.pt", LOSSES["ce"]).weight.requires_grad
    torch.save(tensors | {"features": tensors["features"].to_sparse()}, tmp_path / "sparse.pt")
    with pytest.raises(MeasurementError, match="features is sparse or quantised"):
        read_features(tmp_path / "sparse.pt", LOSSES["ce"])


def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    for name in ("pipe.npz", "folder.npz"):
        with pytest.raises(MeasurementError, match=f"{name} is no file"):
            read_features(tmp_path / name, LOSSES["ce"])
