# SPDX-License-Identifier: LGPL-2.1-or-later
"""--crl: certificates that were revoked, of either end and of issuers."""
import signal

import pytest

from commands.transport import Authority, Certificates, tls_listener


class Chains(Certificates):
    """Root, an intermediate authority, and what both have issued."""

    def __init__(self, folder) -> None:
        self.root = Authority(folder, "root")
        self.middle = Authority(folder, "middle", self.root)
        self.authority = self.root.cert
        self.files = {
            "receiver": self.root.issue("receiver", "/CN=receiver",
                                        "DNS:localhost"),
            "sender": self.middle.issue("sender", "/CN=sender.example",
                                        "DNS:sender.example"),
        }


@pytest.fixture
def chains(tmp_path):
    folder = tmp_path / "certificates"
    folder.mkdir()
    return Chains(folder)


@pytest.fixture
def crl(tmp_path, chains):
    file = tmp_path / "crl"
    file.write_text(chains.root.revoke() + chains.middle.revoke())
    return file


def replace(file, text):
    """As everybody should: a reader sees the old one or the new one."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def listener(hosts, chains, crl):
    return tls_listener(hosts, chains, "--allow=*", f"--crl={crl}")


def migrate(hosts, chains, port, *options):
    return hosts.migrate(*chains.options("sender"), *options, "dom",
                         f"tls:localhost:{port}")


def test_chain_of_which_nothing_is_revoked(hosts, chains, crl):
    with listener(hosts, chains, crl) as (_, port):
        result = migrate(hosts, chains, port, f"--crl={crl}")
        assert result.returncode == 0, result.stderr
    hosts.assert_migrated(3)


def revocations(chains):
    cert, _ = chains.files["sender"]
    return {"leaf": (chains.middle, cert),
            "intermediate": (chains.root, chains.middle.cert)}


@pytest.mark.parametrize("which", ["leaf", "intermediate"])
def test_revoked(hosts, chains, crl, which):
    by, cert = revocations(chains)[which]
    by.revoke(cert)
    crl.write_text(chains.root.revoke() + chains.middle.revoke())
    with listener(hosts, chains, crl) as (log, port):
        result = migrate(hosts, chains, port)
        assert result.returncode == 1
        assert "revoked" in result.stderr
        log.wait_for("refused: certificate .*: certificate revoked")
    hosts.assert_untouched()


@pytest.mark.parametrize("hangup", [True, False])
def test_revoked_while_it_listens(hosts, chains, crl, hangup):
    with listener(hosts, chains, crl) as (log, port):
        assert migrate(hosts, chains, port).returncode == 0
        by, cert = revocations(chains)["intermediate"]
        replace(crl, by.revoke(cert) + chains.middle.revoke())
        if hangup:
            log.process.send_signal(signal.SIGHUP)
            log.wait_for("lists reloaded")
        assert migrate(hosts, chains, port).returncode == 1
        log.wait_for("certificate revoked")
        # One that cannot be read does not take the place of one that can.
        replace(crl, "nonsense")
        assert migrate(hosts, chains, port).returncode == 1
        log.wait_for("certificate revoked", 2)
        log.wait_for("keeping the old")
        crl.unlink()
        assert migrate(hosts, chains, port).returncode == 1
        log.wait_for("certificate revoked", 3)
    assert len(hosts.noted("running")) == 1


def test_crl_that_has_expired(hosts, chains, crl):
    crl.write_text(chains.root.revoke() +
                   chains.middle.revoke(until="20210101000000Z"))
    with listener(hosts, chains, crl) as (log, port):
        log.wait_for(f"warning: {crl}: .*has expired")
        result = migrate(hosts, chains, port)
        assert result.returncode == 1
        assert "cannot check certificates" in result.stderr
        log.wait_for("refused: .*list of its issuer in --crl has expired")
        replace(crl, chains.root.revoke() + chains.middle.revoke())
        assert migrate(hosts, chains, port).returncode == 0


def test_crl_of_the_intermediate_is_missing(hosts, chains, crl):
    crl.write_text(chains.root.revoke())
    with listener(hosts, chains, crl) as (log, port):
        assert migrate(hosts, chains, port).returncode == 1
        log.wait_for("refused: .*--crl has no list of its issuer")
    hosts.assert_untouched()


def test_sender_refuses_a_revoked_receiver(hosts, chains, crl):
    cert, _ = chains.files["receiver"]
    crl.write_text(chains.root.revoke(cert) + chains.middle.revoke())
    with tls_listener(hosts, chains, "--allow=*") as (log, port):
        result = migrate(hosts, chains, port, f"--crl={crl}")
        assert result.returncode == 1
        assert "certificate revoked" in result.stderr
        log.wait_for("refused: .*certificate, or its issuer's, as revoked")
    hosts.assert_untouched()
