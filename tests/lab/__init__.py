# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real Xen host in QEMU, for tests and for people."""

from .guest import (Guest, GuestFailed, MemoryWrong, Verdict, hvm, pv,
                    pvh)
from .host import (CommandFailed, CommandTimeout, Disk, Job, LabError,
                   Result, XenHost, host_pair)
from .cache import ImageError
from .measure import MemoryWatch, Sample, drop_caches

__all__ = [
    "CommandFailed", "CommandTimeout", "Disk", "Guest", "GuestFailed",
    "ImageError", "Job", "LabError", "MemoryWatch", "MemoryWrong", "Result",
    "Sample", "Verdict", "XenHost", "drop_caches", "host_pair", "hvm", "pv",
    "pvh",
]
