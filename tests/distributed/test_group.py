"""The division of ranges between ranks, and a group of one."""

import pytest
import torch

from nc_runner.distributed.group import ALONE, Group


@pytest.mark.parametrize(("size", "batch", "count"), [(2, 4, 30), (3, 7, 7), (4, 100, 30), (5, 1, 13)])
def test_shares_are_whole_pieces_and_join_to_the_range(size, batch, count):
    shares = [range(count)[Group(rank, size).share(count, batch)] for rank in range(size)]
    assert [i for share in shares for i in share] == list(range(count))
    assert all(share.start % batch == 0 or share.start == count for share in shares)
    assert max(-(-len(share) // batch) for share in shares) == Group(0, size).pieces(count, batch)


def test_the_shares_of_a_batch_are_the_batch():
    batches = torch.arange(24).view(2, 12)
    shares = [batches[:, Group(rank, 3).share(12)] for rank in range(3)]
    assert torch.equal(torch.cat(shares, dim=1), batches)
    assert {tuple(part.shape) for part in shares} == {(2, 4)}


def test_a_single_process_exchanges_nothing():
    rows = torch.arange(3)
    assert ALONE.is_first
    assert ALONE.share(7, 3) == slice(0, 7)
    assert all(ALONE.gather(rows) is given for given in (rows, ALONE.sum(rows), ALONE.exchange(rows, rows)))
    assert ALONE.agree(1, 2) == (1, 2)
    assert (ALONE.broadcast("x"), ALONE.all_of("x"), ALONE.on_first(lambda: "x")) == ("x", ["x"], "x")
    assert ALONE.mean(2.5, 3) == 2.5


def test_a_single_process_changes_no_error():
    with pytest.raises(ZeroDivisionError), ALONE.guarded():
        raise ZeroDivisionError
