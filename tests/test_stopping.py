"""Signals: the first one saves and ends, the second one ends at once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from twhin_hf import stopping
from twhin_hf.stopping import ending_on_signals, leave_children, stop_requests


@pytest.mark.parametrize(
    ("signum", "error"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_asks_and_the_owner_leaves(signum, error, capfd):
    before = signal.getsignal(signum)
    with stop_requests("the step") as request:
        assert not request
        os.kill(os.getpid(), signum)
        assert request.signum == signum
        with pytest.raises(error) as raised:
            request.leave()
    if error is SystemExit:
        assert raised.value.code == 143
    assert signal.getsignal(signum) is before
    assert "finishing the step" in capfd.readouterr().err


def test_an_engines_own_error_of_a_signal_is_the_signal():
    def query():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        except KeyboardInterrupt:
            raise RuntimeError("Query interrupted") from None

    with pytest.raises(KeyboardInterrupt), ending_on_signals():
        query()


def test_a_launcher_that_sends_a_signal_on_is_no_second_one(monkeypatch):
    monkeypatch.setattr(stopping, "_ONE_SIGNAL_SECONDS", 1_000)
    with stop_requests("the step") as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("context", ["stop_requests('x')", "ending_on_signals()"])
def test_a_second_signal_ends_at_once(signum, context):
    script = (
        "import os, time\nfrom twhin_hf import stopping\n"
        "from twhin_hf.stopping import *\nstopping._ONE_SIGNAL_SECONDS = 0\n"
        f"with {context}:\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {int(signum)})\n        time.sleep(.01)\n"
        "    except BaseException:\n        pass\n"
        f"    time.sleep(.01)\n    os.kill(os.getpid(), {int(signum)})\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=50)
    assert done.returncode == 128 + signum


def test_elsewhere_a_signal_ends_the_block():
    def work():
        with ending_on_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)

    with pytest.raises(SystemExit) as raised:
        work()
    assert raised.value.code == 143


def test_within_another_thread_signals_stay_as_they_are():
    found = []

    def work():
        with stop_requests("the step") as request:
            found.append(bool(request))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
    assert stopping._ONE_SIGNAL_SECONDS > 0


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="no such signal")
def test_after_an_error_children_that_end_raise_no_other():
    def complain(signum, frame):
        raise RuntimeError("a worker is gone")

    before = signal.signal(signal.SIGCHLD, complain)
    try:
        leave_children()
        os.kill(os.getpid(), signal.SIGCHLD)
        time.sleep(0.05)
    finally:
        signal.signal(signal.SIGCHLD, before)
