"""A table that was begun when there were fewer columns goes on with all of them."""

from nc_runner.runs.tables import Table


def test_rows_of_an_earlier_version_get_nan_in_the_columns_that_came_since(tmp_path):
    path = tmp_path / "metrics.csv"
    held = "epoch,a,c\n1,2.0,3.0\n"
    path.write_text(held)
    table = Table(path, ("epoch", "a", "b", "c"))
    assert table.start(held) is None
    table.append({"epoch": 2, "a": 1.0, "b": 5.0, "c": 0.5})
    assert path.read_text() == "epoch,a,b,c\n1,2.0,nan,3.0\n2,1.0,5.0,0.5\n"
    assert table.start(table.text()) is None


def test_a_table_with_a_column_that_is_unknown_stays_as_it_is(tmp_path):
    held = "epoch,a,z\n1,2.0,3.0\n"
    table = Table(tmp_path / "metrics.csv", ("epoch", "a", "b"))
    table.start(held)
    assert table.text() == held
