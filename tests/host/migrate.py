# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two real Xen hosts between which domains migrate: what the tests of it
share.  The guest itself says whether its memory is right."""
import contextlib
import json
import os
import re
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

import support
from lab import host_pair, hvm, pvh
from lab.develop import xenctrl
from support import ROOT, cc, install

HERE = Path(__file__).parent

PORT = 8002
SLOW = 300         # seconds on an idle machine; the lab knows of the load
# Small, and there in seconds: most of what is tested is not about its memory.
# A guest that checks itself all the time leaves the hosts little processor.
GUEST = hvm("guest", memory=48, noise=12, interval=2)
PVH = pvh("big", memory=128, noise=24, interval=2)
# What goes from test to test, wherever it is.
LASTING = (GUEST.name, PVH.name)


# ---- two hosts -------------------------------------------------------


def build_newer(target: Path, required: str) -> None:
    """xl-aligned as a later version would introduce itself."""
    objects = [ROOT / "build" / source.relative_to(ROOT).with_suffix(".o")
               for source in sorted((ROOT / "xl-cmds").rglob("*.c"))
               if source.name != "negotiate.c"]
    libraries = subprocess.run(
        ["make", "-s", "-C", ROOT, "print-libraries"], check=True,
        capture_output=True, text=True).stdout.split()
    target.parent.mkdir(parents=True)
    cc(target, '-DXL_ALIGNED_VERSION="9.0"', "-DNEGOTIATE_VERSION_MAX=4",
       "-DNEGOTIATE_FEATURES="
       "(XENSAVE_MANDATORY_LZ4 | XENSAVE_MANDATORY_ZSTD | 0x20000ULL)",
       f"-DNEGOTIATE_REQUIRED={required}",
       '-DNEGOTIATE_TEXT="newer 9.0\\nfeature 17 DEDUP\\n"',
       f"-I{ROOT}", f"-I{ROOT / 'stream-v3/include'}",
       ROOT / "xl-cmds/migrate/carriers/negotiate.c", *objects, *libraries)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    tree = tmp_path_factory.mktemp("install")
    install(tree)
    tools = tree / "usr/libexec"
    tools.mkdir(exist_ok=True)
    cc(tools / "domwatch", HERE / "domwatch.c", *xenctrl())
    for script in (HERE / "crowd.py", ROOT / "tests/fakes/relay.py"):
        (tools / script.name).write_text(script.read_text())
    for name, required in (("newer", "0"), ("newest", "0x20000ULL")):
        build_newer(tree / f"opt/{name}/xl-aligned", required)
    return tree


@pytest.fixture(scope="module")
def hosts(overlay):
    with host_pair(overlays=(str(overlay),), parts=("python", "hvm", "tls"),
                   data=None, memory=1536, dom0_mem=768) as hosts:
        for host in hosts:
            host.prepare(GUEST)
            listen(host)
        yield hosts


@pytest.fixture(autouse=True)
def clean(hosts, request):
    """What a test has hidden comes back; guests that are whole may stay."""
    yield
    if getattr(request.node, "lab_failed", False):
        name = re.sub(r"[^\w.-]+", "_", request.node.nodeid)
        for host in hosts:
            host.collect_logs(str(ROOT / "build/lab-logs" / name
                                  / host.name))
    for host in hosts:
        host.run("[ ! -e /run/lab/hidden ] || "
                 "mv /run/lab/hidden /usr/bin/xl-aligned")
        for name in names(host):
            if name not in LASTING:
                host.destroy(name)


def listen(host, *options: str) -> None:
    """xl-aligned listen on plain TCP: the network is the test's own."""
    words = " ".join(options) or f"--insecure tcp:*:{PORT}"
    host.run(f"xl-aligned listen {words} </dev/null >/dev/null "
             "2>/run/lab/listen.log & echo $! >/run/lab/listen.pid; "
             "for i in 1 2 3 4 5 6 7 8 9 10; do grep -q listening "
             "/run/lab/listen.log && exit; usleep 200000; done; "
             "cat /run/lab/listen.log >&2; exit 1")


def listen_log(host) -> str:
    return host.read_text("/run/lab/listen.log")


def stop_listening(host) -> str:
    """What it has logged."""
    host.run("kill $(cat /run/lab/listen.pid) 2>/dev/null", check=False)
    return listen_log(host)


