"""Where a run's command was given, from Hydra's record."""

import pytest
import yaml

from nc_runner.runs.origin import HYDRA_FILE, Origin, origin_of


def write(folder, cwd, output_dir, sources=()):
    path = folder / HYDRA_FILE
    path.parent.mkdir(parents=True)
    package = {"path": "nc_runner.conf", "schema": "pkg", "provider": "main"}
    files = [{"path": str(source), "schema": "file", "provider": "command-line"} for source in sources]
    runtime = {"cwd": str(cwd), "output_dir": str(output_dir), "config_sources": [package, *files]}
    path.write_text(yaml.safe_dump({"hydra": {"runtime": runtime}}))


def test_the_folder_of_the_command_and_its_config_folders_are_found(tmp_path):
    run = tmp_path / "outputs" / "cell" / "run"
    (tmp_path / "mine").mkdir()
    write(run, tmp_path, run, [tmp_path / "mine", tmp_path / "gone"])
    found = origin_of(run)
    assert found == Origin(tmp_path, (tmp_path / "mine",))
    assert found.folders == [str(tmp_path), str(tmp_path / "mine")]


def test_a_project_that_was_moved_with_its_outputs_is_found_at_its_new_place(tmp_path):
    new = tmp_path / "new"
    run = new / "outputs" / "cell" / "run"
    (new / "mine").mkdir(parents=True)
    write(run, "/old/project", "/old/project/outputs/cell/run", ["/old/project/mine"])
    assert origin_of(run) == Origin(new, (new / "mine",))


def test_a_run_folder_moved_alone_has_no_start_where_that_is_gone(tmp_path):
    run = tmp_path / "elsewhere"
    write(run, "/old/project", "/old/project/outputs/cell/run")
    assert origin_of(run) == Origin()


def test_outputs_written_outside_the_folder_of_the_command_are_no_hint_to_another(tmp_path):
    run = tmp_path / "scratch" / "run"
    (tmp_path / "project").mkdir()
    write(run, tmp_path / "project", run)
    assert origin_of(run).start == tmp_path / "project"


@pytest.mark.parametrize("text", [None, "", "a: [", "hydra: 3", "hydra: {runtime: {cwd: 1}}", "\0"])
def test_without_a_record_of_hydra_nothing_is_known(text, tmp_path):
    if text is not None:
        (tmp_path / HYDRA_FILE).parent.mkdir()
        (tmp_path / HYDRA_FILE).write_text(text)
    assert origin_of(tmp_path) == Origin()
