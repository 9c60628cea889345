# SPDX-License-Identifier: LGPL-2.1-or-later
"""Progress in xenstore, status and cancel on a real Xen host.

The test with two terminals writes what they showed to
build/status-panes.txt."""
import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from lab import XenHost, pv, pvh
from support import ROOT, eventually

pytestmark = pytest.mark.slow

TREE = "/local/domain/0/xl-aligned"
FILE = "/data/web01"
# Large enough to be watched; the noise is what a save has to write.
GUEST = pv("web01", memory=1024, noise=640)


@pytest.fixture(scope="module")
def host(build_overlay):
    with XenHost(overlays=(build_overlay,), memory=3072,
                 dom0_mem=768) as host:
        host.create(GUEST)
        host.wait_verdict(GUEST.name)
        yield host


@pytest.fixture(autouse=True)
def clean(host):
    yield
    host.run("rm -f /data/web01* /data/core*")


def says(host, command: str, words: str) -> str:
    """What the command says when it says that."""
    def look() -> str:
        text = host.run(command, check=False).stdout
        return text if re.search(words, text) else ""

    return eventually(look, words, 120)


def keys(host) -> dict:
    """Of the only entry."""
    text = host.run(f"xenstore-ls -f -p {TREE}").stdout
    found = re.findall(rf"^{TREE}/(\d+-\d+-\d+)/(\S+) = \"(.*)\"\s+\((\S+)\)",
                       text, re.M)
    assert found and len({name for name, *_ in found}) == 1, text
    # Nobody but dom0.
    assert {permissions for *_, permissions in found} == {"n0"}
    return {key: value for _, key, value, _ in found}


def no_entry(host) -> bool:
    return not host.run(f"xenstore-list {TREE}", check=False).stdout.strip()


def memory_is_right(host, name=GUEST.name):
    host.mark(name)
    host.wait_verdict(name)


# ---- two terminals ---------------------------------------------------------


class Tmux:
    """Two panes, one above the other, each a shell in dom0."""

    def __init__(self, host, folder: Path) -> None:
        self.socket = str(folder / "tmux")
        shell = shlex.join(host.ssh_command("PS1='# ' exec bash --norc -i",
                                            tty=True))
        self.run("-f", "/dev/null", "new-session", "-d", "-s", "lab",
                 "-x", "96", "-y", "34", shell)
        self.run("split-window", "-v", "-t", "lab:0", shell)
        self.run("resize-pane", "-t", "lab:0.0", "-y", "16")

    def run(self, *words) -> str:
        return subprocess.run(["tmux", "-S", self.socket, *words],
                              check=True, text=True,
                              capture_output=True).stdout

    def type(self, pane: int, text: str) -> None:
        self.run("send-keys", "-t", f"lab:0.{pane}", "-l", text)
        self.run("send-keys", "-t", f"lab:0.{pane}", "Enter")

    def screen(self, pane: int) -> str:
        return self.run("capture-pane", "-p", "-t", f"lab:0.{pane}").rstrip()

    def wait(self, pane: int, words: str, seconds: float = 120) -> str:
        deadline = time.monotonic() + seconds
        while True:
            text = self.screen(pane)
            if re.search(words, text, re.M):
                return text
            assert time.monotonic() < deadline, (words, text)
            time.sleep(0.1)

    def close(self) -> None:
        self.run("kill-server")


BAR = r"memory \[#+\.*\] +\d+ %  \d+ of 1024 MiB  \d+ MiB/s  \d+:\d\d left"


@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
def test_two_terminals(host, tmp_path):
    """A save with its bar; in the other, status --follow, and then cancel."""
    tmux = Tmux(host, tmp_path)
    told = []
    try:
        for pane in (0, 1):
            tmux.wait(pane, r"^# $|^#$")
        tmux.type(0, f"xl-aligned save web01 {FILE}")
        tmux.wait(0, BAR)
        tmux.type(1, "xl-aligned status")
        tmux.wait(1, r"^web01 .* save +memory .* v3 +/data/web01\n#\Z")
        tmux.type(1, "xl-aligned status --follow")
        tmux.wait(1, r"^web01 \(\d+\) save: " + BAR)
        told = [tmux.screen(0), tmux.screen(1)]
        tmux.run("send-keys", "-t", "lab:0.1", "C-c")
        tmux.wait(1, r"\^C\n#\Z")
        tmux.type(1, "xl-aligned cancel web01")
        text = tmux.wait(1, r"^web01 \(\d+\): save cancelled: the domain "
                         r"keeps running$")
        assert text.count("save: memory") == 1
        tmux.wait(0, r"(?s)resuming domain.*^#\Z")
        told += [tmux.screen(0), tmux.screen(1)]
    finally:
        tmux.close()
    out = ROOT / "build/status-panes.txt"
    out.write_text("\n\n".join(
        f"---- {name}\n{text}" for name, text in zip(
            ("first, meanwhile", "second, meanwhile", "first, in the end",
             "second, in the end"), told)) + "\n")
    assert no_entry(host)
    assert host.run("ls /data").stdout.split() == ["lost+found"]
    memory_is_right(host)


# ---- one at a time ---------------------------------------------------------


