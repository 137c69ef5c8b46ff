"""Run folders and data files that were made to do harm: no wait, no memory, no control of the terminal."""

import gzip
import os
import zipfile

import numpy as np
import pytest

from nc_runner.data.custom import npz
from nc_runner.data.files import FileSet, read_idx
from nc_runner.errors import DataError, NCRunnerError, RunFolderError
from nc_runner.runs.reader import read_record
from nc_runner.runs.record import last_rows
from nc_runner.runs.rows import read_layers, read_rows


def test_a_pipe_in_a_run_folder_is_not_waited_for(tmp_path):
    for name in ("run.json", "metrics.csv", "layers.csv"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(RunFolderError, match="no regular file"):
        read_record(tmp_path)
    with pytest.raises(RunFolderError, match="no regular file"):
        read_rows(tmp_path / "metrics.csv")
    assert last_rows(tmp_path, 3) == []
    assert read_layers(tmp_path / "layers.csv") == (None, ["it cannot be read: it is no regular file"])


def test_a_file_of_holes_does_not_take_memory(tmp_path):
    for name in ("run.json", "metrics.csv"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(RunFolderError, match="more than 64 MiB"):
        read_record(tmp_path)
    with pytest.raises(RunFolderError, match="more than 2048 MiB"):
        read_rows(tmp_path / "metrics.csv")
    assert last_rows(tmp_path, 3) == []


def test_a_packed_idx_file_is_unpacked_no_further_than_its_data_set_goes(tmp_path, monkeypatch):
    packed = gzip.compress(b"\0\0\x08\x01" + (100).to_bytes(4, "big") + bytes(10**7))
    (tmp_path / "labels.gz").write_bytes(packed)
    wanted = FileSet("T", tmp_path, tmp_path, {"labels": None}, print, "put it there", packed=".gz")
    read = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda file, size=-1: (read.append(size), original(file, size))[1]
    )
    with pytest.raises(DataError, match="too long: more than 108 bytes"):
        read_idx(wanted, "labels", (100,))
    assert read == [109]


def test_an_npz_file_of_images_that_expands_beyond_the_free_memory_is_refused(tmp_path, monkeypatch):
    images, labels = np.zeros((1000, 64, 64), np.uint8), np.arange(1000) % 10
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez_compressed(tmp_path / "f.npz", **arrays)
    assert npz(tmp_path, file="f.npz").num_classes == 10
    monkeypatch.setattr("nc_runner.data.streaming.free_memory", lambda: 2**20)
    with pytest.raises(DataError, match=r"takes 0.0 GiB unpacked, and 0.0 GiB"):
        npz(tmp_path, file="f.npz")


def test_objects_in_an_npz_file_are_not_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.array([Evil()]), allow_pickle=True)
    with pytest.raises(DataError, match=r"is not an \.npz file of arrays"):
        npz(tmp_path, file="f.npz")
    assert not (tmp_path / "executed").exists()


def test_a_message_cannot_steer_the_terminal():
    error = NCRunnerError("run \x1b[2J\x07\u202e \ud800 bad\nremove it")
    assert str(error) == "run  [2J     bad\nremove it"
    str(error).encode()
