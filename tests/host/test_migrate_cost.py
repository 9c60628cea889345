# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a migration costs, beside stock's stream over the same link."""
import statistics

import pytest

from host.migrate import (DomainWatch, assert_arrived, by_tcp, clean, hosts,
                          note, overlay, report_of, start, xl_aligned)
from lab import pvh

pytestmark = pytest.mark.slow
__all__ = ["clean", "hosts", "overlay"]

# Half of it is zero: the kernel and its files take 60 MiB.  It writes to 1 MiB
# every two seconds.
HALF = pvh("half", memory=192, noise=32, dirty=256, interval=2)
# Not above stock's; but the same stream twice differs by as much here.
DOWNTIME_SHARE = 1.1
# Each stream goes both ways.
TURNS = ("v2", "v3", "v3", "v2", "v2", "v3")


def test_bytes_and_downtime(hosts):
    start(hosts, HALF)
    reports = {"v2": [], "v3": []}
    for turn, stream in enumerate(TURNS):
        sender, receiver = hosts[::1 if turn % 2 == 0 else -1]
        receiver.mark(HALF.name)
        suspended = DomainWatch(sender, "suspended")
        running = DomainWatch(receiver, "running")
        report = report_of(xl_aligned(sender, f"--format={stream}",
                                      by_tcp(receiver, HALF)))
        report["downtime"] = running.time() - suspended.time()
        assert_arrived(sender, receiver, HALF)
        assert report["stream_version"] == int(stream[1])
        assert report["spliced"]
        # The program's own figure is that of a watch beside it.
        assert abs(report["downtime"] - report["downtime_seconds"]) < 0.5
        reports[stream].append(report)
        note(stream, report)

    medians = {key: {stream: statistics.median(r[key] for r in some)
                     for stream, some in reports.items()}
               for key in ("bytes_sent", "downtime", "transfer_seconds")}
    note("medians", medians)
    assert medians["bytes_sent"]["v3"] <= 0.55 * medians["bytes_sent"]["v2"]
    assert (medians["downtime"]["v3"]
            <= DOWNTIME_SHARE * medians["downtime"]["v2"])
