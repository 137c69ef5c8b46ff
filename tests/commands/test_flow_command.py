"""nc-flow, the command: exit codes, messages, the folder it writes, and that nc-plot draws it."""

import csv
import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from helpers.synthetic import write_run

from nc_runner.collapse.dynamics import LAWS
from nc_runner.commands import flow, plot
from nc_runner.figures import choice
from nc_runner.runs import flows
from nc_runner.runs.reader import find_runs
from nc_runner.runs.record import FORMAT, RUN_FILE

QUICK = ["--times", "0.1:1e3", "--per-decade", "2"]


@pytest.fixture(autouse=True)
def _own_threads():
    """The command sets torch's thread count; the tests after it must not depend on that."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def table(folder):
    with (folder / flows.FLOW_FILE).open() as file:
        return list(csv.DictReader(file))


def only_flow(out):
    (folder,) = find_runs([out])
    return folder


@pytest.mark.parametrize("sizes", [(3, 6, 10), (10, 16, 20), (10, 64, 50)], ids=str)
def test_simulated_and_closed_spectra_agree_over_four_decades_and_the_laws_differ(tmp_path, sizes):
    C, P, n = sizes
    options = ["--classes", str(C), "--features", str(P), "--samples", str(n), "--law", "both"]
    assert flow.main([*options, *QUICK, "--out", str(tmp_path)]) == 0
    rows = table(only_flow(tmp_path))
    assert [row["law"] for row in rows] == ["projected"] * 9 + ["raw"] * 9
    assert tuple(rows[0]) == flows.columns(C - 1)
    assert float(rows[0]["time"]) == pytest.approx(0.1 * n * C**2)
    assert float(rows[8]["time"]) == pytest.approx(1e3 * n * C**2)
    for row in rows:
        for j in range(1, C):
            assert float(row[f"omega_{j}"]) == pytest.approx(float(row[f"exact_omega_{j}"]), rel=1e-6)
        assert float(row["mse_ls"]) == pytest.approx(
            sum(0.5 / (C + float(row[f"omega_{j}"]) ** 2) for j in range(1, C)), rel=1e-9
        )
        assert float(row["nc1"]) == pytest.approx(
            sum(float(row[f"omega_{j}"]) ** -2 for j in range(1, C)), rel=1e-9
        )
    assert float(rows[17]["omega_1"]) > 2 * float(rows[8]["omega_1"])
    assert float(rows[8]["nc3_self_duality"]) < 1e-3
    assert float(rows[8]["nc4_ncc_mismatch"]) == 0


def test_the_record_says_what_the_flow_was_and_the_same_command_gives_the_same_table(tmp_path, capsys):
    arguments = ["--spectrum", "0.5,2", "--seed", "3", *QUICK, "--out", str(tmp_path)]
    assert flow.main(arguments) == 0
    assert "projected:" in capsys.readouterr().out
    folder = only_flow(tmp_path)
    record = json.loads((folder / RUN_FILE).read_text())
    assert (record["format"], record["kind"], record["state"]) == (FORMAT, "flow", "complete")
    assert record["settings"]["spectrum"] == [2.0, 0.5]
    assert record["settings"]["seed"] == 3
    names = {field.name for field in dataclasses.fields(flows.FlowSettings)}
    assert set(record["settings"]) == names
    before = (folder / flows.FLOW_FILE).read_bytes()
    assert flow.main(arguments) == 0
    assert (only_flow(tmp_path) / flows.FLOW_FILE).read_bytes() == before
    assert flow.main([*arguments, "--seed", "4"]) == 0
    assert len(find_runs([tmp_path])) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "1"], "--classes"),
        (["--samples", "2"], "--features 6"),
        (["--spectrum", "1,2,3"], "= 2 values"),
        (["--spectrum", "3:1"], "LOW first"),
        (["--spectrum", "0:1"], "--spectrum"),
        (["--spectrum", "nan,1"], "--spectrum"),
        (["--spectrum", "x:1"], "'x'"),
        (["--times", "5"], "LOW:HIGH"),
        (["--times", "5:1"], "--times"),
        (["--times", "1:inf"], "--times"),
        (["--per-decade", "0"], "--per-decade"),
        (["--seed", "-1"], "--seed"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_bad_arguments_are_named_in_two_lines_and_leave_no_folder(tmp_path, capsys, arguments, message):
    assert flow.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") <= 2
    assert not (tmp_path / "out").exists()


def test_an_outputs_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert flow.main([*QUICK, "--out", str(tmp_path / "file")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_help_and_bad_arguments_do_not_wait_for_torch():
    for arguments, expected in ((["--help"], 0), (["--times", "5"], 2)):
        code = (
            "import sys; from nc_runner.commands.flow import main\n"
            f"try: code = main({arguments})\n"
            "except SystemExit as stopped: code = stopped.code\n"
            f"assert code == {expected}; assert not {{'torch', 'numpy', 'pandas'}} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_plotting_a_flow_beside_a_run_draws_both_without_torch(tmp_path):
    assert flow.main([*QUICK, "--out", str(tmp_path)]) == 0
    write_run(tmp_path, epochs=4)
    code = (
        "import sys; from nc_runner.commands.plot import main\n"
        f"assert main([{str(tmp_path)!r}, '--format', 'svg']) == 0; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"flow_spectrum.svg", "flow_collapse.svg", "nc1.svg", "summary.csv"} <= names


def test_flows_alone_are_drawn_without_a_summary(tmp_path, capsys):
    assert flow.main([*QUICK, "--out", str(tmp_path)]) == 0
    assert plot.main([str(tmp_path), "--format", "svg"]) == 0
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "figures" / "summary.csv").exists()


def test_damaged_flows_are_left_out_with_the_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(choice, "CATALOGUE", choice.CATALOGUE[:1])
    monkeypatch.setattr(choice, "overviews", lambda *_: [])
    for seed in range(3):
        assert flow.main([*QUICK, "--seed", str(seed), "--out", str(tmp_path)]) == 0
    gone, cut, unset = find_runs([tmp_path])
    (gone / flows.FLOW_FILE).unlink()
    (cut / flows.FLOW_FILE).write_text("law,time\nprojected,1\n")
    (unset / RUN_FILE).write_text('{"format": 1, "kind": "flow", "state": "complete"}')
    assert plot.main([str(tmp_path)]) == 1
    shown = capsys.readouterr().err
    assert "has no flow.csv" in shown
    assert "it lacks omega_1" in shown
    assert "lacks the flow's settings" in shown
    assert "nothing to draw" in shown


def test_the_archive_and_the_science_know_the_same_laws():
    assert flows.LAWS == LAWS
