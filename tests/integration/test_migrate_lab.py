# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migration between two real Xen hosts; the guest itself says whether its
memory is right."""
import contextlib
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from lab import host_pair, hvm, pv, pvh                      # noqa: E402

PORT = 8002
SLOW = 900         # seconds; other work may share this machine
# Small, and there in seconds: most of what follows is not about its memory.
GUEST = hvm("guest", memory=48, noise=12)
PVH = pvh("big", memory=128, noise=24)


def install(tree: Path) -> None:
    subprocess.run(
        ["make", "-s", "-C", ROOT, "install", f"DESTDIR={tree}",
         "PREFIX=/usr"], check=True, stdout=subprocess.DEVNULL)


def build_newer(target: Path, required: str) -> None:
    """xl-aligned as a later version would introduce itself."""
    objects = [ROOT / "build" / source.relative_to(ROOT).with_suffix(".o")
               for source in sorted((ROOT / "xl-cmds").rglob("*.c"))
               if source.name != "negotiate.c"]
    target.parent.mkdir(parents=True)
    subprocess.run(
        ["gcc", "-O2", "-D_GNU_SOURCE", '-DXL_ALIGNED_VERSION="9.0"',
         "-DNEGOTIATE_VERSION_MAX=4", "-DNEGOTIATE_FEATURES=0x20000ULL",
         f"-DNEGOTIATE_REQUIRED={required}",
         '-DNEGOTIATE_TEXT="newer 9.0\\nfeature 17 DEDUP\\n"',
         f"-I{ROOT / 'stream-v3'}", "-o", target,
         ROOT / "xl-cmds/transport/negotiate.c", *objects,
         ROOT / "build/libstream-v3.a", "-luring", "-lxxhash", "-lyajl",
         "-lssl", "-lcrypto", "-pthread"], check=True)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory):
    tree = tmp_path_factory.mktemp("install")
    install(tree)
    tools = tree / "usr/libexec"
    tools.mkdir(exist_ok=True)
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
                    tools / "domwatch",
                    ROOT / "tests/integration/domwatch.c", "-lxenctrl"],
                   check=True)
    (tools / "relay.py").write_text(
        (ROOT / "tests/integration/relay.py").read_text())
    for name, required in (("newer", "0"), ("newest", "0x20000ULL")):
        build_newer(tree / f"opt/{name}/xl-aligned", required)
    return tree


@pytest.fixture(scope="module")
def hosts(overlay):
    with host_pair(overlays=(str(overlay),), parts=("python", "hvm"),
                   data=None, memory=1536, dom0_mem=768) as hosts:
        for host in hosts:
            host.prepare(GUEST)
            listen(host)
        yield hosts


def listen(host, *options: str) -> None:
    """xl-aligned listen on plain TCP: the network is the test's own."""
    words = " ".join(options) or f"--insecure tcp:*:{PORT}"
    host.run(f"xl-aligned listen {words} </dev/null >/dev/null "
             "2>/run/lab/listen.log & echo $! >/run/lab/listen.pid; "
             "for i in 1 2 3 4 5 6 7 8 9 10; do grep -q listening "
             "/run/lab/listen.log && exit; usleep 200000; done; "
             "cat /run/lab/listen.log >&2; exit 1")


def stop_listening(host) -> str:
    """What it has logged."""
    host.run("kill $(cat /run/lab/listen.pid) 2>/dev/null", check=False)
    return host.read_text("/run/lab/listen.log")


@pytest.fixture(autouse=True)
def clean(hosts):
    """What a test has hidden comes back; guests whole may stay."""
    yield
    for host in hosts:
        host.run("[ ! -e /run/lab/hidden ] || "
                 "mv /run/lab/hidden /usr/bin/xl-aligned")
        for name in names(host):
            if name not in (GUEST.name, PVH.name):
                host.destroy(name)


def make_old(host) -> None:
    """xl alone: nothing of ours in its way."""
    host.run("mv /usr/bin/xl-aligned /run/lab/hidden")


def start(hosts, guest=GUEST):
    """The host that a guest runs on, and the other one."""
    places = [[name for name in names(host)] for host in hosts]
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


