"""What nc-plot, nc-status and nc-flow share: --version, exit codes, help and errors that import little."""

import os
import subprocess
import sys

import pytest
from helpers.synthetic import write_run

from nc_runner import __version__
from nc_runner.commands import flow, plot, status
from nc_runner.commands.ending import complain, finish
from nc_runner.errors import ConfigError, RunFolderError

COMMANDS = {"nc-plot": plot, "nc-status": status, "nc-flow": flow}


@pytest.mark.parametrize("program", COMMANDS)
def test_version_is_printed(program, capsys):
    with pytest.raises(SystemExit) as stopped:
        COMMANDS[program].main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"{program} {__version__}\n"


@pytest.mark.parametrize("program", ["nc-plot", "nc-status"])
def test_without_runs_it_is_outputs(program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert COMMANDS[program].main([]) == 2
    assert "outputs is not a folder" in capsys.readouterr().err
    write_run(tmp_path / "outputs", epochs=1)
    assert COMMANDS[program].main([]) == 0
    assert "MSE" in (shown := capsys.readouterr().out) or "1 complete" in shown


def into_a_closed_pipe(module, *arguments, cwd):
    """Run a command whose output nobody reads; (exit code, stderr)."""
    reading, writing = os.pipe()
    os.close(reading)
    line = [sys.executable, "-m", module, *arguments]
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            line, stdout=pipe, stderr=subprocess.PIPE, text=True, cwd=cwd, timeout=120, check=False
        )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("nc_runner.commands.plot", ["--format", "svg"]),
        ("nc_runner.commands.plot", ["--help"]),
        ("nc_runner.commands.status", []),
        ("nc_runner.commands.status", ["--json"]),
        ("nc_runner.commands.status", ["--watch"]),
    ],
)
def test_a_closed_pipe_ends_it_quietly(module, arguments, tmp_path):
    write_run(tmp_path / "outputs", epochs=2)
    assert into_a_closed_pipe(module, *arguments, cwd=tmp_path) == (0, "")


@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize(
    ("argument", "code"), [("--help", 0), ("--version", 0), ("--wrong", 2), ("nowhere", 2)]
)
def test_help_and_errors_import_nothing_heavy(program, argument, code):
    check = (
        f"import sys; from {COMMANDS[program].__name__} import main\n"
        f"try: code = main([{argument!r}])\n"
        "except SystemExit as stopped: code = stopped.code\n"
        f"assert code == {code}, code\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'numpy', 'hydra', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError("bad"), 2), (RunFolderError("bad"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_become_exit_codes(error, code, capsys):
    def command():
        raise error

    assert finish("nc-x", command) == code
    assert capsys.readouterr().err == ("" if code == 130 else "nc-x: bad\n")


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        finish("nc-x", lambda: 1 // 0)


def test_a_complaint_cannot_steer_the_terminal(capsys):
    complain("nc-run", "lr=\x1b[2J\u202eevil\ngive another")
    assert capsys.readouterr().err == "nc-run: lr= [2J evil\ngive another\n"
