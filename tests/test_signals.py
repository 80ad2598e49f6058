"""How signals end a run: in order, at once the second time, and never lost."""

import signal
import subprocess
import sys
import time

import pytest

from snnpipe.base import signals


def ended_by(program, *numbers, pause=1.0):
    """Return exit code and output of a program that says ``ready`` and is then sent signals."""
    running = subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    for number in numbers:
        running.send_signal(number)
        time.sleep(pause)
    out, _ = running.communicate(timeout=30)
    return running.returncode, out


LOSES_IT = """
import time
from snnpipe.base import signals
with signals.handled():
    try:
        print("ready")
        time.sleep(30)
    except BaseException:
        print("lost")
    signals.check()
"""
HOLDS_IT = """
import time
from snnpipe.base import signals
with signals.handled():
    with signals.held():
        print("ready")
        deadline = time.monotonic() + {seconds}
        while not signals.pending() or time.monotonic() < deadline:
            time.sleep(0.01)
        print("held")
    signals.check()
    print("went on")
"""


@pytest.mark.parametrize("program", [LOSES_IT, HOLDS_IT.format(seconds=0)])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_that_is_lost_or_held_ends_the_program_at_the_next_look(program, number, code):
    # Python itself ends by SIGINT where a KeyboardInterrupt comes out; the command line turns it into 130
    assert ended_by(program, number) == (code, "lost\n" if program == LOSES_IT else "held\n")


def test_a_second_ctrl_c_leaves_at_once_and_one_that_a_parent_passes_on_does_not():
    program = HOLDS_IT.format(seconds=5)
    assert ended_by(program, signal.SIGINT, signal.SIGINT) == (130, "")
    assert ended_by(program, signal.SIGINT, signal.SIGINT, pause=0.05) == (-signal.SIGINT, "held\n")


def test_a_second_sigterm_changes_nothing():
    assert ended_by(HOLDS_IT.format(seconds=3), signal.SIGTERM, signal.SIGTERM) == (143, "held\n")


def test_a_signal_that_was_to_be_ignored_is_ignored_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with signals.handled():
            signal.raise_signal(signal.SIGTERM)
            assert not signals.pending()
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