def xl_aligned(host, *words: str, check: bool = True, timeout: int = SLOW):
    return host.run("xl-aligned migrate --json " + " ".join(words), timeout,
                    check=check)


def by_ssh(receiver, guest=GUEST) -> str:
    """As ssh does it, but for the encryption (lab/README.md)."""
    return f"--ssh=lab-rsh {guest.name} {receiver.name}"


def report_of(result) -> dict:
    return json.loads(result.stdout)


def assert_arrived(sender, receiver, guest=GUEST) -> None:
    """It runs there, and only there, with the memory that it had."""
    receiver.wait_verdict(guest.name, timeout=SLOW)
    assert names(receiver) == [guest.name]
    assert names(sender) == []


def assert_stayed(sender, receiver, guest=GUEST) -> None:
    sender.mark(guest.name)
    sender.wait_verdict(guest.name, timeout=SLOW)
    assert names(sender) == [guest.name]
    assert names(receiver) == []


# ---- the four pairs --------------------------------------------------


@pytest.mark.parametrize("guest", [GUEST, PVH], ids=["hvm", "pvh"])
@pytest.mark.parametrize("old_sender", [False, True])
@pytest.mark.parametrize("old_receiver", [False, True])
def test_pairs(hosts, guest, old_sender, old_receiver):
    sender, receiver = start(hosts, guest)
    for host, old in ((sender, old_sender), (receiver, old_receiver)):
        if old:
            make_old(host)
    receiver.mark(guest.name)
    if old_sender:
        sender.run(f"xl migrate -s lab-rsh {guest.name} {receiver.name}",
                   SLOW)
    else:
        report = report_of(xl_aligned(sender, by_ssh(receiver, guest)))
        version = 2 if old_receiver else 3
        assert report["stream_version"] == version
        print(report)
    assert_arrived(sender, receiver, guest)


@pytest.mark.parametrize("program", ["xl migrate -s lab-rsh",
                                     "xl-aligned migrate --ssh=lab-rsh"])
def test_pv_fares_no_worse_than_with_stock(hosts, program):
    """This Xen cannot log a PV guest's dirty pages: stock fails, too."""
    guest = pv("pv", memory=96, noise=16)
    sender, receiver = start(hosts, guest)
    result = sender.run(f"{program} pv {receiver.name}", SLOW, check=False)
    assert result.status != 0
    assert "logdirty" in result.stderr
    assert_stayed(sender, receiver, guest)


def test_newer_peers(hosts):
    sender, receiver = start(hosts)
    receiver.run("mv /usr/bin/xl-aligned /run/lab/hidden; "
                 "cp /opt/newest/xl-aligned /usr/bin/xl-aligned")
    refused = xl_aligned(sender, by_ssh(receiver), check=False)
    assert refused.status != 0
    assert "DEDUP (bit 17)" in report_of(refused)["error"]
    assert_stayed(sender, receiver)

    receiver.run("cp /opt/newer/xl-aligned /usr/bin/xl-aligned")
    receiver.mark(GUEST.name)
    report = report_of(xl_aligned(sender, by_ssh(receiver)))
    assert report["stream_version"] == 3
    assert report["peer"] == "newer 9.0"
    assert_arrived(sender, receiver)
    

# ---- what it costs ---------------------------------------------------


class Downtime:
    """Seconds from the suspended guest here to the running one there."""

    def __init__(self, sender, receiver) -> None:
        self.ends = ((sender, "suspended"), (receiver, "running"))

    def __enter__(self) -> "Downtime":
        self.jobs = []
        for host, event in self.ends:
            path = Path(host.share) / event
            path.unlink(missing_ok=True)
            job = host.popen(f"/usr/libexec/domwatch {event} /host/{event}")
            while "watching" not in job.output().stdout:
                time.sleep(0.05)
            self.jobs.append(job)
        return self

    def __exit__(self, *_) -> None:
        for job in self.jobs:
            job.wait(30)
        times = [(Path(host.share) / event).stat().st_mtime_ns
                 for host, event in self.ends]
        self.seconds = (times[1] - times[0]) / 1e9


