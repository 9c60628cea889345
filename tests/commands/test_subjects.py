# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which entry of --allow lets which certificate in."""
import socket
import ssl
import subprocess
from contextlib import suppress

import pytest

from commands.transport import Authority, Certificates, tls_listener
from model.hello import SENDER, Offer

# Name of the files, subject, names.
CERTIFICATES = [
    ("sender", "/O=lab/CN=sender.example", "DNS:sender.example"),
    ("two", "/CN=two", "DNS:one.example,DNS:two.example"),
    ("plain", "/CN=plain.example", ""),
    ("wild", "/CN=wild", "DNS:*.wild.example"),
    ("address", "/CN=10.1.2.3", "IP:10.0.0.7,IP:2001:db8::7"),
    ("named-address", "/CN=x", "DNS:10.0.0.7"),
    ("slash", r"/CN=a\/O=b", ""),
    ("comma", "/O=a, CN = b/CN=c", ""),
    ("accent", "/O=Müller/CN=accent.example", ""),
]


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subjects")
    certificates = Certificates(folder)
    own = Authority(folder, "subjects")
    certificates.authority = own.cert
    certificates.files = {
        name: own.issue(name, subject, names)
        for name, subject, names in CERTIFICATES}
    certificates.files["receiver"] = own.issue(
        "receiver", "/CN=receiver.example", "DNS:*.lab.example")
    certificates.files["numbered"] = own.issue("numbered", "/CN=127.0.0.1")
    return certificates


def is_let_in(hosts, issued, who, *allow) -> bool:
    """Whether the receiver goes on to a HELLO."""
    with tls_listener(hosts, issued, *allow) as (listener, port):
        context = ssl.create_default_context(cafile=str(issued.authority))
        context.load_cert_chain(*issued.files[who])
        with suppress(ssl.SSLError, ConnectionResetError):
            with socket.create_connection(("127.0.0.1", port)) as raw, \
                    context.wrap_socket(
                        raw, server_hostname="r.lab.example") as sock:
                sock.settimeout(20)
                sock.sendall(Offer(SENDER, version_min=9,
                                   version_max=9).pack())
                sock.recv(1)
        line = listener.wait_for("refused: ")
    assert "not allowed to connect" in line or "9 to 9" in line, line
    return "9 to 9" in line


def pasted(issued, who, options) -> str:
    openssl_x509 = ["openssl", "x509", "-noout", "-subject", "-in",
                    issued.files[who][0], *options]
    return subprocess.run(openssl_x509, check=True, text=True,
                          stdout=subprocess.PIPE).stdout.rstrip("\n")


@pytest.mark.parametrize("who,entry,let_in", [
    # Names: each of a certificate's, whole, in any case.
    ("two", "one.example", True),
    ("two", "TWO.example", True),
    ("two", "two", False),
    ("two", "three.example", False),
    # A CN is a name where the certificate has no DNS name.
    ("plain", "plain.example", True),
    ("plain", "*.example", False),
    # A dot in front stands for what is beneath.
    ("sender", ".example", True),
    ("sender", ".ample", False),
    ("sender", ".sender.example", False),
    # A certificate with a wildcard is not each of those hosts.
    ("wild", "host.wild.example", False),
    ("wild", "*.wild.example", True),
    # Addresses: the certificate's, however they are written.
    ("address", "10.0.0.7", True),
    ("address", "2001:DB8:0::7", True),
    ("address", "10.0.0.8", False),
    ("address", "10.1.2.3", False),
    ("named-address", "10.0.0.7", False),
    # Nothing but * is a pattern.
    ("sender", "*", True),
    ("sender", "sender.*", False),
    ("sender", "**", False),
    ("sender", "CN=*", False),
    ("sender", "subject=*", False),
    # Whole subjects.
    ("sender", "subject=O = lab", False),
    ("sender", "subject=O = lab, CN = sender.example, C = X", False),
    ("sender", "subject= /CN=sender.example", False),
    ("slash", "/CN=a/O=b", False),
    ("slash", "CN=a/O=b", True),
    ("comma", "O = a, CN = b, CN = c", False),
    ("comma", 'O = "a, CN = b", CN = c', True),
])
def test_rules(hosts, issued, who, entry, let_in):
    assert is_let_in(hosts, issued, who, f"--allow={entry}") == let_in


# Before 3.2, and of 1.0 and LibreSSL; then as 3.2 writes it.
OPENSSL = {"oneline": [], "compat": ["-nameopt", "compat"],
           "rfc2253": ["-nameopt", "RFC2253"],
           "3.2": ["-nameopt", "oneline,-space_eq"],
           "3.2-utf8": ["-nameopt", "oneline,-space_eq,-esc_msb,utf8"]}


@pytest.mark.parametrize("who,style", [
    *(("sender", style) for style in OPENSSL),
    # "compat" writes escapes that a value could hold itself.
    *(("accent", style) for style in OPENSSL if style != "compat")])
def test_what_openssl_prints_can_be_pasted(hosts, issued, who, style):
    line = pasted(issued, who, OPENSSL[style])
    assert line.startswith("subject=")
    file = hosts.folder / "allow"
    file.write_text(f"# pasted\n{line}\n")
    assert is_let_in(hosts, issued, who, f"--allow-file={file}")


def test_a_sender_takes_the_wildcard_of_a_receiver(hosts, issued):
    """One label of it; and no address that is only the CN."""
    with tls_listener(hosts, issued, "--allow=*") as (_, port):
        for name, status in (("x.lab.example", 0), ("a.b.lab.example", 1)):
            result = hosts.migrate(
                *issued.options("sender"), f"--peer-name={name}", "dom",
                f"tls:localhost:{port}")
            assert result.returncode == status, result.stderr
    with tls_listener(hosts, issued, "--allow=*", who="numbered") as (_, at):
        result = hosts.migrate(*issued.options("sender"), "dom",
                               f"tls:127.0.0.1:{at}")
        assert result.returncode == 1
        assert "IP address mismatch" in result.stderr
