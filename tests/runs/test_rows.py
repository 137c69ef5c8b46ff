"""The two ways in which a table of rows is read: by pandas, and line by line where anything is unusual."""

import math
import struct

import numpy as np
import pytest
from helpers.synthetic import write_run
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nc_runner.runs import rows
from nc_runner.runs.reader import read_run
from nc_runner.runs.rows import read_rows, rows_at_once, rows_by_line

HEADER = ["epoch", "a", "b"]

any_bits = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
written = st.one_of(any_bits, st.floats(), st.integers()).map(repr)
numerals = st.from_regex(r"\A-?([0-9]{1,25}\.?[0-9]{0,25}|\.[0-9]{1,25})(e[+-]?[0-9]{1,2})?\Z")
odd = st.sampled_from(
    [
        *("", "nan", "-nan", "+nan", "NaN", "NA", "null", "None", "inf", "-inf", "+inf", "infinity"),
        *("1e400", "-1e400", "1e-400", "1" * 400, "9007199254740993", "-0.0", ".5", "5.", "+5"),
        *("1_0", "0x10", "0x1p3", "1e", "e5", ".", "--5", "1-2", "1.0f", "1d5", "True", "in", "naninf"),
        *(" 1", "1 ", "1\t", "1\r", '"1"', "'1'", "#1", "１", "٣", "1,2", "1\n2", "\0"),
    ]
)
cells = st.one_of(written, numerals, odd, st.text("0123456789.,+-einaf\n", max_size=8))
lines = st.one_of(
    st.tuples(written, written),  # whole, as most are
    st.tuples(numerals, odd),
    st.lists(cells, min_size=1, max_size=3),
)


@st.composite
def tables(draw):
    """The lines of a table, most of them whole and in order, each after a newline."""
    text = ""
    for number, cells_of_line in enumerate(draw(st.lists(lines, max_size=5))):
        epoch = draw(st.sampled_from([str(number)] * 5 + ["2", "-1", "1.5", "nan", "1e20"]))
        text += f"\n{','.join([epoch, *cells_of_line])}"
    return text.encode()


def assert_agree(header, body):
    """Where pandas' way reads a table, the other drops nothing and finds the same bits."""
    at_once = rows_at_once(header, body)
    if at_once is None:
        return False
    by_line, dropped = rows_by_line(header, body)
    assert dropped == 0
    assert list(at_once.columns) == list(by_line.columns) == header
    assert set(at_once.dtypes) == set(by_line.dtypes)
    a, b = at_once.to_numpy(), by_line.to_numpy()
    assert a.shape == b.shape
    assert np.array_equal(a, b, equal_nan=True)
    assert (np.signbit(a) == np.signbit(b))[~np.isnan(a)].all()
    return True


@settings(max_examples=500, deadline=None)
@given(tables() | st.binary(max_size=60).map(lambda content: b"\n" + content))
@example(b"")
@example(b"\n")
@example(b"\n1,2,3\n\n2,3,4")
@example(b"\n1,2,3,4\n2,3")
@example(b"\n1,2\n2,3,4,5")
@example(b"\n1,2,3\n1,2,3")
@example(b"\n9007199254740993,2,3")
@example(b'\n1,"2",3')
def test_the_two_ways_agree_on_any_table(body):
    assert_agree(HEADER, body)
    assert_agree(["epoch"], body)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(any_bits, numerals), min_size=1, max_size=20))
def test_whole_rows_are_read_at_once_to_the_last_bit(values):
    lines = [f"\n{epoch},{number!r},{text}" for epoch, (number, text) in enumerate(values)]
    assert assert_agree(HEADER, "".join(lines).encode())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_table_damaged_anywhere_is_read_as_line_by_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    path = write_run(folder, epochs=4) / "metrics.csv"
    content = bytearray(path.read_bytes())
    start = content.index(b"\n") + 1
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(start, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\n", b",", b"e", b"-", b"_", b"nan", b'"'])
        )
    path.write_bytes(content)
    table, warnings = read_rows(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "rows_at_once", lambda header, body: None)
        expected, expected_warnings = read_rows(path)
    assert warnings == expected_warnings
    assert table.equals(expected)
    assert (table.dtypes == expected.dtypes).all()


def test_a_table_of_nc_run_is_read_at_once(tmp_path, monkeypatch):
    folder = write_run(tmp_path, epochs=30, change={"nc1": math.nan, "train_loss": math.inf})
    monkeypatch.setattr(rows, "rows_by_line", None)
    run = read_run(folder)
    assert run.warnings == []
    assert run.rows["epoch"].tolist() == list(range(1, 31))
    assert run.rows["nc1"].isna().all()
    assert (run.rows["train_loss"] == math.inf).all()
