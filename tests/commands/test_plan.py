"""nc-run --plan: what would happen to each run, and how long it would take; nothing is written."""

import json
import subprocess
import sys
from io import StringIO

import pytest
import rich.console
from filelock import FileLock
from helpers.process import nc_run
from helpers.settings import settings_of
from helpers.synthetic import sweep, write_run

from nc_runner.commands.hydra_app.app import run
from nc_runner.commands.hydra_app.compose import Job, compose, session
from nc_runner.commands.hydra_app.sweep import Sweep
from nc_runner.commands.plan import (
    ANEW,
    BUSY,
    CONTINUES,
    DONE,
    FAILS,
    NEW,
    RESUMES,
    TRAINED,
    Plan,
    plan,
)  # fmt: skip
from nc_runner.commands.plan_table import as_data, render
from nc_runner.config.identity import folder_name, identity
from nc_runner.errors import ConfigError, RunFolderError
from nc_runner.runs.record import (
    CHECKPOINT_FILE,
    COMPLETE,
    DIVERGED,
    FAILED,
    INTERRUPTED,
    LOCK_FILE,
    METRICS_FILE,
    RUN_FILE,
    RUNNING,
    rows_digest,
)  # fmt: skip


def job(root, *overrides):
    config = settings_of("epochs=20", *overrides)
    made = Job([], config, root / folder_name(config))
    return made.folder, config, made.settings()


def begun(root, *overrides, **kind):
    """A run folder as nc-run leaves it: 1.5 s of training and 0.5 s of measuring for each of its epochs."""
    folder, config, settings = job(root, *overrides)
    cell = {"net": config.net.name, "data": config.data.name, "loss": config.loss.name}
    made = write_run(root / "made", **cell, epochs=config.epochs, **kind)
    folder.parent.mkdir(exist_ok=True, parents=True)
    made.rename(folder)
    change(folder, settings=settings, identity=identity(config), rows_digest=rows_digest(folder))
    (folder / CHECKPOINT_FILE).touch()
    return folder


def change(folder, **entries):
    content = json.loads((folder / RUN_FILE).read_text()) | entries
    (folder / RUN_FILE).write_text(json.dumps(content))


def the_run(root, *overrides):
    (planned,) = plan([job(root, *overrides)], root, 1).runs
    return planned


def text_of(made, width=None):
    console = rich.console.Console(file=(out := StringIO()), width=width or 10_000)
    console.print(rich.console.Group(*render(made, width)))
    return out.getvalue()


@pytest.mark.parametrize(
    ("state", "action", "epoch"),
    [
        (COMPLETE, DONE, 20),
        (INTERRUPTED, RESUMES, 7),
        (RUNNING, RESUMES, 7),
        (FAILED, RESUMES, 7),
        (DIVERGED, FAILS, 7),
    ],
)
def test_what_happens_to_a_run_follows_from_how_it_ended(tmp_path, state, action, epoch):
    begun(tmp_path, state=state, rows=epoch)
    planned = the_run(tmp_path)
    assert (planned.action, planned.epoch, planned.epochs) == (action, epoch, 20)
    assert planned.before == ("killed" if state == RUNNING else state)
    anew = the_run(tmp_path, "overwrite=true")
    assert (anew.action, anew.epoch, anew.seconds) == (ANEW, 0, 40.0)


def test_a_run_that_was_never_begun_is_new_and_one_without_a_checkpoint_starts_at_epoch_0(tmp_path):
    assert the_run(tmp_path / "outputs").action == NEW
    assert not (tmp_path / "outputs").exists()
    folder = begun(tmp_path, state=FAILED, rows=3)
    (folder / CHECKPOINT_FILE).unlink()
    assert (the_run(tmp_path).action, the_run(tmp_path).epoch) == (RESUMES, 0)


def test_a_finished_run_whose_rows_were_changed_is_restored_from_its_checkpoint(tmp_path):
    folder = begun(tmp_path)
    with (folder / METRICS_FILE).open("a") as file:
        file.write("\n")
    assert (the_run(tmp_path).action, the_run(tmp_path).seconds) == (RESUMES, 0.0)


def test_a_run_that_another_process_writes_is_busy_whatever_its_record_says(tmp_path):
    folder = begun(tmp_path, state=RUNNING, rows=7)
    unrecorded, *_ = job(tmp_path, "seed=1")
    unrecorded.mkdir()
    with FileLock(folder / LOCK_FILE), FileLock(unrecorded / LOCK_FILE):
        made = plan([job(tmp_path), job(tmp_path, "seed=1")], tmp_path, 1)
        text = text_of(made)
    assert [(one.action, one.before, one.epoch) for one in made.runs] == [
        (BUSY, "running", 7),
        (BUSY, "running", 0),
    ]
    assert made.trained == []
    assert "busy: another process writes it now" in text
    assert "nothing to train" in text


