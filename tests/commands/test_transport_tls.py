# SPDX-License-Identifier: LGPL-2.1-or-later
"""TLS 1.3 with certificates of both ends."""
import json
import socket
import ssl
from contextlib import suppress

import pytest

from commands.program import run
from commands.transport import Listener, free_port, tls_listener
from model.hello import SENDER, Offer


# ---- TLS -------------------------------------------------------------------


@pytest.mark.parametrize("allow", [
    "sender.example", "CN=sender.example,O=lab", "*"])
def test_tls(hosts, certificates, allow):
    with tls_listener(hosts, certificates, f"--allow={allow}") as (log, at):
        result = hosts.migrate(*certificates.options("sender"), "--json",
                               "dom", f"tls:localhost:{at}")
        assert result.returncode == 0, result.stderr
        log.wait_for(r"receiving: stream v3 from xl-aligned")
        assert "(CN=sender.example,O=lab)" in log.log()
    assert json.loads(result.stdout)["carrier"] == "tls"
    hosts.assert_migrated(3)


def test_tls_allow_file(hosts, certificates):
    file = hosts.folder / "allow"
    file.write_text("# who may\n\nother.example\n  \nsender.example\n")
    with tls_listener(hosts, certificates, f"--allow-file={file}") as (_, at):
        result = hosts.migrate(*certificates.options("sender"), "dom",
                               f"tls:127.0.0.1:{at}")
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("who,word", [
    ("stranger", r"stranger.example\) is not allowed to connect|"
                 r"CN=stranger.example is not allowed to connect"),
    ("expired", "certificate has expired"),
    ("wrong-ca", "unable to get local issuer certificate"),
])
def test_tls_refuses_certificates(hosts, certificates, who, word):
    with tls_listener(hosts, certificates) as (log, port):
        result = hosts.migrate(*certificates.options(who), "dom",
                               f"tls:localhost:{port}")
        assert result.returncode == 1
        assert hosts.noted("resumed") == [True]
        log.wait_for(f"refused: .*({word})")
    hosts.assert_untouched()


@pytest.mark.parametrize("entry", [
    "sender", "*.example", "CN=sender.example", "O=lab,CN=sender.example",
    "sender.example.org", "CN=sender.example,O=lab,C=XX"])
def test_tls_subject_must_match_exactly(hosts, certificates, entry):
    with tls_listener(hosts, certificates, f"--allow={entry}") as (log, at):
        result = hosts.migrate(*certificates.options("sender"), "dom",
                               f"tls:localhost:{at}")
        assert result.returncode == 1
        log.wait_for("is not allowed to connect")
    hosts.assert_untouched()


@pytest.mark.parametrize("who,options,word", [
    ("wrong-ca-receiver", [], "unable to get local issuer"),
    ("expired-receiver", [], "certificate has expired"),
    ("receiver", ["--peer-name=other.example"], "ostname mismatch"),
])
def test_tls_sender_refuses_receivers(hosts, certificates, who, options,
                                      word):
    with tls_listener(hosts, certificates, who=who) as (log, port):
        result = hosts.migrate(*certificates.options("sender"), *options,
                               "dom", f"tls:localhost:{port}")
        assert result.returncode == 1
        assert word in result.stderr
        log.wait_for("refused: ")
    hosts.assert_untouched()


def test_tls_client_without_certificate(hosts, certificates):
    with tls_listener(hosts, certificates) as (log, port):
        context = ssl.create_default_context(
            cafile=str(certificates.authority))
        with suppress(ssl.SSLError, ConnectionResetError):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                with context.wrap_socket(
                        raw, server_hostname="localhost") as sock:
                    sock.recv(1)
        log.wait_for("refused: .*sent no certificate")
    hosts.assert_untouched()


def test_tls_1_2_client(hosts, certificates):
    with tls_listener(hosts, certificates) as (log, port):
        context = ssl.create_default_context(
            cafile=str(certificates.authority))
        context.load_cert_chain(*certificates.files["sender"])
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                context.wrap_socket(raw, server_hostname="localhost")
        log.wait_for("refused: .*does not speak TLS 1.3")
    hosts.assert_untouched()


@pytest.mark.parametrize("data", [
    Offer(SENDER).pack(), b"GET / HTTP/1.0\r\n\r\n", b"\0" * 300])
def test_plaintext_client_of_tls(hosts, certificates, data):
    with tls_listener(hosts, certificates) as (log, port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(data)
            with suppress(ConnectionResetError):
                while sock.recv(1000):
                    pass
        log.wait_for("refused: .*(does not speak TLS|speaks HTTP, not TLS)")
    hosts.assert_untouched()


def test_tls_client_of_plaintext(hosts, certificates, path):
    port = free_port()
    with Listener(hosts, f"tcp:127.0.0.1:{port}") as log:
        result = hosts.migrate(*certificates.options("sender"), "dom",
                               f"tls:localhost:{port}")
        assert result.returncode == 1
        log.wait_for("refused: received garbage .*TLS client")
    hosts.assert_untouched()


def test_tls_needs_an_allow_list(hosts, certificates):
    result = run("listen", *certificates.options("receiver"),
                 f"tls:localhost:{free_port()}", env=hosts.env)
    assert result.returncode == 2 and "--allow" in result.stderr


@pytest.mark.parametrize("missing", ["cert", "key", "ca"])
def test_tls_files_that_are_not_there(hosts, certificates, missing):
    options = [*certificates.options("receiver"), f"--{missing}=/nowhere"]
    result = run("listen", *options, "--allow=*",
                 f"tls:localhost:{free_port()}", env=hosts.env)
    why = "/nowhere: No such file or directory"
    assert result.returncode == 1 and why in result.stderr
    result = hosts.migrate(*options, "dom", "tls:localhost:1")
    assert result.returncode == 1 and why in result.stderr
