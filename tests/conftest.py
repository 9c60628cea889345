# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every test needs of the process that runs it."""
import signal


def pytest_configure():
    # A shell that runs this in the background ignores these for it, and
    # so would every program that a test interrupts.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