def test_bytes_and_downtime(hosts):
    """Half of its memory is zero; stock and v3 take turns."""
    guest = pvh("half", memory=256, noise=56)
    start(hosts, guest)
    reports = {"v2": [], "v3": []}
    for turn in range(6):
        sender, receiver = hosts[::1 if turn % 2 == 0 else -1]
        # Each format goes both ways.
        format_ = ("v2", "v3", "v3", "v2", "v2", "v3")[turn]
        receiver.mark(guest.name)
        with Downtime(sender, receiver) as downtime:
            report = report_of(xl_aligned(
                sender, f"--format={format_} half "
                f"tcp:{receiver.address}:{PORT} --insecure"))
        assert_arrived(sender, receiver, guest)
        assert report["stream_version"] == int(format_[1])
        report["downtime"] = downtime.seconds
        reports[format_].append(report)
        print(format_, report)

    def median(format_, key):
        return statistics.median(r[key] for r in reports[format_])

    for key in ("bytes_sent", "downtime", "transfer_seconds"):
        print(key, {f: median(f, key) for f in reports})
    assert median("v3", "bytes_sent") <= 0.55 * median("v2", "bytes_sent")
    assert median("v3", "downtime") <= median("v2", "downtime")


# ---- a link that is cut or damaged -----------------------------------


@contextlib.contextmanager
def relay(host, target, *plan):
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


HALF = 6 << 20
CUTS = [("hello", "s2r", 10), ("hello", "r2s", 60), ("stream", "s2r", 0),
        ("stream", "s2r", 300), ("stream", "s2r", HALF),
        ("stream", "s2r", HALF + 123457), ("stream", "r2s", 0)]


@pytest.mark.parametrize("phase,direction,octets", CUTS)
def test_cut_before_go(hosts, phase, direction, octets):
    sender, receiver = start(hosts)
    with relay(sender, receiver, "cut", phase, direction, octets) as job:
        result = xl_aligned(sender, "guest tcp:127.0.0.1:9000", check=False)
        said = job.output().stdout
    assert result.status != 0
    assert f"cut in {phase} {direction}" in said
    eventually(lambda: names(receiver) == [], "it is still there")
    assert_stayed(sender, receiver)


