"""FashionMNIST: the script that fetches it, and the real files where they are there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import miniature
from helpers.miniature import IDX_NAMES, assert_same, data_error

from nc_runner.data import standard

SCRIPT = Path(__file__).parents[2] / "scripts" / "fashion_mnist.sh"


def run_script(*arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", SCRIPT, *arguments], capture_output=True, text=True, timeout=60)


def test_the_script_unpacks_a_given_folder_and_then_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = miniature.write(tmp_path, "fashionmnist", monkeypatch)
    miniature.pack(tmp_path, "fashionmnist", tmp_path / "packed", monkeypatch)
    root = tmp_path / "new root"
    assert run_script(root, tmp_path / "packed").returncode == 0
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == sorted(IDX_NAMES)
    assert_same(standard.fashionmnist(root, download=False), written)
    again = run_script(root, tmp_path / "nowhere")
    assert again.returncode == 0
    assert "already" in again.stdout


def test_the_script_fails_on_an_incomplete_or_damaged_folder_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature.write(tmp_path, "fashionmnist", monkeypatch)
    packed = tmp_path / "packed"
    miniature.pack(tmp_path, "fashionmnist", packed, monkeypatch)
    last = packed / f"{IDX_NAMES[3]}.gz"
    last.write_bytes(last.read_bytes()[:-5])
    root = tmp_path / "root"
    assert run_script(root, packed).returncode != 0
    assert list(root.iterdir()) == []
    last.unlink()
    result = run_script(root, packed)
    assert result.returncode == 1
    assert "does not hold the four files" in result.stderr
    assert list(root.iterdir()) == []


@pytest.fixture(scope="module")
def fashionmnist_root() -> Path:
    root = Path(os.environ.get("NC_RUNNER_DATA", "data"))
    if not (root / "FashionMNIST" / "raw" / IDX_NAMES[0]).is_file():
        pytest.skip(f"no FashionMNIST in {root}: bash scripts/fashion_mnist.sh {root}")
    return root


@pytest.mark.fashionmnist
def test_real_fashionmnist_is_whole_and_balanced(fashionmnist_root: Path) -> None:
    raw = standard.fashionmnist(fashionmnist_root, download=False)
    assert raw.train.images.shape == (60_000, 28, 28, 1)
    assert raw.test.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(raw.train.labels).tolist() == [6_000] * 10
    assert np.bincount(raw.test.labels).tolist() == [1_000] * 10


@pytest.mark.fashionmnist
@pytest.mark.parametrize("name", IDX_NAMES)
def test_real_fashionmnist_with_one_altered_byte_is_an_error(
    name: str, fashionmnist_root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for other in IDX_NAMES:
        original = (fashionmnist_root / "FashionMNIST" / "raw" / other).resolve()
        if other == name:
            content = bytearray(original.read_bytes())
            content[5_000] = (content[5_000] + 1) % 10
            (folder / other).write_bytes(content)
        else:
            (folder / other).symlink_to(original)
    message = data_error(lambda: standard.fashionmnist(tmp_path, download=False))
    assert f"{folder / name} is not the published file" in message
