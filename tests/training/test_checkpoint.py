import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nc_runner.errors import RunFolderError
from nc_runner.runs.record import CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE
from nc_runner.training.checkpoint import (
    drop_previous,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)


def state(epoch):
    return {
        "model": {"weight": torch.arange(6.0).reshape(2, 3) + epoch, "count": torch.tensor(epoch)},
        "half": torch.ones(3, dtype=torch.bfloat16),
        "epoch": epoch,
        "rows": "epoch,lr\n1,0.1\n",
        "list": [1, 2.5, None, "x"],
    }


def test_what_is_saved_is_loaded(tmp_path):
    save_checkpoint(tmp_path, state(3))
    loaded, problems = load_checkpoint(tmp_path)
    assert problems == []
    assert loaded["epoch"] == 3
    assert loaded["model"]["weight"].equal(state(3)["model"]["weight"])
    assert loaded["half"].dtype == torch.bfloat16
    assert loaded["list"] == state(3)["list"]
    assert load_checkpoint(tmp_path / "empty") == (None, [])


def test_the_one_before_is_kept_until_it_is_dropped(tmp_path):
    for epoch in (1, 2, 3):
        save_checkpoint(tmp_path, state(epoch))
    assert {path.name for path in tmp_path.iterdir()} == {CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE}
    (tmp_path / CHECKPOINT_FILE).unlink()  # as between two renames
    assert load_checkpoint(tmp_path)[0]["epoch"] == 2
    drop_previous(tmp_path)
    assert load_checkpoint(tmp_path) == (None, [])


@pytest.mark.parametrize("length", [0, 1, 100, -1, -200])
def test_a_truncated_checkpoint_is_noticed_and_the_one_before_used(length, tmp_path):
    save_checkpoint(tmp_path, state(1))
    save_checkpoint(tmp_path, state(2))
    path = tmp_path / CHECKPOINT_FILE
    path.write_bytes(path.read_bytes()[:length])
    loaded, problems = load_checkpoint(tmp_path)
    assert loaded["epoch"] == 1
    assert len(problems) == 1
    assert "checkpoint.pt is damaged" in problems[0]
    assert "\n" not in problems[0]


def test_a_flipped_bit_never_changes_what_is_loaded(tmp_path):
    """It is noticed, or it lies where the file format keeps nothing of ours."""
    save_checkpoint(tmp_path, state(1))
    save_checkpoint(tmp_path, state(2))
    path = tmp_path / CHECKPOINT_FILE
    whole = path.read_bytes()
    generator, noticed = random.Random(0), 0
    for _ in range(150):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
        loaded, problems = load_checkpoint(tmp_path)
        noticed += bool(problems)
        assert loaded["epoch"] == (1 if problems else 2)
        assert loaded["model"]["weight"].equal(state(loaded["epoch"])["model"]["weight"])
        assert loaded["rows"] == state(1)["rows"]
    assert noticed > 50


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=400), zipped=st.booleans())
def test_no_bytes_break_the_reader(content, zipped, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    if zipped:  # a file of torch's own format, which holds anything
        torch.save({"format": 1, "digest": content.hex(), "rows": list(content)}, folder / CHECKPOINT_FILE)
    else:
        (folder / CHECKPOINT_FILE).write_bytes(content)
    with pytest.raises(RunFolderError, match="no checkpoint of this run is whole"):
        load_checkpoint(folder)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / CHECKPOINT_FILE).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RunFolderError, match="no checkpoint of this run is whole"):
        load_checkpoint(tmp_path)
    torch.save({"format": 1, "evil": Evil()}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(RunFolderError, match="overwrite=true"):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path):
    torch.save({"format": 99}, tmp_path / CHECKPOINT_FILE)
    with pytest.raises(RunFolderError, match="newer nc-runner"):
        load_checkpoint(tmp_path)


def test_a_failed_write_leaves_the_old_checkpoint_and_no_debris(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, state(1))

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, state(2))
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    assert load_checkpoint(tmp_path)[0]["epoch"] == 1


def test_every_random_generator_goes_on_where_it_was(tmp_path):
    def draw():
        return torch.rand(3).tolist(), random.random(), np.random.rand(2).tolist()  # noqa: NPY002

    draw()
    np.random.standard_normal()  # noqa: NPY002  leaves a cached second number
    save_checkpoint(tmp_path, {"random": random_state()})
    expected = draw()
    draw()
    restore_random_state(load_checkpoint(tmp_path)[0]["random"])
    assert draw() == expected
