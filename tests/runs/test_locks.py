import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock, Timeout

from nc_runner.runs.locks import PATIENCE, is_held

fcntl = pytest.importorskip("fcntl")


def test_a_lock_is_seen_while_its_process_lives_and_not_after_it_was_killed(tmp_path):
    path = tmp_path / "run.lock"
    assert is_held(path) is False  # no file
    code = (
        "import filelock, time\n"
        f"with filelock.FileLock({str(path)!r}): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        assert is_held(path) is True
    finally:
        process.kill()
        process.communicate()
    assert path.exists()
    assert is_held(path) is False


def test_looking_takes_nothing_and_leaves_the_file_alone(tmp_path):
    path = tmp_path / "run.lock"
    path.write_bytes(b"content")
    before = path.stat()
    assert is_held(path) is False
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"content", before.st_mtime_ns)
    with FileLock(path, timeout=0):
        assert is_held(path) is True
    assert is_held(path) is False


def test_two_looks_at_once_do_not_take_each_other_for_a_run(tmp_path):
    path = tmp_path / "run.lock"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_SH)  # what another nc-status does for a moment
        assert is_held(path) is False


def test_a_run_that_begins_during_a_look_waits_for_its_end(tmp_path):
    """The look is made a thousand times as long as it is; without patience the run would be refused."""
    path = tmp_path / "run.lock"
    path.touch()
    looking = threading.Event()

    def look():
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            looking.set()
            time.sleep(0.1)

    thread = threading.Thread(target=look)
    thread.start()
    looking.wait()
    with pytest.raises(Timeout), FileLock(path, timeout=0):
        pass
    with FileLock(path, timeout=PATIENCE):
        assert is_held(path) is True
    thread.join()


def test_what_cannot_be_told_is_not_guessed(tmp_path, monkeypatch):
    path = tmp_path / "run.lock"
    path.touch()
    monkeypatch.setattr("os.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "no")))
    assert is_held(path) is None
    monkeypatch.undo()
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(38, "not implemented")))
    assert is_held(path) is None
