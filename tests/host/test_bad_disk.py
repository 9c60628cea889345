# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saves to disks that fail: sectors that cannot be written, a cache that
cannot be flushed, writes that are acknowledged and lost."""
import contextlib
import re

import pytest

import lab
from host.guests import keeps_running
from powercut import image

pytestmark = pytest.mark.slow

MIB = 1 << 20
SIZE, SPARE = 512 * MIB, MIB
FILE = "/bad/guest"
# ext4 has its metadata and journal at the begin of this disk, so that behind
# it there are files only; wherever a file of a guest lies, it lies on one of
# the places that come every 16 MiB.
METADATA, STEP, PLACE = 136 * MIB, 16 * MIB, 65536
GUEST = {"memory": 128, "noise": 32}


def sectors(length: int) -> int:
    return length // 512


class BadDisk:
    """/dev/vdb under a table of the device mapper that a test changes."""

    def __init__(self, host, options: str = ""):
        self.host = host
        host.run("umount /bad 2>/dev/null; dmsetup remove bad 2>/dev/null; "
                 "modprobe dm-flakey; mkdir -p /bad", check=False)
        self.table("create bad", self.good())
        host.run(f"mke2fs -q -F -t ext4 -b 4096 {options} "
                 "-E packed_meta_blocks=1,lazy_itable_init=0,"
                 "lazy_journal_init=0 /dev/mapper/bad "
                 f"{(SIZE - SPARE) // 4096} && mount /dev/mapper/bad /bad")

    def table(self, command: str, lines: list) -> None:
        text = "\\n".join(lines)
        self.host.run(f"printf '{text}\\n' | dmsetup {command}")

    def load(self, lines: list) -> None:
        self.table("load bad", lines)
        # Neither a flush nor a freeze: what is under way goes on.
        self.host.run("dmsetup suspend --noflush --nolockfs bad && "
                      "dmsetup resume bad")

    def good(self) -> list:
        return [f"0 {sectors(SIZE)} linear /dev/vdb 0"]

    def extents(self, name: str) -> list:
        """Where a file lies: (begin, end) in bytes."""
        path = self.host.disks[1].path
        text = image.debugfs(path, f"stat /{name}").split("EXTENTS:")[1]
        return [(int(a) * 4096, (int(b or a) + 1) * 4096) for a, b in
                re.findall(r"\):(\d+)(?:-(\d+))?", text)]

    def places(self, feature: str, keep: list) -> list:
        """Places on which writes do not arrive, none of them in `keep`."""
        lines, at = [], 0
        for begin in range(METADATA, SIZE - SPARE - PLACE, STEP):
            end = begin + PLACE
            if any(a < end and begin < b for a, b in keep):
                continue
            lines += [self.piece(at, begin, "linear", ""),
                      self.piece(begin, end, "flakey",
                                 f"0 60 1 {feature}")]
            at = end
        return [*lines, self.piece(at, SIZE, "linear", "")]

    @staticmethod
    def piece(begin: int, end: int, target: str, options: str) -> str:
        return (f"{sectors(begin)} {sectors(end - begin)} {target} /dev/vdb "
                f"{sectors(begin)} {options}".rstrip())

    def no_flush(self) -> list:
        """Everything can be written, but a flush, which goes to all parts of
        a table, fails in the last one, where nothing is."""
        end = SIZE - SPARE
        return [self.piece(0, end, "linear", ""),
                self.piece(end, SIZE, "flakey", "0 60 1 error_writes")]

    def mend(self) -> None:
        """The disk is well again; the filesystem is mounted anew."""
        self.load(self.good())
        self.host.run("umount /bad; mount /dev/mapper/bad /bad")


@pytest.fixture(scope="module")
def host(build_overlay, tmp_path_factory):
    disk = lab.Disk(str(tmp_path_factory.mktemp("disk") / "bad"), SIZE, None)
    with lab.XenHost(overlays=(build_overlay,), parts=(),
                     disks=(disk,)) as host:
        yield host


@pytest.fixture
def disk(host):
    disk = BadDisk(host)
    yield disk
    host.run("xl destroy g", check=False)
    host.run("umount /bad; dmsetup remove bad", check=False)


@contextlib.contextmanager
def old_file(host):
    """An earlier file of the guest, which has to be there afterwards."""
    host.run(f"xl-aligned save -c g {FILE}")
    host.run("sync")
    before = host.run(f"sha256sum <{FILE}").stdout
    yield
    assert host.run(f"sha256sum <{FILE}").stdout == before
    host.run(f"xl-aligned verify {FILE}")


def our_lines(result) -> list:
    return [line for line in result.stderr.splitlines()
            if line.startswith(("libxl-aligned: ", "xl-aligned: "))]


def start(host, make) -> None:
    host.create(make("g", **GUEST))
    host.wait_verdict("g")


def failed_save(host) -> str:
    """Its one line; the guest runs on."""
    result = host.run(f"xl-aligned save g {FILE}", 180, check=False)
    assert result.status != 0, result
    lines = our_lines(result)
    assert len(lines) == 1, result.stderr
    assert "Failed to save domain, resuming domain" in result.stderr
    keeps_running(host, "g")
    return lines[0]


@pytest.mark.parametrize("make", (lab.pv, lab.pvh))
def test_sectors_that_cannot_be_written(host, disk, make):
    """In the midst of the new file."""
    start(host, make)
    with old_file(host):
        disk.load(disk.places("error_writes", disk.extents("guest")))
        line = failed_save(host)
        assert "Input/output error" in line
        assert "offset" in line and FILE in line
        assert host.run("ls /bad").stdout.split() == ["guest", "lost+found"]
        disk.mend()
    host.run(f"xl-aligned save g {FILE}", 180)
    host.mark("g")
    host.run(f"xl-aligned restore {FILE}", 180)
    host.wait_verdict("g")


@pytest.mark.parametrize("make", (lab.pv, lab.pvh))
def test_a_cache_that_cannot_be_flushed(host, disk, make):
    """Every write succeeds, and no fsync.  Without a journal: the device
    mapper of Linux 6.1 loses the error of a flush that comes with data, as
    those of the journal do."""
    disk = BadDisk(host, "-O ^has_journal")
    start(host, make)
    with old_file(host):
        disk.load(disk.no_flush())
        line = failed_save(host)
        assert "stable storage" in line
        assert "Input/output error" in line
        assert host.run("ls /bad").stdout.split() == ["guest", "lost+found"]
        disk.mend()
    host.run(f"xl-aligned save g {FILE}", 180)
    assert host.run("ls /bad").stdout.split() == ["guest", "lost+found"]


def test_writes_that_are_lost(host, disk):
    """Nobody can notice when it happens; but nothing is made of it."""
    start(host, lab.pvh)
    disk.load(disk.places("drop_writes", []))
    host.run(f"xl-aligned save g {FILE}", 180)
    disk.mend()
    lab.drop_caches(host)
    result = host.run(f"xl-aligned verify {FILE}", check=False)
    assert result.status == 1 and "checksum" in result.stdout + result.stderr
    result = host.run(f"xl-aligned restore {FILE}", 180, check=False)
    assert result.status != 0 and "checksum" in result.stderr
    assert host.domid("g") is None