@pytest.mark.parametrize("start", (
    f"xl-aligned save web01 {FILE}",
    f"env LD_PRELOAD=/usr/lib/libxl-aligned.so.0 xl save web01 {FILE}"))
def test_a_save_is_told_and_cancelled(host, start):
    job = host.popen(start)
    says(host, "xl-aligned status", r"web01 .* save .* [1-9]\d*/1024 ")
    found = keys(host)
    assert found["operation"] == "save" and found["format"] == "v3"
    assert found["file"] == FILE
    assert int(found["total"]) == 1 << 30
    assert 0 < int(found["bytes"]) < 1 << 30 and int(found["rate"]) > 0
    array = json.loads(host.run("xl-aligned status --json").stdout)
    assert [each["domain"] for each in array] == ["web01"]
    done = host.run("xl-aligned cancel web01")
    assert re.fullmatch(r"web01 \(\d+\): save cancelled: the domain keeps "
                        r"running\n", done.stdout)
    result = job.wait(60, check=False)
    assert result.status == 1
    assert "libxl-aligned: save: ended on request" in result.stderr
    assert no_entry(host)
    if start.startswith("xl-aligned"):
        assert host.run("ls /data").stdout.split() == ["lost+found"]
    memory_is_right(host)


def test_the_owner_is_killed(host):
    """The entry stays, status notices it, and the guest can be had back."""
    job = host.popen(f"xl-aligned run -- xl save web01 {FILE}")
    says(host, "xl-aligned status", r"web01 .* memory .* [1-9]\d*/")
    entry = host.run(f"xenstore-list {TREE}").stdout.strip()
    owner = entry.split("-")[0]
    helper = host.run(f"cat /proc/{owner}/task/*/children").stdout.split()
    assert len(helper) == 1
    host.run(f"kill -9 {owner} {' '.join(helper)}")
    job.wait(60, check=False)
    assert not no_entry(host)
    result = host.run("xl-aligned status")
    assert result.stdout == "No operation is running.\n"
    assert f"process {owner}, which ran its save, is gone" in result.stderr
    assert no_entry(host)
    # What stock leaves of that: suspended, or still running.
    host.destroy("web01")
    host.create(GUEST)
    host.wait_verdict(GUEST.name)


def test_the_next_operation_cleans_up(host):
    host.run(f"xenstore-write {TREE}/4194303-1-1/operation save "
             f"{TREE}/4194303-1-1/domid 1")
    host.run("xl-aligned dump-core web01 /data/core", timeout=300)
    assert no_entry(host)


def test_a_dump_is_cancelled(host):
    job = host.popen("xl-aligned dump-core web01 /data/core")
    says(host, "xl-aligned status", r"web01 .* dump-core .* [1-9]\d*/")
    assert keys(host)["file"] == "/data/core"
    done = host.run("xl-aligned cancel web01")
    assert "dump-core cancelled: no file is left" in done.stdout
    assert job.wait(60, check=False).status != 0
    assert host.run("ls /data").stdout.split() == ["lost+found"]
    assert no_entry(host)
    memory_is_right(host)


def test_a_restore_is_cancelled(host):
    host.run(f"xl-aligned save web01 {FILE}", timeout=300)
    before = host.run(f"sha256sum {FILE}").stdout
    job = host.popen(f"xl-aligned restore {FILE}")
    says(host, "xl-aligned status",
               r"web01 .* restore .* [1-9]\d*/\d+ .* v3 +/data/web01")
    done = host.run("xl-aligned cancel web01")
    assert "restore cancelled: no domain is left" in done.stdout
    assert job.wait(60, check=False).status != 0
    assert "web01" not in host.run("xl list").stdout
    assert no_entry(host)
    assert host.run(f"sha256sum {FILE}").stdout == before
    host.run(f"xl-aligned restore {FILE}", timeout=300)
    memory_is_right(host)


def test_a_migration_is_cancelled(host):
    """Both sides are told; within one host, the receiver is here too."""
    guest = pvh("wanders", memory=384, noise=256, dirty=64)
    host.run("xl list web01 && xl-aligned save web01 /data/web01 || true",
             timeout=300)
    host.create(guest)
    host.wait_verdict(guest.name)
    # Drops the name of the host that xl puts first.
    host.write_text("/root/local", '#!/bin/sh\nshift\nexec sh -c "$*"\n')
    host.run("chmod 755 /root/local")
    job = host.popen("xl-aligned migrate --ssh=/root/local wanders here")
    text = says(host, "xl-aligned status",
                      r"wanders .* migrate .* memory .*[1-9]\d*/384 ")
    assert re.search(r" receive ", text), text
    done = host.run("xl-aligned cancel wanders migrate")
    assert re.fullmatch(r"wanders \(\d+\): migrate cancelled: the domain "
                        r"keeps running\n", done.stdout)
    assert job.wait(90, check=False).status != 0
    says(host, f"xenstore-list {TREE} | wc -l", r"^0$")
    assert host.run("xl list").stdout.count("wanders") == 1
    memory_is_right(host, guest.name)
    host.destroy(guest.name)
    host.run("xl-aligned restore /data/web01", timeout=300)
    host.wait_verdict(GUEST.name)