def make_old(host) -> None:
    """xl alone: nothing of ours in its way."""
    host.run("mv /usr/bin/xl-aligned /run/lab/hidden")


# ---- guests ----------------------------------------------------------


def start(hosts, guest=GUEST):
    """The host that a guest runs on, and the other one."""
    places = [names(host) for host in hosts]
    if sorted(places) == [[], [guest.name]]:
        here = places.index([guest.name])
        hosts[here].mark(guest.name)
    else:
        here = 0
        for host in hosts:
            for name in names(host):
                host.destroy(name)
        hosts[here].create(guest)
    hosts[here].wait_verdict(guest.name, timeout=SLOW)
    return hosts[here], hosts[1 - here]


def names(host) -> list:
    return [line.split()[0]
            for line in host.run("xl list").stdout.splitlines()[2:]
            if line.strip()]


# Each look is a command on a host.
eventually = partial(support.eventually, seconds=240, pause=0.3)


def assert_arrived(sender, receiver, guest=GUEST) -> None:
    """It runs there, and only there, with the memory that it had."""
    receiver.wait_verdict(guest.name, timeout=SLOW)
    assert names(receiver) == [guest.name]
    assert names(sender) == []


def assert_stayed(sender, receiver, guest=GUEST) -> None:
    sender.mark(guest.name)
    sender.wait_verdict(guest.name, timeout=SLOW)
    assert names(sender) == [guest.name]
    eventually(lambda: names(receiver) == [], "it is still there")


class DomainWatch:
    """Waits on a host until a domain is seen `suspended` or `running`."""

    def __init__(self, host, event: str) -> None:
        self.path = Path(host.share) / event
        self.path.unlink(missing_ok=True)
        self.job = host.popen(f"/usr/libexec/domwatch {event} "
                              f"/host/{event}")
        while "watching" not in self.job.output().stdout:
            assert self.job.poll() is None, self.job.output()
            time.sleep(0.05)

    def seen(self) -> bool:
        return self.path.exists()

    def time(self) -> float:
        """Of this machine's clock."""
        self.job.wait(60)
        return self.path.stat().st_mtime_ns / 1e9


# ---- migrating -------------------------------------------------------


def xl_aligned(host, *words: str, check: bool = True, timeout: int = SLOW):
    return host.run("xl-aligned migrate --json " + " ".join(words), timeout,
                    check=check)


def by_ssh(receiver, guest=GUEST) -> str:
    """As ssh does it, but for the encryption (lab/README.md)."""
    return f"--ssh=lab-rsh {guest.name} {receiver.name}"


def by_tcp(receiver, guest=GUEST) -> str:
    return f"--insecure {guest.name} tcp:{receiver.address}:{PORT}"


def report_of(result) -> dict:
    return json.loads(result.stdout)


def migrate(hosts, guest, olds) -> dict | None:
    """The report, unless the sender is to be without our software."""
    sender, receiver = hosts
    for host, old in zip(hosts, olds):
        if old:
            make_old(host)
    receiver.mark(guest.name)
    if olds[0]:
        sender.run(f"xl migrate -s lab-rsh {guest.name} {receiver.name}",
                   SLOW)
        return None
    report = report_of(xl_aligned(sender, by_ssh(receiver, guest)))
    assert report["stream_version"] == (2 if olds[1] else 3)
    return report


@contextlib.contextmanager
def relay(host, target, *plan):
    """A link on 127.0.0.1:9000 of the host that the test can damage."""
    words = " ".join(map(str, plan))
    job = host.popen(f"exec python3 /usr/libexec/relay.py 127.0.0.1:9000 "
                     f"{target.address}:{PORT} {words}")
    try:
        while "listening" not in job.output().stdout:
            assert job.poll() is None, job.output()
            time.sleep(0.05)
        yield job
    finally:
        job.kill()
        job.wait(check=False)


def note(name: str, value) -> None:
    """A figure for docs/measurements/migration.md; kept if
    XL_ALIGNED_FIGURES names a file."""
    print(name, value)
    path = os.environ.get("XL_ALIGNED_FIGURES")
    if path:
        with open(path, "a") as file:
            file.write(json.dumps({"what": name, "value": value}) + "\n")