def test_a_run_continues_a_finished_one_that_has_fewer_epochs(tmp_path):
    begun(tmp_path, "lr_schedule=constant", "epochs=12")
    begun(tmp_path, "lr_schedule=constant", "epochs=15", state=INTERRUPTED, rows=3)
    longer = the_run(tmp_path, "lr_schedule=constant")
    assert (longer.action, longer.epoch, longer.seconds) == (CONTINUES, 12, 16.0)
    assert the_run(tmp_path, "lr_schedule=constant", "seed=1").action == NEW
    assert the_run(tmp_path, "lr_schedule=constant", "epochs=9").action == NEW
    begun(tmp_path, "epochs=12")  # its rates depend on the number of epochs
    assert the_run(tmp_path).action == NEW


def test_what_another_living_sweep_will_start_is_said(tmp_path):
    folder, *_ = job(tmp_path)
    with sweep(tmp_path, folder):
        made = plan([job(tmp_path)], tmp_path, 1)
    assert (made.runs[0].action, made.runs[0].before) == (NEW, "waiting")
    assert "waiting: another sweep is going to start it, too" in text_of(made)
    assert the_run(tmp_path).before == ""  # that sweep has ended


def test_a_folder_of_another_run_ends_the_plan_as_it_would_end_the_command(tmp_path):
    change(begun(tmp_path), identity={"lr": 7})
    with pytest.raises(RunFolderError, match="holds another run: "):
        the_run(tmp_path)
    with pytest.raises(ConfigError, match=r"my\.net"):
        the_run(tmp_path, "net=custom", "net._target_=my.net")


def test_time_is_that_of_runs_of_the_same_cell_and_not_known_without_one(tmp_path):
    assert the_run(tmp_path).seconds is None
    begun(tmp_path, "seed=3")
    begun(tmp_path, "seed=4", change={"train_seconds": 3.5})
    begun(tmp_path, "seed=5", change={"train_seconds": 100.0})
    begun(tmp_path, "seed=6", "batch_size=64", change={"train_seconds": 9.5})
    assert the_run(tmp_path).seconds == 20 * 4.0  # the median
    assert the_run(tmp_path, "loss=ce").seconds == 20 * 4.0  # the loss costs next to nothing
    assert the_run(tmp_path, "batch_size=64").seconds == 20 * 10.0
    assert the_run(tmp_path, "loss=ce", "batch_size=64").seconds == 20 * 10.0
    assert the_run(tmp_path, "analysis.schedule=[10,20]").seconds == 20 * 3.5 + 2 * 0.5
    assert the_run(tmp_path, "net=vgg6").seconds is None
    assert the_run(tmp_path, "data.samples_per_class=50").seconds is None


def test_the_total_is_divided_by_the_runs_at_a_time_and_no_shorter_than_the_longest(tmp_path):
    begun(tmp_path)
    jobs = [job(tmp_path, f"seed={seed}") for seed in range(5)]
    assert plan(jobs, tmp_path, 1).seconds == 160.0
    assert plan(jobs, tmp_path, 2).seconds == 80.0
    assert plan(jobs, tmp_path, 64).seconds == 40.0
    assert plan(jobs, tmp_path, None).seconds is None
    assert "time: 3 min of training, by the pace of the runs so far; 80 s with 2 at a time" in text_of(
        plan(jobs, tmp_path, 2)
    )
    assert "how many go on at a time is not known" in text_of(plan(jobs, tmp_path, None))
    unknown = plan([*jobs, job(tmp_path, "net=vgg6")], tmp_path, 2)
    assert unknown.seconds is None
    assert "time: 3 min for 4 of 5 runs, by the pace of the runs so far; not known for the others" in text_of(
        unknown
    )
    days = Plan([job_run for job_run in plan(jobs, tmp_path, 1).runs if job_run.action in TRAINED] * 4000)
    assert "7.4 d (178 h) of training" in text_of(days)


def test_the_table_shows_what_varies_in_any_width_and_counts(tmp_path):
    begun(tmp_path)
    failed = begun(tmp_path, "lr=0.5", state=FAILED, rows=4)
    change(failed, reason="DataError: no \x1b[2J such file\nmore")
    begun(tmp_path, "lr=0.5", "seed=1", state=DIVERGED, rows=4)
    every = [job(tmp_path, f"seed={seed}", f"lr={lr}") for lr in (0.1, 0.5) for seed in (0, 1)]
    made = plan(every, tmp_path, 1)
    header, *lines = text_of(made).splitlines()
    assert header.split() == ["seed", "lr", "plan", "before", "epochs", "time", "folder"]
    told = [line.split()[:-1] for line in lines[:4]]
    assert told == [
        ["0", "0.1", "done", "complete", "20/20", "-"],
        ["1", "0.1", "new", "-", "20", "40", "s"],
        ["0", "0.5", "resumes", "failed", "4/20", "32", "s"],
        ["1", "0.5", "fails", "diverged", "4/20", "-"],
    ]
    assert lines[4] == "4 runs: 1 new, 1 to resume, 1 done, 1 that would fail"
    assert f"failed before: {failed.name}: DataError: no ?[2J such file" in lines
    assert lines[-1] == "nothing was started; the same command without --plan starts it"
    for width in (24, 40, 60, 80, 120):
        narrow = text_of(made, width)
        assert max(map(len, narrow.splitlines())) <= width
        assert ("the window is too narrow for" in " ".join(narrow.split())) == (width < 60)
        assert "\x1b" not in narrow


