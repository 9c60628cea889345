# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where the private key of xl-aligned listen can be read, and where not."""
import os
import re
import socket
import ssl
import subprocess

import pytest

from commands.transport import (Authority, Certificates, children_of, openssl,
                                status_of, tls_listener)

pytestmark = pytest.mark.skipif(os.getuid() != 0,
                                reason="only root reads others' memory")


def secrets_of(key) -> list[bytes]:
    """The numbers of a private key that must stay secret."""
    text = subprocess.run(["openssl", "pkey", "-in", key, "-noout", "-text"],
                          check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    found = re.findall(r"^(?:priv|privateExponent|prime[12]|exponent[12]):\n"
                       r"((?: +[0-9a-f:]+\n)+)", text, re.M)
    return [bytes.fromhex(re.sub(r"[:\s]", "", one)).lstrip(b"\0")
            for one in found]


def is_in_memory(pid, secret: bytes) -> bool:
    """As a number is written, and as a processor has it; or half of it."""
    parts = [half for way in (secret, secret[::-1])
             for half in (way[:16], way[-16:])]
    with open(f"/proc/{pid}/maps") as maps, \
            open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            begin, end = (int(x, 16) for x in line.split()[0].split("-"))
            if "rw" not in line.split()[1] or "[v" in line:
                continue
            memory.seek(begin)
            data = memory.read(end - begin)
            if any(part in data for part in parts):
                return True
    return False


@pytest.fixture(scope="module", params=["ec", "rsa", "pkcs1"])
def issued(request, tmp_path_factory):
    """Certificates; the receiver's key is of this kind."""
    folder = tmp_path_factory.mktemp("keys")
    certificates = Certificates(folder)
    own = Authority(folder, "keys")
    certificates.authority = own.cert
    certificates.files = {
        who: own.issue(who, f"/CN={who}", "DNS:localhost")
        for who in ("sender", "receiver")}
    cert, key = certificates.files["receiver"]
    if request.param != "ec":
        openssl("genrsa", *(["-traditional"] if request.param == "pkcs1"
                            else []), "-out", key, "2048")
        openssl("req", "-new", "-key", key, "-subj", "/CN=receiver", "-out",
                folder / "receiver.csr")
        openssl("x509", "-req", "-in", folder / "receiver.csr", "-CA",
                own.cert, "-CAkey", own.key, "-out", cert, "-extfile",
                folder / "receiver.ext")
    return certificates


class Client:
    """A TLS client that stops at a given point."""

    def __init__(self, issued, port) -> None:
        context = ssl.create_default_context(cafile=str(issued.authority))
        context.load_cert_chain(*issued.files["sender"])
        self.come, self.go = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.come, self.go,
                                    server_hostname="localhost")
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.settimeout(20)

    def hello(self) -> None:
        """Sends ClientHello, and waits for all that the server says then."""
        self.send_certificate()
        self.sock.sendall(self.go.read())
        while self.go.pending == 0:
            self.come.write(self.sock.recv(65536))
            self.send_certificate()

    def send_certificate(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        else:
            pass


def test_the_key_is_gone_before_a_certificate_comes(hosts, issued):
    secrets = secrets_of(issued.files["receiver"][1])
    assert len(secrets) in (1, 5)
    with tls_listener(hosts, issued, "--allow=*") as (listener, port):
        pid = listener.process.pid
        # The test can find a key where there is one.
        assert any(is_in_memory(pid, one) for one in secrets)
        client = Client(issued, port)
        with client.sock:
            client.hello()
            session, = children_of(pid)
            assert status_of(session)["NoNewPrivs"] == "1"
            assert [is_in_memory(session, one) for one in secrets] == \
                [False] * len(secrets)
            # And the handshake goes on without it.
            client.sock.sendall(client.go.read())
            client.sock.shutdown(socket.SHUT_WR)
            listener.wait_for(r"\(CN=sender\): refused: reading")
