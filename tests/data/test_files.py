"""Files are fetched, found and verified; a missing, damaged or other file is an error that names it."""

from __future__ import annotations

import gzip
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
from helpers import miniature
from helpers.miniature import IDX_NAMES, WITH_FILES, assert_same, data_error

from nc_runner.data import standard


@pytest.fixture
def mnist_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    miniature.write_mnist_like(tmp_path, "MNIST", monkeypatch)
    return tmp_path


# Missing files and downloads


@pytest.mark.parametrize("loader", WITH_FILES)
def test_missing_files_without_download_say_what_goes_where(loader: str, tmp_path: Path) -> None:
    message = data_error(lambda: getattr(standard, loader)(tmp_path, download=False))
    assert miniature.TITLES[loader] in message
    assert str(tmp_path) in message
    assert "data.root=DIR" in message
    assert "NC_RUNNER_DATA" in message
    assert "data.download is false" in message
    assert ("scripts/fashion_mnist.sh" in message) == (loader == "fashionmnist")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loader", WITH_FILES)
def test_download_puts_every_file_in_place_and_nothing_else(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root, server = tmp_path / "new" / "root", tmp_path / "server"
    written = miniature.write(root, loader, monkeypatch)
    before = {path.relative_to(root) for path in root.rglob("*") if path.is_file()}
    miniature.pack(root, loader, server, monkeypatch)
    shutil.rmtree(root)
    log = miniature.serve(monkeypatch, server)
    assert_same(getattr(standard, loader)(root, download=True), written)
    assert {path.relative_to(root) for path in root.rglob("*") if path.is_file()} == before
    fetched = len(log.urls)
    assert fetched == len(list(server.iterdir()))
    assert_same(getattr(standard, loader)(root, download=True), written)
    assert len(log.urls) == fetched
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("loader", WITH_FILES)
@pytest.mark.parametrize("error", [URLError("no route to host"), TimeoutError("timed out")], ids=str)
def test_failed_download_says_what_to_do_and_leaves_nothing(
    loader: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature.serve(monkeypatch, None, error)
    root = tmp_path / "new" / "root"
    message = data_error(lambda: getattr(standard, loader)(root, download=True))
    assert "download failed" in message
    assert ("no route to host" in message) or ("timed out" in message)
    assert str(root) in message
    assert "put " in message
    assert "data.root=DIR" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("loader", WITH_FILES)
def test_download_with_the_wrong_checksum_is_an_error_and_removed(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, server = tmp_path / "root", tmp_path / "server"
    miniature.write(root, loader, monkeypatch)
    miniature.pack(root, loader, server, monkeypatch)
    for path in server.iterdir():
        path.write_bytes(b"<html>log in to this network</html>")
    miniature.serve(monkeypatch, server)
    message = data_error(lambda: getattr(standard, loader)(root, download=True))
    assert "does not have the published MD5" in message
    assert [path for path in root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("loader", ["mnist", "svhn"])
def test_download_completes_a_set_and_leaves_its_files_alone(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, server = tmp_path / "root", tmp_path / "server"
    written = miniature.write(root, loader, monkeypatch)
    copy = shutil.copytree(root, tmp_path / "copy")
    miniature.pack(root, loader, server, monkeypatch)
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(copy, root)
    gone, *kept = sorted(path for path in root.rglob("*") if path.is_file())
    gone.unlink()
    times = [path.stat().st_mtime_ns for path in kept]
    miniature.serve(monkeypatch, server)
    assert_same(getattr(standard, loader)(root, download=True), written)
    assert [path.stat().st_mtime_ns for path in kept] == times


@pytest.mark.parametrize("loader", ["cifar10", "cifar100", "stl10"])
def test_an_archive_put_in_the_root_by_hand_is_unpacked_without_network(
    loader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = miniature.write(tmp_path, loader, monkeypatch)
    miniature.pack(tmp_path, loader, tmp_path, monkeypatch)
    miniature.serve(monkeypatch, None, URLError("no network"))
    assert_same(getattr(standard, loader)(tmp_path, download=False), written)


def test_a_damaged_archive_is_named_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = miniature.serve(monkeypatch, None, URLError("no network"))
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"half")
    assert str(archive) in data_error(lambda: standard.cifar10(tmp_path, download=True))
    assert archive.read_bytes() == b"half"
    assert log.urls == []


def test_runs_that_start_together_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, server = tmp_path / "root", tmp_path / "server"
    miniature.write(root, "mnist", monkeypatch)
    miniature.pack(root, "mnist", server, monkeypatch)
    log = miniature.serve(monkeypatch, server)
    threads = [threading.Thread(target=standard.mnist, args=(root, True)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(log.urls) == 4


@pytest.mark.parametrize("name", IDX_NAMES)
def test_a_single_missing_idx_file_is_named(name: str, mnist_root: Path) -> None:
    (mnist_root / "MNIST" / "raw" / name).unlink()
    message = data_error(lambda: standard.mnist(mnist_root, download=False))
    assert f"(missing: {name})" in message


def test_missing_stl10_files_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    miniature.write_stl10(tmp_path, monkeypatch)
    for name in ("unlabeled_X.bin", "test_y.bin"):
        (tmp_path / "stl10_binary" / name).unlink()
    message = data_error(lambda: standard.stl10(tmp_path, download=False))
    assert "(missing: unlabeled_X.bin, test_y.bin)" in message


# Files that are there and are not right


@pytest.mark.parametrize(
    ("loader", "name"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
        ("cifar100", "cifar-100-python/test"),
        ("svhn", "test_32x32.mat"),
        ("stl10", "stl10_binary/unlabeled_X.bin"),
    ],
)
def test_a_damaged_file_is_told_from_a_missing_one_and_named(
    loader: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature.write(tmp_path, loader, monkeypatch)
    log = miniature.serve(monkeypatch, None, URLError("no network"))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    for download in (False, True):
        call = getattr(standard, loader)
        message = data_error(lambda call=call, download=download: call(tmp_path, download=download))
        assert f"{path} is damaged or altered" in message
    assert path.exists()
    assert all(path.name not in url for url in log.urls)


def alter(path: Path, position: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(bytes(content))


def swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def mnist_error(root: Path, name: str) -> str:
    message = data_error(lambda: standard.mnist(root, download=False))
    assert str(root / "MNIST" / "raw" / name) in message
    assert "remove this file" in message
    return message


@pytest.mark.parametrize("name", IDX_NAMES)
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda content: content[:-1], "cut short"),
        (lambda content: content[:7], "cut short"),
        (lambda content: b"", "not an IDX file"),
        (lambda content: content + b"\0", "too long"),
        (lambda content: b"<!DOCTYPE html>" + content, "not an IDX file"),
        (lambda content: gzip.compress(content), "not an IDX file"),
        (lambda content: content[:2] + b"\x0d" + content[3:], "not an IDX file"),
        (lambda content: content[:7] + bytes([content[7] + 1]) + content[8:], "belong"),
    ],
    ids=["one byte less", "no header", "empty", "one byte more", "web page", "packed", "floats", "count"],
)
def test_an_idx_file_of_the_wrong_form_is_an_error(
    name: str, spoil: Callable[[bytes], bytes], problem: str, mnist_root: Path
) -> None:
    path = mnist_root / "MNIST" / "raw" / name
    path.write_bytes(spoil(path.read_bytes()))
    assert problem in mnist_error(mnist_root, name)


def test_a_packed_idx_file_that_is_cut_short_is_an_error(mnist_root: Path) -> None:
    path = mnist_root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()
    assert "cannot be read" in mnist_error(mnist_root, packed.name)


def test_swapped_images_and_labels_are_an_error(mnist_root: Path) -> None:
    folder = mnist_root / "MNIST" / "raw"
    swap(folder / IDX_NAMES[0], folder / IDX_NAMES[1])
    assert "holds images where labels belong" in mnist_error(mnist_root, IDX_NAMES[1])


def test_swapped_train_and_test_images_are_an_error(mnist_root: Path) -> None:
    folder = mnist_root / "MNIST" / "raw"
    swap(folder / "train-images-idx3-ubyte", folder / "t10k-images-idx3-ubyte")
    assert "20 x 28 x 28 images where 30 x 28 x 28 belong" in mnist_error(
        mnist_root, "train-images-idx3-ubyte"
    )


def test_a_label_out_of_range_is_an_error(mnist_root: Path) -> None:
    alter(mnist_root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte", 12, 10)
    assert "has the label 10" in mnist_error(mnist_root, "t10k-labels-idx1-ubyte")


@pytest.mark.parametrize("name", IDX_NAMES)
def test_one_altered_byte_is_an_error(name: str, mnist_root: Path) -> None:
    path = mnist_root / "MNIST" / "raw" / name
    alter(path, 20, (path.read_bytes()[20] + 1) % 10)
    assert "is not the published file" in mnist_error(mnist_root, name)


def test_files_of_fashionmnist_in_the_folder_of_mnist_are_called_so(
    mnist_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    miniature.write_mnist_like(mnist_root, "FashionMNIST", monkeypatch, seed=1)
    shutil.copytree(mnist_root / "FashionMNIST", mnist_root / "MNIST", dirs_exist_ok=True)
    assert "is a file of FashionMNIST" in mnist_error(mnist_root, "train-labels-idx1-ubyte")
