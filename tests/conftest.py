# SPDX-License-Identifier: LGPL-2.1-or-later
"""The process that runs the tests, and what several folders need built."""
import signal
from pathlib import Path

import pytest

import support


def pytest_configure():
    # A shell that runs this in the background ignores these for it, and
    # so would every program that a test interrupts.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session")
def tools() -> Path:
    """A fake libxenlight, save helper and toolstack: plugin.bench."""
    return support.fakes()


@pytest.fixture(scope="session")
def packages() -> dict:
    """Paths of the Debian packages, by name."""
    return support.build_packages()
