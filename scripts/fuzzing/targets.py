"""What reads something, each with a strategy of bad input. A target raises only what a user may be shown."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from hypothesis import strategies as st

from fuzzing import standard
from fuzzing.accepted import Unexpected, accepted
from fuzzing.originals import Originals
from fuzzing.strategies import HOSTILE_NAMES, altered, altered_json, damaged


@dataclass(frozen=True)
class Target:
    """``inputs``: strategy of what ``read`` gets beside an empty folder; ``slow``: seconds rather than ms."""

    inputs: Callable[[Originals], st.SearchStrategy[Any]]
    read: Callable[[Path, Originals, Any], None]
    slow: bool = False


def command(main: Callable[[list[str]], int], arguments: list[str]) -> str:
    """What a command prints; raises where it ends with a traceback or an odd exit code."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: object = main(arguments)
        except SystemExit as end:
            code = end.code
    for stream in (out, err):
        stream.flush()
    text, complaint = (stream.buffer.getvalue().decode() for stream in (out, err))
    if code not in (0, 1, 2) or "Traceback (most recent call last)" in complaint:
        raise Unexpected(f"exit code {code}: {complaint}")
    if any(character in text + complaint for character in "\x1b\x07\x00\u202e"):
        raise Unexpected(f"control characters reach the terminal: {text + complaint!r}")
    return text


def read_run_folder(folder: Path) -> None:
    """All that reads runs without torch."""
    from nc_runner import read_runs
    from nc_runner.commands import status

    command(status.main, [str(folder)])
    json.loads(command(status.main, [str(folder), "--json"]))
    accepted(lambda: read_runs(folder))


def _record(folder: Path, originals: Originals, content: bytes) -> None:
    run = originals.copy_run(folder)
    (run / "run.json").write_bytes(content)
    read_run_folder(folder)


def _table(name: str) -> Callable[[Path, Originals, bytes], None]:
    def read(folder: Path, originals: Originals, content: bytes) -> None:
        (originals.copy_run(folder) / name).write_bytes(content)
        read_run_folder(folder)

    return read


def _figures(folder: Path, originals: Originals, content: bytes) -> None:
    from nc_runner.commands import plot

    run = originals.copy_run(folder / "runs")
    (run / "run.json").write_bytes(content)
    command(
        plot.main, [str(folder / "runs"), "--html", "--latex", "--only", "nc1", "--out", str(folder / "out")]
    )
    report = folder / "out" / "report.html"
    if report.exists() and ("alert(1)</script>" in (page := report.read_text()) or "<img src=x" in page):
        raise Unexpected("a name is executed in the report")
    beside = {path.name for path in folder.iterdir()} - {"runs", "out"}
    if beside:
        raise Unexpected(f"files outside the folder: {beside}")


def _hostile_folder(folder: Path, originals: Originals, name: str) -> None:
    encoded = name.replace("/", "_").replace("\0", "0").encode("utf-8", "surrogatepass")[:200] or b"x"
    place = os.fsencode(folder) + b"/" + (encoded if encoded not in (b".", b"..") else b"dots")
    originals.copy_run(Path(os.fsdecode(place)))
    read_run_folder(folder)


def _sweeps(folder: Path, originals: Originals, content: bytes) -> None:
    originals.copy_run(folder)
    (folder / ".sweeps").mkdir()
    (folder / ".sweeps" / "1-1.json").write_bytes(content)
    read_run_folder(folder)


def _checkpoint(folder: Path, originals: Originals, content: bytes) -> None:
    from nc_runner.training.checkpoint import load_checkpoint

    (folder / "checkpoint.pt").write_bytes(content)
    accepted(lambda: load_checkpoint(folder))


def _loaded(folder: Path, originals: Originals, content: Mapping[str, bytes]) -> None:
    from nc_runner import load_run

    run = originals.copy_run(folder)
    for name, changed in content.items():
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(changed)
    accepted(lambda: load_run(run))


def _features(suffix: str) -> Target:
    def read(folder: Path, originals: Originals, content: bytes) -> None:
        from nc_runner.commands import measure

        path = folder / f"f{suffix}"
        path.write_bytes(content)
        command(measure.main, [str(path), "--json"])

    return Target(lambda originals: damaged(originals.features[suffix]), read)


def _npz_images(folder: Path, originals: Originals, content: bytes) -> None:
    from nc_runner.data.custom import npz

    (folder / "images.npz").write_bytes(content)
    accepted(lambda: npz(folder, file="images.npz"))


