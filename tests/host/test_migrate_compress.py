# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations that are compressed, between two real hosts."""
import pytest

from host.migrate import (PVH, assert_arrived, by_tcp, clean, hosts, note,
                          overlay, report_of, start, xl_aligned)

pytestmark = pytest.mark.slow
__all__ = ["clean", "hosts", "overlay"]


def test_compressed_there_and_back(hosts):
    start(hosts, PVH)
    reports = {}
    for turn, compress in enumerate(("none", "lz4:all", "zstd:all", "zstd")):
        sender, receiver = hosts[::1 if turn % 2 == 0 else -1]
        receiver.mark(PVH.name)
        report = report_of(xl_aligned(sender, f"--compress={compress}",
                                      by_tcp(receiver, PVH)))
        assert_arrived(sender, receiver, PVH)
        assert report["stream_version"] == 3
        assert report["compression"] == compress.partition(":")[0]
        note(compress, report)
        reports[compress] = report["bytes_sent"]
    assert reports["zstd:all"] < reports["lz4:all"] < 0.9 * reports["none"]
    assert reports["zstd"] <= reports["none"]
