"""nc-run --completion: the scripts, in the shells that complete with them."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.process import nc_run

from nc_runner.commands import completion
from nc_runner.errors import ConfigError

PROGRAMS = Path(sys.executable).parent
NEEDS = {
    shell: pytest.mark.skipif(shutil.which(shell) is None, reason=f"no {shell}")
    for shell in completion.SHELLS
}
LINES = [  # what is typed before TAB, and words that are among what is offered
    ("nc-run net=vgg1", ["vgg11", "vgg13", "vgg16", "vgg19"]),
    ("nc-run --plan loss=", ["mse", "focal"]),
    ("nc-run --config-dir conf analysis.r", ["analysis.ridge=", "analysis.robustness="]),
    ("nc-run --pl", ["--plan"]),
    ("nc-run --cfg ", ["job", "hydra"]),
    ("nc-status --s", ["--state", "--sort"]),
    ("nc-status --state ", ["complete", "diverged"]),
    ("nc-plot --only nc", ["nc1", "nc3_self_duality"]),
    ("nc-plot --style ", ["column", "slide"]),
    ("nc-plot outp", ["outputs"]),
    ("nc-measure --metrics nc1_", ["nc1_cdnv"]),
    ("nc-flow --law ", ["projected", "both"]),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in completion.SHELLS:
        (folder / shell).write_text(completion.script(shell))
    (folder / "outputs").mkdir()
    return folder


class Terminal:
    """A shell that waits for what is typed, in a terminal of its own."""

    def __init__(self, line, cwd):
        self.child, self.terminal = pty.fork()
        if self.child == 0:  # the shell
            os.chdir(cwd)
            path = f"{PROGRAMS}:{os.environ['PATH']}"
            os.execvpe(
                line[0], line, {**os.environ, "PATH": path, "TERM": "dumb", "PS1": "READY", "COLUMNS": "400"}
            )

    def type(self, text):
        os.write(self.terminal, text.encode())

    def read_until(self, words, seconds=60):
        """What the shell printed until it had all of ``words``, or said nothing more for so long."""
        seen, end = "", time.monotonic() + seconds
        while not all(word in seen for word in words) and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(self.terminal, 65536).decode(errors="replace")
                except OSError:  # the shell has ended
                    break
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)

    def close(self):
        os.close(self.terminal)
        os.kill(self.child, 9)
        os.waitpid(self.child, 0)


@pytest.mark.parametrize(
    ("shell", "start", "source"),
    [
        pytest.param(
            "bash", ["bash", "--norc", "--noprofile", "-i"],
            "bind 'set show-all-if-ambiguous on'; source {}", marks=NEEDS["bash"],
        ),
        pytest.param(
            "zsh", ["zsh", "-f", "-i"],
            'setopt no_list_ambiguous; eval "$(<{})"', marks=NEEDS["zsh"],
        ),
    ],
)  # fmt: skip
def test_tab_in_a_terminal_offers(scripts, shell, start, source):
    terminal = Terminal(start, scripts)
    try:
        terminal.type(source.format(shlex.quote(str(scripts / shell))) + "; echo SOUR''CED\n")
        assert "not found" not in (begin := terminal.read_until(["SOURCED"]))
        assert "SOURCED" in begin
        for typed, offered in LINES:
            terminal.type(f"{typed}\t")
            seen = terminal.read_until(offered)
            assert all(word in seen for word in offered), (typed, seen)
            terminal.type("\x15")  # Ctrl-U: the line is emptied
    finally:
        terminal.close()


@NEEDS["fish"]
@pytest.mark.parametrize(("typed", "offered"), LINES)
def test_fish_offers(scripts, typed, offered):
    path = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": str(scripts)}
    line = f"source fish; complete -C {shlex.quote(typed)}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", line], cwd=scripts, env=path, capture_output=True, text=True
    )
    assert done.stderr == ""
    found = [word.partition("\t")[0].rpartition(" ")[2] for word in done.stdout.splitlines()]
    start = typed.rpartition(" ")[2].rpartition("=")
    words = [word.removeprefix(start[0] + start[1]).rstrip("/") for word in found]
    assert set(offered) <= set(words)


def test_a_script_is_printed_and_another_shell_is_an_error(tmp_path):
    done = nc_run("--completion", "fish", cwd=tmp_path)
    assert done.returncode == 0
    for program in ("nc-run", "nc-plot", "nc-status", "nc-flow", "nc-measure"):
        assert f"complete -c {program} " in done.stdout
    for wrong in (["--completion", "tcsh"], ["--completion"], ["epochs=3", "--completion", "bash"]):
        with pytest.raises(ConfigError, match="a shell, and nothing else: bash, zsh, fish"):
            completion.show(wrong)


def test_the_bash_script_is_one_that_bash_3_can_read(scripts):
    """macOS has bash 3.2: no mapfile, no associative arrays, no ${word@Q} in what nc-runner writes itself."""
    own = completion.resources.files(completion).joinpath("nc-run.bash").read_text()
    assert not re.search(r"mapfile|readarray|declare -A|@Q|compopt|\|&", own)