def _idx(packed: bool) -> Target:
    def read(folder: Path, originals: Originals, content: bytes) -> None:
        from nc_runner.data.files import FileSet, read_idx

        name = "labels" + ".gz" * packed
        (folder / name).write_bytes(content)
        wanted = FileSet(
            "T", folder, folder, {"labels": None}, lambda place: None, "put it there", packed=".gz"
        )
        accepted(lambda: read_idx(wanted, "labels", (100,)))

    return Target(lambda originals: damaged(originals.packed_labels if packed else originals.labels), read)


def _image_folder(folder: Path, originals: Originals, content: bytes) -> None:
    from nc_runner.data import custom

    for split in ("train", "test"):
        for label in ("a", "b"):
            place = folder / split / label
            place.mkdir(parents=True)
            (place / "0.png").write_bytes(content if (split, label) == ("train", "b") else originals.image)

    def load() -> None:
        raw = custom.folder(folder, folder=str(folder), size=8)
        for index in range(len(raw.train.images)):
            raw.train.images[index]

    accepted(load)


def _overrides(folder: Path, originals: Originals, overrides: list[str]) -> None:
    _nc_run(folder, [*overrides, "--plan"])


def _users_yaml(folder: Path, originals: Originals, content: bytes) -> None:
    (folder / "experiment").mkdir()
    (folder / "experiment" / "fuzzed.yaml").write_bytes(content)
    _nc_run(folder, ["--config-dir", str(folder), "experiment=fuzzed", "--plan"])


def _nc_run(folder: Path, arguments: list[str]) -> None:
    """In a folder of its own: whatever a setting names is not to be found, or made, elsewhere."""
    from nc_runner.commands import run

    before, path = os.getcwd(), list(sys.path)
    os.chdir(folder)
    try:
        with mock.patch.object(sys, "argv", ["nc-run", *arguments]):
            command(lambda _: run.main(), [])
    finally:
        os.chdir(before)
        sys.path[:] = path


def _of_overrides(originals: Originals) -> st.SearchStrategy[list[str]]:
    keys = st.sampled_from((*originals.settings, "hydra.run.dir", "net", "data", "loss", "launcher", "", "x"))
    values = st.sampled_from(
        (*HOSTILE_NAMES, "[1", "{a:", "1e999", "range(0,3)", "???", "'", "1,2", "[]", "{}")
    )
    value = values | st.text(max_size=12) | st.integers().map(str) | st.floats().map(str)
    prefix = st.sampled_from(("", "+", "++", "~", "-", "--"))
    one = st.tuples(prefix, keys, st.sampled_from(("=", "", "@", "==")), value).map("".join)
    clean = (one | st.text(max_size=15)).map(lambda text: text.replace("\0", ""))
    return st.lists(clean, min_size=1, max_size=3)


def _of_loaded(originals: Originals) -> st.SearchStrategy[Mapping[str, bytes]]:
    files = {
        "run.json": altered_json(originals.record),
        ".hydra/hydra.yaml": altered(originals.hydra).map(_as_yaml) | damaged(_as_yaml(originals.hydra)),
        "metrics.csv": damaged(originals.metrics),
    }
    return st.sampled_from(sorted(files)).flatmap(lambda name: st.fixed_dictionaries({name: files[name]}))


def _as_yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, allow_unicode=False).encode("utf-8", "backslashreplace")


TARGETS: Mapping[str, Target] = {
    "run.json": Target(lambda o: altered_json(o.record), _record),
    "metrics.csv": Target(lambda o: damaged(o.metrics), _table("metrics.csv")),
    "layers.csv": Target(lambda o: damaged(o.layers), _table("layers.csv")),
    "sweeps": Target(lambda o: altered_json(o.sweep), _sweeps),
    "names of folders": Target(
        lambda o: st.sampled_from(HOSTILE_NAMES) | st.text(max_size=20), _hostile_folder
    ),
    "checkpoint.pt": Target(lambda o: damaged(o.checkpoint), _checkpoint),
    "load_run": Target(_of_loaded, _loaded),
    "features .npz": _features(".npz"),
    "features .pt": _features(".pt"),
    "features .safetensors": _features(".safetensors"),
    "images .npz": Target(lambda o: damaged(o.images), _npz_images),
    "IDX": _idx(packed=False),
    "IDX .gz": _idx(packed=True),
    "CIFAR, SVHN, STL10": Target(standard.files, standard.read),
    "image folder": Target(lambda o: damaged(o.image), _image_folder),
    "overrides": Target(_of_overrides, _overrides, slow=True),
    "YAML of users": Target(
        lambda o: altered(o.experiment).map(_as_yaml) | damaged(_as_yaml(o.experiment)),
        _users_yaml,
        slow=True,
    ),
    "figures and report": Target(lambda o: altered_json(o.record), _figures, slow=True),
}