def test_machines_get_the_plan_as_json(tmp_path):
    begun(tmp_path)
    made = plan([job(tmp_path), job(tmp_path, "lr=0.5")], tmp_path, 2)
    found = json.loads(json.dumps(as_data(made)), parse_constant=pytest.fail)
    assert (found["counts"], found["at_a_time"], found["seconds"]) == ({"new": 1, "done": 1}, 2, 40.0)
    assert [one["settings"] for one in found["runs"]] == [
        {"loss": "mse", "net": "resnet8", "data": "digits", "seed": 0, "lr": lr} for lr in (0.1, 0.5)
    ]
    assert [(one["plan"], one["before"], one["epoch"]) for one in found["runs"]] == [
        ("done", "complete", 20), ("new", None, 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        (["launcher=joblib", "launcher.jobs=3"], 3),
        (["launcher=slurm", "launcher.jobs=40"], 40),
        (["launcher=submitit_local"], 6),
        ([], 1),
    ],
)
def test_how_many_go_on_at_a_time_is_known_of_most_launchers(tmp_path, monkeypatch, launcher, expected):
    monkeypatch.chdir(tmp_path)
    with session() as app:
        composed = compose(app, ["seed=0,1,2", "lr=0.1,0.2", *launcher, "sweep=x"], sweep=True)
        planned = Sweep(app, [], composed, None)
        planned.prepare()
    assert planned.at_a_time == expected


@pytest.mark.parametrize("flags", [["-m"], []])
def test_nothing_is_started_written_or_loaded(tmp_path, flags):
    code = (
        "import sys; sys.argv = ['nc-run', *sys.argv[1:]]\n"
        "from nc_runner.commands.run import main\n"
        "code = main()\n"
        "heavy = ('torch', 'pandas', 'numpy', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    line = [sys.executable, "-c", code, *flags, "seed=0", "--plan"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "1 run: 1 new\ntime: not known" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_that_a_tracker_does_not_know_is_said(tmp_path):
    begun(tmp_path)
    known, asked = job(tmp_path), job(tmp_path, "tracker=tensorboard")
    assert known[0] == asked[0]
    for one, said in ((known, False), (asked, True)):
        made = plan([one], tmp_path, 1)
        assert [run.action for run in made.runs] == [DONE]
        lines = [line.plain for line in render(made)]
        assert ("done and not in the tracker yet: 1" in lines) is said
        assert lines[-1].endswith("the same command without --plan starts it") is said


def test_an_experiment_is_planned_with_the_folders_that_it_would_have(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert run(["experiment=miniature", "-m", "seed=0", "--plan", "--json"]) == 0
    planned = json.loads(capfd.readouterr().out)
    assert planned["counts"] == {"new": 12}
    assert run(["experiment=miniature", "-m", "seed=0", "--plan"]) == 0
    assert "12 runs: 12 new" in capfd.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert all(one["folder"].startswith(str(tmp_path / "outputs")) for one in planned["runs"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plan", "--cfg", "job"], "--plan and --cfg both only show something"),
        (["--plan", "--hydra-help"], "--plan and --hydra-help both only show something"),
        (["-m", "seed=0", "--json"], "--json goes with --plan"),
        (["--plan", "lrr=1"], "there is no setting lrr; did you mean lr?"),
        (["--plan", "-m", "lr=-1,1"], "lr=-1"),
        (
            ["--plan", "-m", "hydra/sweeper=optuna", "lr=interval(0.1,1)"],
            "a search chooses its runs as it goes",
        ),
    ],
)
def test_what_cannot_be_planned_is_an_error_of_two_lines_at_most(
    tmp_path, monkeypatch, capfd, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    captured = capfd.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) <= 2
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


def test_help_comes_first_and_a_closed_pipe_is_no_error(tmp_path):
    assert "--plan" in nc_run("--plan", "--help", cwd=tmp_path).stdout
    for arguments in ("--help", "-m seed=0,1 --plan"):
        line = f"{sys.executable} -m nc_runner {arguments} | true"
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
