"""The code blocks of README and documentation pages, and how the tests carry out their commands."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.settings import settings_of
from nc_runner.commands import flow, measure, plot, plot_arguments, status
from nc_runner.commands.run import main as nc_run

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)

EPOCHS = 10
SHORT = ("data.samples_per_class=20", f"epochs={EPOCHS}", "threads=1", "progress=none")  # a step an epoch
SMALL_NETS = ("resnet8", "resnet20", "vgg6", "mlp", "MyNetwork", "ufm")
AT_HAND = ("digits", "blobs", "ufm", "shapes")  # data without a download
LAUNCHERS = ("launcher", "hydra/sweeper", "hydra.sweeper")

# What other programs do is not for these tests to see; why each is not run
OUTSIDE = {
    "jupyter": "opens a browser",
    "tensorboard": "serves until it is stopped",
    "mlflow": "serves until it is stopped",
    "wandb": "needs an account",
    "git": "needs the repository's address",
    "docker": "needs a container engine",
    "apt-get": "changes the system",
    "uv": "another installer",
    "nox": "runs all checks",
    "pre-commit": "changes the clone",
    "pytest": "runs other tests",
    "ray": "starts a cluster",
    "scancel": "needs Slurm",
    "kill": "needs a process",
    "pip": "would change the environment; its extras are checked",
    "eval": "completion is tried by its own tests",
    "source": "sets up a shell",
    "export": "sets up a shell",
    "echo": "sets up a shell",
    "mkdocs": "serves until it is stopped",
}


@dataclass(frozen=True)
class Block:
    """A fenced code block; ``line``: of its fence."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """``mynet.py`` where its first line is ``# mynet.py``: it shows a file."""
        found = re.match(r"# (\w+\.py)\n", self.text)
        return found[1] if found else None


def blocks_of(page: Path, language: str | None = None) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, match.start()) + 1, match["language"], match["text"])
        for match in FENCE.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of each command of a page's shell blocks, without environment variables in front."""
    for block in blocks_of(page, "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|&;"):
                    yield from [words] if words else []
                    words = []
                elif words or not re.match(r"\w+=", word):
                    words.append(word)


def carry_out(words: list[str]) -> None:
    """Do what a command of a page does, shortened; or check it as far as it can be here.

    Raises AssertionError where it fails, or where nobody has said how to test such a command.
    """
    program, arguments = words[0], words[1:]
    if program == "pip":
        _check_extras(arguments)
    elif program in OUTSIDE:
        return
    else:
        assert program in PROGRAMS, f"how are the tests to run {shlex.join(words)}? see helpers/pages.py"
        PROGRAMS[program](arguments)


def run_as_command(main: Callable[[], int], *arguments: str) -> None:
    sys.argv = ["nc-run", *arguments]
    assert main() == 0, f"nc-run {shlex.join(arguments)}"


def _nc_run(arguments: list[str]) -> None:
    given = [_early(_here(argument)) for argument in arguments]
    if any(argument.startswith(("hydra/sweeper=", "experiment=lr_search")) for argument in given):
        plain = [word for word in given if not word.startswith(("-", *LAUNCHERS, "lr=tag"))]
        settings_of(*(word for word in plain if word in arguments and "lr_search" not in word))
    elif {"-m", "--plan"} & set(given):  # composes and checks all runs
        here = [word for word in given if not word.startswith("launcher")]
        run_as_command(nc_run, *here, "hydra.sweep.dir=planned", "--plan")
    elif "--help" in given or "--cfg" in given:
        run_as_command(nc_run, *given)
    elif "--config-dir" in given or any(word.startswith("hydra.searchpath") for word in given):
        run_as_command(nc_run, *given, *SHORT)
    else:
        _one_run(given)


