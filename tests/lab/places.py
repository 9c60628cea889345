# SPDX-License-Identifier: LGPL-2.1-or-later
"""How many emulated hosts run at once on this machine.

An emulated host takes a core while it works and, in the end, all the memory
it was given.  More of them than the machine can carry do not share it: they
thrash, and every time limit of a test is missed.  So each takes a place and
keeps it until it ends; whoever finds none waits.  There is one place more
than there are cores: of a pair, one mostly waits for the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import IO

from .cache import cache_dir, say

GIB = 1 << 30
HOST_MEMORY = 5 * GIB       # of one host with its page cache
_held: list[IO] = []        # by this process


def places() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(2, min((os.cpu_count() or 1) + 1, memory // HOST_MEMORY))


def _try(name: str) -> IO | None:
    file = open(os.path.join(cache_dir(), name), "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def take_place() -> IO:
    """Waits for a place; closing what is returned gives it up."""
    waiting = False
    while True:
        for number in range(places()):
            file = _try(f".place-{number}")
            if file:
                _held.append(file)
                return file
        _held[:] = [file for file in _held if not file.closed]
        if len(_held) >= places():
            raise RuntimeError(
                f"this process already runs {len(_held)} emulated hosts, as "
                "many as the machine carries: end one first")
        if not waiting:
            say("waiting for another emulated host to end")
            waiting = True
        time.sleep(0.5)


@contextlib.contextmanager
def one_at_a_time(name: str):
    """Whoever needs several places: two of them would wait for ever."""
    with open(os.path.join(cache_dir(), f".{name}"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
