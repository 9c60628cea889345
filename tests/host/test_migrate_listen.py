# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may send domains to `xl-aligned listen`, and who comes through when
many try."""
import contextlib
import re
import signal

import pytest

from commands.transport import Authority
from host.migrate import (GUEST, SLOW, assert_arrived, assert_stayed,
                          by_tcp, clean, eventually, hosts, listen, listen_log,
                          names, note, overlay, report_of, start,
                          stop_listening, xl_aligned)

pytestmark = pytest.mark.slow
__all__ = ["clean", "hosts", "overlay"]

TLS_PORT = 8003
CROWD = 200
OLD_TLS = f"""
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.load_cert_chain("/etc/xen/xl-aligned/cert.pem",
                        "/etc/xen/xl-aligned/key.pem")
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.wrap_socket(socket.create_connection((sys.argv[1], {TLS_PORT})))
"""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Of each name: certificate, key, authority."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = (Authority(folder, name) for name in ("lab", "other"))

    def issue(authority, *arguments):
        return (*authority.issue(*arguments), authority.cert)

    return {
        "sender": issue(ours, "sender", "/CN=sender", "DNS:sender"),
        "receiver": issue(ours, "receiver", "/CN=receiver",
                          "IP:10.77.0.1,IP:10.77.0.2"),
        "expired": issue(ours, "expired", "/CN=sender", "DNS:sender", -1),
        "stranger": issue(ours, "stranger", "/CN=who", "DNS:who"),
        "forged": (*theirs.issue("forged", "/CN=sender", "DNS:sender"),
                   ours.cert),
    }


def put(host, files) -> None:
    host.run("mkdir -p /etc/xen/xl-aligned")
    for name, local in zip(("cert.pem", "key.pem", "ca.pem"), files):
        host.write_text(f"/etc/xen/xl-aligned/{name}", local.read_text())


@contextlib.contextmanager
def tls_listener(host, certificates, *options):
    put(host, certificates["receiver"])
    stop_listening(host)
    listen(host, "--allow=sender", *options, f"tls:*:{TLS_PORT}")
    try:
        yield
    finally:
        print(stop_listening(host))
        listen(host)


def by_tls(receiver) -> str:
    return f"guest tls:{receiver.address}:{TLS_PORT}"


def refusal(receiver, word: str) -> str:
    """The line of the log that says why."""
    pattern = f"refused: .*{word}.*"
    eventually(lambda: re.search(pattern, listen_log(receiver)),
               f"no refusal that says: {word}", 60)
    return re.findall(pattern, listen_log(receiver))[-1]


def test_tls_refusals(hosts, certificates):
    sender, receiver = start(hosts)
    with tls_listener(receiver, certificates, "--handshake-timeout=20"):
        for name, word in (("expired", "expired"), ("forged", "issuer"),
                           ("stranger", "not allowed to connect")):
            put(sender, certificates[name])
            result = xl_aligned(sender, by_tls(receiver), check=False)
            assert result.status != 0
            note("refused", [name, refusal(receiver, word),
                             report_of(result).get("error")])
        put(sender, certificates["sender"])
        sender.run("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | "
                   f"timeout 30 nc {receiver.address} {TLS_PORT}",
                   check=False)
        note("refused", ["HTTP", refusal(receiver, "speaks HTTP, not TLS")])
        # The receiver is what its certificate says, or nothing is sent.
        result = xl_aligned(sender, "--peer-name=somebody",
                            by_tls(receiver), check=False)
        assert result.status != 0
        assert "mismatch" in report_of(result)["error"]
        sender.write_text("/run/lab/old_tls.py", OLD_TLS)
        result = sender.run("python3 /run/lab/old_tls.py "
                            f"{receiver.address}", SLOW, check=False)
        assert result.status != 0
        note("refused", ["TLS 1.2",
                         refusal(receiver, "does not speak TLS 1.3")])
        # A plain HELLO.
        result = sender.run("xl-aligned migrate --json --insecure guest "
                            f"tcp:{receiver.address}:{TLS_PORT}", SLOW,
                            check=False)
        assert result.status != 0
        note("refused", ["plain", refusal(receiver, "does not speak TLS")])
    assert_stayed(sender, receiver)


@pytest.mark.parametrize("kernel", [False, True],
                         ids=["library", "kernel"])
def test_tls(hosts, certificates, kernel):
    """Encrypted by OpenSSL, and by the kernel where it can."""
    sender, receiver = start(hosts)
    for host in hosts:
        host.run("modprobe tls && modprobe gcm" if kernel else
                 "! grep -q ^tls /proc/modules || rmmod tls; "
                 "mv /usr/sbin/modprobe /run/lab/modprobe")
    try:
        with tls_listener(receiver, certificates):
            put(sender, certificates["sender"])
            receiver.mark(GUEST.name)
            report = report_of(xl_aligned(sender, by_tls(receiver)))
            assert report["carrier"] == "tls"
            assert report["stream_version"] == 3
            assert report["spliced"] == kernel
            assert_arrived(sender, receiver)
            assert "(CN=sender)" in listen_log(receiver)
    finally:
        if not kernel:
            for host in hosts:
                host.run("mv /run/lab/modprobe /usr/sbin/modprobe")
    note("tls", {"kernel": kernel, "report": report})


def test_plain_tcp_needs_to_be_asked_for(hosts):
    sender, receiver = start(hosts)
    result = xl_aligned(
        sender, by_tcp(receiver).replace("--insecure ", ""), check=False)
    assert result.status != 0
    assert "is not a loopback address" in result.stderr
    result = receiver.run("xl-aligned listen tcp:*:8009", check=False)
    assert result.status != 0
    assert "is not a loopback address" in result.stderr
    assert_stayed(sender, receiver)


@contextlib.contextmanager
def crowd(host, receiver, port):
    job = host.popen(f"exec python3 /usr/libexec/crowd.py "
                     f"{receiver.address} {port} {CROWD}")
    try:
        eventually(lambda: "all are there" in job.output().stdout,
                   "the crowd is not there")
        yield job
    finally:
        job.kill(signal.SIGTERM)
        job.wait(60, check=False)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_migration_among_a_crowd(hosts, certificates, transport):
    sender, receiver = start(hosts)
    with contextlib.ExitStack() as stack:
        port, words = 8002, by_tcp(receiver)
        if transport == "tls":
            stack.enter_context(tls_listener(receiver, certificates))
            put(sender, certificates["sender"])
            port, words = TLS_PORT, by_tls(receiver)
        before = len(re.findall("refused", listen_log(receiver)))
        job = stack.enter_context(crowd(sender, receiver, port))
        receiver.mark(GUEST.name)
        report = report_of(xl_aligned(sender, words))
        assert report["stream_version"] == 3
        assert_arrived(sender, receiver)
        job.kill(signal.SIGTERM)
        made = int(job.wait(60, check=False).stdout.split()[-1])
        assert made >= CROWD

        def refused():
            return len(re.findall("refused", listen_log(receiver))) - before

        # They were turned away one by one, for a reason each.
        eventually(lambda: refused() >= CROWD, "not all were refused")
        note("crowd", {"transport": transport, "connections": made,
                       "refused": refused(), "report": report})
    assert names(receiver) == [GUEST.name]
