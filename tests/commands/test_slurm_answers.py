"""What squeue and sinfo say, read from commands that print it; the list of jobs that outlive a command."""

import json

import pytest

from nc_runner.commands.slurm import going_on, jobs_of_user, time_limit
from nc_runner.runs.sweeps import SweepArchive, forget_jobs, jobs_in_queues, new_name


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Puts a command on the path, alone there, that prints a text and ends with a code."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(command, text, code=0):
        path = tmp_path / command
        path.write_text(
            f"#!/bin/sh\nwhile read -r line; do echo \"$line\"; done <<'E'\n{text}\nE\nexit {code}\n"
        )
        path.chmod(0o755)

    return put


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("10:00", 10), ("1-02:30:00", 1590), ("2:00:00", 120), ("1-00", 1440), ("45", 45), ("0:30", 0.5),
     ("infinite", None), ("n/a", None), ("UNLIMITED", None)],
)  # fmt: skip
def test_the_limit_of_a_partition_in_every_form_that_slurm_has(says, text, minutes):
    says("sinfo", f"all*|infinite\ngpu|{text}")
    assert time_limit("gpu") == minutes


def test_of_several_partitions_the_longest_limit_counts_and_without_a_name_the_default_ones(says):
    says("sinfo", "all*|3:00:00\ngpu|10:00\nlong|infinite")
    assert time_limit("gpu,all") == 180
    assert time_limit("gpu,long") is None
    assert time_limit(None) == 180
    assert time_limit("unknown") is None


def test_without_slurm_or_an_answer_there_is_no_limit(says):
    assert time_limit(None) is None
    says("sinfo", "all*|10:00", code=1)
    assert time_limit(None) is None


def test_jobs_that_wait_or_run_go_on_and_ended_ones_do_not(says):
    says("squeue", "7_0|RUNNING|None\n7_1|PENDING|PartitionTimeLimit\n7_2|CANCELLED|None\n8|COMPLETING|None")
    jobs = jobs_of_user()
    assert [name for name, job in jobs.items() if job.ended] == ["7_2"]
    assert [name for name, job in jobs.items() if job.may_wait_for_ever] == ["7_1"]
    assert going_on({"7_0": "a", "7_2": "b", "8": "c", "9": "d"}) == {"7_0": "a", "8": "c"}


def test_a_slurm_that_does_not_answer_is_not_taken_for_an_empty_queue(says):
    assert going_on({"7": "a"}) == {}  # there is no squeue: no Slurm here
    says("squeue", "slurm_load_jobs error", code=1)
    assert going_on({"7": "a"}) is None
    assert going_on({}) == {}  # nobody to ask for


def test_the_jobs_of_an_ended_command_are_known_until_the_queue_has_none_of_them(tmp_path):
    sweep = SweepArchive(tmp_path, new_name())
    with sweep.alive():
        sweep.plan({tmp_path / "a": 1, tmp_path / "b": 1}, anew=False)
        sweep.submitted({"7_0": str(tmp_path / "a"), "7_1": str(tmp_path / "b")})
    later = SweepArchive(tmp_path, new_name())
    with later.alive():
        later.plan({tmp_path / "a": 1, tmp_path / "b": 1}, anew=False)  # which forgets lists that are done
        jobs = jobs_in_queues(tmp_path)
        assert jobs == {"7_0": str(tmp_path / "a"), "7_1": str(tmp_path / "b")}
        forget_jobs(tmp_path, asked=jobs, alive=["7_1"])
        forget_jobs(tmp_path, asked=["7_0"], alive=[])  # 7_1 was submitted since
        assert jobs_in_queues(tmp_path) == jobs
        forget_jobs(tmp_path, asked=jobs, alive=[])
        assert jobs_in_queues(tmp_path) == {}


def test_a_damaged_list_of_jobs_is_passed_over(tmp_path):
    sweep = SweepArchive(tmp_path, new_name())
    with sweep.alive():
        for content in (b"{", b"[]", b"3", json.dumps({"7": "a"}).encode()):
            (sweep.folder / "jobs").write_bytes(content)
            found = jobs_in_queues(tmp_path)
            forget_jobs(tmp_path, found, alive=found)
        assert found == {"7": "a"}