def eventually(condition, what, seconds=240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.mark.parametrize("program", ["stock", "ours"])
@pytest.mark.parametrize("phase,direction,octets,there", [
    ("ready", "s2r", 0, False),     # GO is lost
    ("go", "r2s", 0, True),         # the report is lost
    ("go", "r2s", 39, True),        # its last octet is lost
])
def test_cut_at_go(hosts, program, phase, direction, octets, there):
    """What xl does here is xl's to say; both must come to the same."""
    sender, receiver = start(hosts)
    receiver.mark(GUEST.name)
    with relay(sender, receiver, "cut", phase, direction, octets) as job:
        # Stock's stream, and nothing of ours in xl or the stream.
        words = "--format=v2 " if program == "stock" else ""
        env = "XL_ALIGNED_PLUGIN=/none " if program == "stock" else ""
        result = sender.run(f"{env}xl-aligned migrate {words}guest "
                            "tcp:127.0.0.1:9000", SLOW, check=False)
        said = job.output().stdout
    assert f"cut in {phase} {direction}" in said, said
    assert result.status != 0
    assert "Migration failed during final handshake" in result.stderr
    assert names(sender) == ["guest--migratedaway"]
    if there:
        receiver.wait_verdict(GUEST.name)
    eventually(lambda: names(receiver) == (["guest"] if there else []),
               "not as with stock")


@pytest.mark.parametrize("octets", [HALF, HALF + 4096 * 7 + 5])
def test_flipped_bit_on_the_wire(hosts, octets):
    sender, receiver = start(hosts)
    with relay(sender, receiver, "flip", "stream", "s2r", octets) as job:
        result = xl_aligned(sender, "guest tcp:127.0.0.1:9000", check=False)
        assert "flip in stream" in job.output().stdout
    assert result.status != 0
    log = receiver.read_text("/run/lab/listen.log")
    print(re.findall(".*libxl-aligned.*", log)[-1])
    assert re.search("libxl-aligned: .*(checksum|batch|record)", log)
    eventually(lambda: names(receiver) == [], "it is still there")
    assert_stayed(sender, receiver)


def test_link_goes_dead(hosts):
    """No octet gets through any more, and nobody says so."""
    sender, receiver = start(hosts)
    job = sender.popen("exec xl-aligned migrate --insecure guest "
                       f"tcp:{receiver.address}:{PORT}")
    eventually(lambda: "guest--incoming" in names(receiver), "not begun")
    begin = time.monotonic()
    for host in hosts:
        host.monitor("set_link n0 off")
    result = job.wait(SLOW, check=False)
    print(f"noticed after {time.monotonic() - begin:.0f} s")
    for host in hosts:
        host.monitor("set_link n0 on")
    assert result.status != 0
    assert_dead = ("timed out", "resuming at sender")
    assert all(text in result.stderr for text in assert_dead), result.stderr
    eventually(lambda: names(receiver) == [], "it is still there")
    assert_stayed(sender, receiver, guest)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(hosts, signum):
    """By a terminal: everybody gets the signal."""
    sender, receiver = start(hosts)
    with relay(sender, receiver, "slow", "stream", "s2r", 4 << 20):
        job = sender.popen("exec xl-aligned migrate guest "
                           "tcp:127.0.0.1:9000")
        eventually(lambda: "guest--incoming" in names(receiver),
                   "not begun")
        job.kill(signum)
        result = job.wait(SLOW, check=False)
    assert result.status != 0
    assert "resuming at sender" in result.stderr, result.stderr
    eventually(lambda: names(receiver) == [], "it is still there")
    assert_stayed(sender, receiver)


# ---- TLS -------------------------------------------------------------


def test_tls(hosts, tmp_path):
    sys.path.insert(0, str(ROOT / "tests/python"))
    from transport import Authority
    authority = Authority(tmp_path, "lab")
    other = Authority(tmp_path, "other")
    places = {
        "sender": authority.issue("sender", "/CN=sender", "DNS:sender"),
        "receiver": authority.issue("receiver", "/CN=receiver",
                                    "IP:10.77.0.1,IP:10.77.0.2"),
        "expired": authority.issue("expired", "/CN=sender", "DNS:sender",
                                   -1),
        "stranger": authority.issue("stranger", "/CN=who", "DNS:who"),
        "forged": other.issue("forged", "/CN=sender", "DNS:sender"),
    }

    def put(host, name):
        host.run("mkdir -p /etc/xen/xl-aligned")
        cert, key = places[name]
        for file, local in (("cert.pem", cert), ("key.pem", key),
                            ("ca.pem", authority.cert)):
            host.write_text(f"/etc/xen/xl-aligned/{file}",
                            local.read_text())

    sender, receiver = start(hosts)
    put(receiver, "receiver")
    stop_listening(receiver)
    listen(receiver, "--allow=sender tls:*:8003")
    target = f"guest tls:{receiver.address}:8003"
    try:
        for name, word in (("expired", "expired"), ("forged", "issuer"),
                           ("stranger", "not on the list")):
            put(sender, name)
            result = xl_aligned(sender, target, check=False)
            assert result.status != 0
            log = receiver.read_text("/run/lab/listen.log")
            assert re.search(f"refused: .*{word}", log), log
        sender.run("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | "
                   f"timeout 15 nc {receiver.address} 8003", check=False)
        assert names(receiver) == []

        put(sender, "sender")
        receiver.mark(GUEST.name)
        report = report_of(xl_aligned(sender, target))
        assert report["transport"] == "tls"
        assert report["stream_version"] == 3
        assert_arrived(sender, receiver)
    finally:
        log = stop_listening(receiver)
        listen(receiver)
    assert "(CN=sender)" in log
    print(log)


def test_plain_tcp_needs_to_be_asked_for(hosts):
    sender, receiver = start(hosts)
    result = xl_aligned(sender, f"guest tcp:{receiver.address}:{PORT}",
                        check=False)
    assert result.status != 0
    assert "is not a loopback address" in result.stderr
    assert_stayed(sender, receiver)
