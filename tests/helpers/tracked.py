"""Runs with trackers, and what the trackers' own files say of them."""

import json
import struct
import time
from contextlib import suppress
from pathlib import Path

from PIL import Image

from nc_runner.commands.trackers import trackers_of
from nc_runner.training import recorder
from nc_runner.training.run import execute
from nc_runner.training.signals import StopSignals

TINY = (
    "net=custom", "net._target_=helpers.lab.TinyNetwork", "data.samples_per_class=6", "batch_size=20",
    "epochs=4", "progress=none", "checkpoint_seconds=0",
)  # fmt: skip

_BLOCK = 2**15  # bytes, of the log format of LevelDB, in which wandb writes


def one_picture(folder, pictures):
    """In place of nc-plot's figures."""
    Image.new("RGB", (8, 6)).save(pictures / "nc1.png")
    return [pictures / "nc1.png"]


def carry_out(config, folder, signals=None):
    """Carry out a run with the trackers that its settings ask for."""
    folder.mkdir(parents=True, exist_ok=True)
    execute(config, folder, signals or StopSignals(), trackers=trackers_of(config))


def crash_before_checkpoint(number, config, folder, monkeypatch):
    """Run until the checkpoint of epoch ``number`` would be written: its row is there, its checkpoint not."""
    original, count = recorder.save_checkpoint, iter(range(1, 99))

    def save(*arguments):
        if next(count) == number:
            raise RuntimeError("crashed")
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "save_checkpoint", save)
        with suppress(RuntimeError):
            carry_out(config, folder)
    assert len((folder / "metrics.csv").read_text().splitlines()) == number + 1
    next_second()


def next_second():
    """wandb and TensorBoard name their files by the second, in which no process of a user's begins twice."""
    time.sleep(1)


class WandBFile:
    """One offline run of wandb's, from its file of records: what ``wandb sync`` uploads."""

    def __init__(self, folder: Path) -> None:
        (path,) = folder.glob("*.wandb")
        self.folder, self.rows, self.figures, self.summary = folder, [], {}, {}
        self.run = self.exit_code = None
        self.preempting = False
        for record in _records(path.read_bytes()):
            self._take(record.WhichOneof("record_type"), record)

    def _take(self, kind, record):
        if kind == "run":
            self.run = record.run
            self.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            row = {tuple(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if ("epoch",) in row:
                self.rows.append({key[0]: value for key, value in row.items() if key[0][0] != "_"})
            self.figures |= {key[0]: value for key, value in row.items() if key[1:] == ("path",)}
        elif kind == "summary":
            self.summary |= {
                item.key: json.loads(item.value_json) for item in record.summary.update if item.key
            }
        elif kind == "exit":
            self.exit_code = record.exit.exit_code
        elif kind == "preempting":
            self.preempting = True


def wandb_runs(folder):
    """All offline runs in a run folder, oldest first."""
    return [WandBFile(path) for path in sorted(folder.glob("wandb/offline-run-*"))]


def _records(content):
    from wandb.proto import wandb_internal_pb2

    position, parts = 7, b""  # after the file's header
    while position + 7 <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        if kind == 0:  # what the disk had not got yet
            return
        body = content[position + 7 : position + 7 + length]
        position += 7 + length
        parts = body if kind in (1, 2) else parts + body  # 1: whole, 2: the first part
        if kind in (1, 4):  # 4: the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
