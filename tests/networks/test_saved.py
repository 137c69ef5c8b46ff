"""Files of torch.save that were made to do harm are refused before they can."""

import io
import time
import zipfile

import pytest
import torch

from nc_runner.networks.saved import Unreadable, load_saved


def test_what_torch_saves_is_read_back_with_tied_and_mapped_tensors(tmp_path):
    shared = torch.arange(6.0)
    content = {"a": shared, "b": shared.view(2, 3), "names": ["x", "y"], "step": 3}
    torch.save(content, tmp_path / "new.pt")
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.pt"):
        read = load_saved(tmp_path / name, mapped=True)
        assert torch.equal(read["b"], content["b"])
        assert read["a"].data_ptr() == read["b"].data_ptr()
        assert (read["names"], read["step"]) == (["x", "y"], 3)


def test_entries_that_expand_are_refused_unread(tmp_path):
    held = io.BytesIO()
    torch.save({"features": torch.zeros(2**20)}, held)
    with (
        zipfile.ZipFile(held) as source,
        zipfile.ZipFile(tmp_path / "f.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in source.infolist():
            packed.writestr(member.filename, source.read(member))
    with pytest.raises(Unreadable, match="compressed"):
        load_saved(tmp_path / "f.pt")


def test_a_tensor_that_repeats_one_number_is_refused(tmp_path):
    torch.save({"features": torch.zeros(1).expand(30_000, 40_000)}, tmp_path / "f.pt")
    with pytest.raises(Unreadable, match=r"shape \(30000, 40000\)"):
        load_saved(tmp_path / "f.pt")


@pytest.mark.parametrize("wrap", [lambda inner: [inner] * 10, lambda inner: dict.fromkeys(range(10), inner)])
def test_lists_that_hold_lists_many_times_are_refused_in_bounded_time(wrap, tmp_path):
    nest = 0
    for _ in range(12):
        nest = wrap(nest)
    torch.save(nest, tmp_path / "f.pt")
    began = time.monotonic()
    with pytest.raises(Unreadable, match="more objects"):
        load_saved(tmp_path / "f.pt")
    assert time.monotonic() - began < 60  # all of it would be 10^12 objects


def test_a_folder_or_pipe_is_not_waited_for(tmp_path):
    with pytest.raises(Unreadable, match="no file"):
        load_saved(tmp_path)
