"""The version: from git tags, and what stands for it where there are none."""

import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import nc_runner

ROOT = Path(__file__).parents[1]
FILES = ("pyproject.toml", ".git_archival.txt", ".gitattributes")


@pytest.fixture
def checkout(tmp_path):
    """A repository of two commits that has the project's files of the version, and no tag."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "init", "--quiet")
    for number in (1, 2):
        (folder / "file").write_text(str(number))
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", f"commit {number}")
    return folder


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.example")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, check=True)
    return done.stdout


def version_of(folder):
    done = subprocess.run(
        [sys.executable, "-m", "setuptools_scm"], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def archive_of(folder, target):
    """What the code host's download of a commit holds."""
    with tarfile.open(fileobj=io.BytesIO(git(folder, "archive", "HEAD"))) as archive:
        archive.extractall(target, filter="data")
    return target


def test_a_clone_without_tags_counts_towards_the_next_release(checkout):
    assert re.fullmatch(r"\d+\.\d+\.\d+\.dev2\+g[0-9a-f]+", version_of(checkout))


def test_a_tag_is_the_version_and_commits_after_it_count(checkout):
    git(checkout, "tag", "v7.1.0")
    assert version_of(checkout) == "7.1.0"
    git(checkout, "commit", "--allow-empty", "--quiet", "--message", "later")
    assert version_of(checkout).startswith("7.1.1.dev1+g")


def test_an_archive_has_the_tag_that_it_was_made_of(checkout, tmp_path):
    git(checkout, "tag", "v7.1.0")
    assert version_of(archive_of(checkout, tmp_path / "archive")) == "7.1.0"


def test_an_archive_of_a_commit_before_any_tag_has_the_fallback(checkout, tmp_path):
    """With a line "node:" in .git_archival.txt it would be 0.0."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\.dev0", version_of(archive_of(checkout, tmp_path / "archive")))


def test_files_without_git_have_the_fallback(checkout, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "pyproject.toml").write_bytes((checkout / "pyproject.toml").read_bytes())
    assert re.fullmatch(r"\d+\.\d+\.\d+\.dev0", version_of(plain))


def test_the_package_knows_what_it_was_installed_as():
    assert re.match(r"\d+\.\d+", nc_runner.__version__)
    assert "__version__" in dir(nc_runner)


def test_files_that_nobody_installed_have_an_unknown_version(tmp_path):
    """As a folder on the path: nothing says what version it is."""
    (tmp_path / "nc_runner").mkdir()
    (tmp_path / "nc_runner" / "__init__.py").write_bytes((ROOT / "nc_runner" / "__init__.py").read_bytes())
    line = [sys.executable, "-S", "-c", "import nc_runner; print(nc_runner.__version__)"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "0+unknown\n"
