# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests of a real Xen host, saved compressed: restored right, and smaller."""
import json
import subprocess

import pytest

from lab import pv, pvh
from model import audit, savefile
from support import ROOT

pytestmark = pytest.mark.slow


def size(host, file: str) -> int:
    return int(host.run(f"stat -c %s {file}").stdout)


def compression(host, file: str) -> list:
    found, = json.loads(host.run(f"xl-aligned info --json {file}").stdout)
    assert found["whole"] is True and found["error"] is None
    return found["compressed"]


@pytest.mark.parametrize("make", (pv, pvh))
def test_saved_compressed_and_restored(host, make, tmp_path):
    guest = make("packed", memory=192, noise=48)
    host.create(guest)
    host.wait_verdict(guest.name)

    # The same guest, stopped each time, in four manners.
    host.run(f"xl save -c {guest.name} /data/stock", 240)
    host.run(f"xl-aligned save -c {guest.name} /data/plain", 240)
    host.run(f"xl-aligned save -c --compress=lz4:all {guest.name} /data/lz4",
             240)
    host.run(f"xl-aligned save --compress=zstd:all {guest.name} /data/zstd",
             240)
    sizes = {name: size(host, f"/data/{name}")
             for name in ("stock", "plain", "lz4", "zstd")}
    print(f"\n{make.__name__}: " + ", ".join(
        f"{name} {octets / 1048576:.1f} MiB"
        for name, octets in sizes.items()))
    assert sizes["zstd"] < sizes["lz4"] < sizes["plain"] < sizes["stock"]
    packed, = compression(host, "/data/zstd")
    assert packed["compression"] == "zstd" and packed["batches"] > 10
    assert compression(host, "/data/plain") == []
    result = host.run("xl-aligned verify /data/zstd /data/lz4")
    assert result.stdout.count("every byte is intact") == 2

    host.mark(guest.name)
    host.run("xl-aligned restore /data/zstd", 240)
    host.wait_verdict(guest.name)

    # A decoder that shares no code with it, and what stock would restore.
    host.get("/data/zstd", str(tmp_path / "zstd"))
    report, decoder, _ = audit.audit(str(tmp_path / "zstd"))
    assert not report.faults and decoder.header.mandatory_features == 2
    subprocess.run([ROOT / "build/xl-aligned", "convert", "--to=v2",
                    tmp_path / "zstd", tmp_path / "v2"], check=True)
    v2 = (tmp_path / "v2").read_bytes()
    assert savefile.to_v2((tmp_path / "zstd").read_bytes()) == v2
    assert abs(len(v2) - sizes["stock"]) < 1 << 20


def test_as_far_as_there_is_time(host):
    """Without :all; the emulated processor is slow, the disk is not."""
    guest = pvh("hasty", memory=128, noise=32)
    host.create(guest)
    host.wait_verdict(guest.name)
    host.write_text("/etc/xen/xl-aligned.conf", 'compress = "zstd"\n')
    try:
        host.run(f"xl-aligned save {guest.name} /data/file", 240)
    finally:
        host.run("rm /etc/xen/xl-aligned.conf")
    used = sum(packed["batches"] for packed in
               compression(host, "/data/file"))
    print(f"\n{used} batches compressed")
    host.mark(guest.name)
    host.run("xl-aligned restore /data/file", 240)
    host.wait_verdict(guest.name)