def _one_run(given: list[str]) -> None:
    """Trained for a few steps; only planned where it needs a download or a large network."""
    config = settings_of(*(word for word in given if not word.startswith("hydra.")))
    if config.net.name not in SMALL_NETS or config.data.name not in AT_HAND:
        run_as_command(nc_run, *given, "--plan")
    elif config.data.name == "ufm":
        run_as_command(nc_run, *given, "epochs=2", "threads=1", "progress=none")
    elif config.data.name != "digits":
        run_as_command(nc_run, *given, *SHORT[1:])
    elif config.data.samples_per_class or config.batch_size != 128:
        run_as_command(nc_run, *given, *SHORT[1:], "epochs=2")
    else:
        run_as_command(nc_run, *given, *SHORT)


def _nc_plot(arguments: list[str]) -> None:
    plot_arguments.parser().parse_args(arguments)
    if any("fashionmnist" in argument for argument in arguments):
        return  # no such run here
    short = [] if {"--only", "--xy"} & set(arguments) else ["--only", "nc1"]
    drawn = [*arguments, "--format", "png"]
    if not any("flow" in argument for argument in arguments):
        drawn += short
    assert plot.main(drawn) == 0, f"nc-plot {shlex.join(arguments)}"


def _nc_status(arguments: list[str]) -> None:
    assert status.main(arguments) == 0


def _nc_flow(arguments: list[str]) -> None:
    small = ("--classes", "3", "--features", "6", "--samples", "10")
    assert flow.main([*arguments, *small]) == 0


def _nc_measure(arguments: list[str]) -> None:
    words = [str(path) for word in arguments for path in _expanded(word)]
    measure.parser().parse_args(words)
    if not any("torchvision:" in word or "timm:" in word or "hf:" in word for word in words):
        assert measure.main(words) == 0, f"nc-measure {shlex.join(words)}"


def _expanded(word: str) -> list[Path | str]:
    """As the shell does it."""
    return sorted(Path().glob(word)) if word.startswith("epoch-") else [word]


def _here(word: str) -> str:
    """Paths of the clone, of a command that is given in another folder."""
    return word.replace("examples/", f"{ROOT}/examples/")


def _early(word: str) -> str:
    """Without the listed epochs that a shortened run does not reach."""
    if not word.startswith(("analysis.schedule=[", "keep_checkpoints=[")):
        return word
    key, _, listed = word.partition("=")
    return f"{key}=[{','.join(epoch for epoch in listed.strip('[]').split(',') if int(epoch) <= EPOCHS)}]"


def _torchrun(arguments: list[str]) -> None:
    place = arguments.index("-m")
    assert arguments[place + 1] == "nc_runner"
    settings_of(*arguments[place + 2 :])


def _script(arguments: list[str]) -> None:
    """A shell script of the clone: it is there, and the shell can read it."""
    subprocess.run(["bash", "-n", ROOT / arguments[0]], check=True)


def _python(arguments: list[str]) -> None:
    """A module or script: it is there, and Python can read it."""
    if arguments[0] == "-m":
        path = ROOT / (arguments[1].replace(".", "/") + ".py")
        assert path.exists() or arguments[1] in ("venv", "pip", "build"), arguments
    elif arguments[0] == "-c":
        ast.parse(arguments[1])
    else:
        ast.parse((ROOT / arguments[0]).read_text(encoding="utf-8"))


def _shell(program: str) -> Callable[[list[str]], None]:
    return lambda arguments: print(subprocess.run([program, *arguments], check=True))


def _check_extras(arguments: list[str]) -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    section = settings.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^([\w-]+) = \[", section, re.MULTILINE)
    for word in arguments:
        for extra in re.findall(r"\[([\w,-]+)\]", word):
            assert set(extra.split(",")) <= set(extras), word


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "nc-run": _nc_run,
    "nc-plot": _nc_plot,
    "nc-status": _nc_status,
    "nc-flow": _nc_flow,
    "nc-measure": _nc_measure,
    "torchrun": _torchrun,
    "bash": _script,
    "python": _python,
    "mkdir": _shell("mkdir"),
    "mv": _shell("mv"),
}
