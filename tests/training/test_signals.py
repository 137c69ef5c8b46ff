"""Which signals stop a run, and how."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from nc_runner.training.signals import STOPPING, StopRequested, StopSignals

WAITS = """
import os, signal, sys
from nc_runner.training.signals import StopRequested, StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        signals.pause()
    except StopRequested as stop:
        print(stop, flush=True)
        sys.exit(stop.exit_code)
print("went on", flush=True)
"""


@pytest.mark.parametrize("name", STOPPING)
def test_a_stopping_signal_is_noted_and_handlers_are_put_back(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with StopSignals() as signals:
        signals.pause()
        os.kill(os.getpid(), number)
        assert signals.received == number
        with pytest.raises(StopRequested, match=name) as stop:
            signals.pause()
    assert signal.getsignal(number) == before
    assert stop.value.exit_code == (130 if name == "SIGINT" else 143)


@pytest.mark.parametrize(("ignored", "code", "said"), [(False, 143, "SIGHUP"), (True, 0, "went on")])
def test_a_closed_terminal_stops_a_run_unless_nohup_ignores_it(ignored, code, said):
    command = [sys.executable, "-c", WAITS]
    process = subprocess.Popen(
        ["nohup", *command] if ignored else command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    output, _ = process.communicate("\n", timeout=60)
    assert output.strip() == said
    assert process.returncode == code


def test_a_second_interrupt_ends_the_process_at_once():
    code = (
        "import os, signal; from nc_runner.training.signals import StopSignals\n"
        "with StopSignals():\n"
        "    os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('noted', flush=True); os.kill(os.getpid(), signal.SIGINT); print('not reached')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "noted\n")


def test_outside_the_main_thread_nothing_is_changed():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopSignals() as signals:
            seen.append((signal.getsignal(signal.SIGTERM), signals.received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, None)]
