"""MLflow's own page on the local store, in a browser: what a user sees of a run."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from helpers.lab import settings_of
from helpers.tracked import TINY, carry_out, one_picture
from mlflow import MlflowClient

from nc_runner.commands import trackers
from nc_runner.config.identity import folder_name

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]

SECONDS = 300  # that the server, or a page, may take


@pytest.fixture
def page():
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium found (on Debian: apt-get install chromium)")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, chromium_sandbox=False)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(SECONDS * 1000)
        yield page
        browser.close()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A tracked run, and the address of the page on its store."""
    monkeypatch.setattr(trackers, "_draw", one_picture)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = settings_of(*TINY, "tracker=mlflow")
    carry_out(config, tmp_path / folder_name(config))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--port", str(port), "--workers", "1",
         "--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(address, server)
        yield tmp_path, address
    finally:
        os.killpg(server.pid, 15)
        server.wait()


def wait_for(address, server):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not start")


def test_the_page_shows_the_run_with_its_state_rows_settings_and_figures(served, page):
    outputs, address = served
    client = MlflowClient(f"sqlite:///{outputs / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name == "nc-runner"]
    (run,) = client.search_runs([experiment.experiment_id])
    page.goto(f"{address}/#/experiments/{experiment.experiment_id}/runs")
    playwright.expect(page.get_by_text(run.info.run_name).first).to_be_visible(timeout=SECONDS * 1000)
    base = f"{address}/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}"
    page.goto(base)
    playwright.expect(page.get_by_text("Finished").first).to_be_visible(timeout=SECONDS * 1000)
    playwright.expect(page.get_by_text("lr_milestones").first).to_be_visible(timeout=SECONDS * 1000)
    page.goto(f"{base}/model-metrics")
    playwright.expect(page.get_by_text("analysis_seconds").first).to_be_visible(timeout=SECONDS * 1000)
    page.goto(f"{base}/artifacts/figures/nc1.png")
    playwright.expect(page.get_by_text("figures/nc1.png").first).to_be_visible(timeout=SECONDS * 1000)
    page.screenshot(path=outputs / "page.png")
