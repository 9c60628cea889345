# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two ends of a migration without Xen, each with tests/fakes/xl.py as xl."""
import hashlib
import os
import re
import signal
import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from commands.program import FAKE_XL, PROGRAM, FakeXl

MAGIC = b"fake domain, xl\n"
CONTENT = os.urandom(3 << 20)

# As ssh: the words become one line for the shell of the other host.
FAKE_SSH = r'''#!/bin/sh
shift
PATH=$FAKE_REMOTE_PATH exec sh -c "$*"
'''


class Hosts(FakeXl):
    """Two hosts on this machine, "new" and "old" (without xl-aligned)."""

    def __init__(self, folder: Path, plugin: Path, content: bytes) -> None:
        super().__init__(folder, plugin)
        self.folder = folder
        self.will("migrate", content)
        for name in ("new", "old"):
            (folder / name).mkdir()
            (folder / name / "xl").symlink_to(FAKE_XL)
        (folder / "new/xl-aligned").symlink_to(PROGRAM)
        self.ssh = folder / "ssh"
        self.ssh.write_text(FAKE_SSH)
        self.ssh.chmod(0o755)
        self.env = {**os.environ, **self.env}
        self.remote_is("new")

    def remote_is(self, name: str) -> None:
        self.env["FAKE_REMOTE_PATH"] = f"{self.folder}/{name}:/usr/bin:/bin"

    def migrate(self, *arguments, timeout=60,
                **env) -> subprocess.CompletedProcess:
        return subprocess.run(
            [PROGRAM, "migrate", *map(str, arguments)], text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
            env={**self.env, **env})

    def start(self, *arguments, **env) -> subprocess.Popen:
        return subprocess.Popen(
            [PROGRAM, "migrate", *map(str, arguments)], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env={**self.env, **env})

    def stock_migrate(self, command: str, host: str = "there",
                      **env) -> subprocess.CompletedProcess:
        """xl migrate, without anything of ours."""
        return subprocess.run(
            [self.folder / "old/xl", "migrate", "-s", command, "dom", host],
            text=True, capture_output=True, timeout=60,
            env={**self.env, **env})

    def assert_migrated(self, version: int | None) -> None:
        """It runs there, with the memory that it had here, and only there."""
        assert self.noted("running") == [
            hashlib.sha256(self.content.read_bytes()).hexdigest()], self.notes()
        assert self.noted("destroyed") == [True]
        assert self.noted("resumed") == []
        assert self.noted("negotiated") == [
            None if version is None else f"format=v{version}\n"]

    def assert_untouched(self) -> None:
        """No domain was created; the sender's keeps running."""
        assert self.noted("receiving") == []
        assert self.noted("running") == []
        assert self.noted("destroyed") == []


class Listener:
    """xl-aligned listen, as a context."""

    def __init__(self, hosts: Hosts, *arguments, fds=(), prefix=(),
                 **env) -> None:
        self.path = hosts.folder / "listen.log"
        self.file = open(self.path, "wb")
        self.process = subprocess.Popen(
            [*prefix, PROGRAM, "listen", *map(str, arguments)],
            stdin=subprocess.DEVNULL, stdout=self.file, stderr=self.file,
            pass_fds=fds, env={**hosts.env, **env})

    def __enter__(self) -> "Listener":
        self.wait_for("listening on")
        return self

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.file.close()

    def log(self) -> str:
        return self.path.read_text()

    def wait_for(self, text: str, count: int = 1) -> str:
        """A line that holds the text (a regular expression)."""
        deadline = time.monotonic() + 20
        while len(found := re.findall(f".*{text}.*", self.log())) < count:
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        return found[-1]


def openssl(*arguments) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True,
                   capture_output=True)


class Authority:
    """Issues certificates, and lists of those revoked, into a folder."""

    def __init__(self, folder: Path, name: str,
                 issuer: "Authority | None" = None) -> None:
        self.folder, self.name, self.issuer = folder, name, issuer
        if issuer:
            self.cert, self.key = issuer.issue(
                f"{name}.ca", f"/CN={name}", "", extensions="basicConstraints"
                "=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n")
            return
        self.key = folder / f"{name}.ca.key"
        self.cert = folder / f"{name}.ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
                "-out", self.cert, "-subj", f"/CN={name}", "-days", "2")

    def issue(self, file: str, subject: str, names: str = "", days: int = 2,
              extensions: str = "") -> tuple[Path, Path]:
        key, cert = (self.folder / f"{file}.{end}" for end in ("key", "pem"))
        request = self.folder / f"{file}.csr"
        extension = self.folder / f"{file}.ext"
        extension.write_text(
            (f"subjectAltName={names}\n" if names else "") + extensions)
        openssl("req", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                request, "-subj", subject)
        if days > 0:
            openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey",
                    self.key, "-CAcreateserial", "-days", days, "-out", cert,
                    "-extfile", extension)
        else:
            # Newer programs refuse an end before now in other ways.
            openssl(*self.ca(), "-batch", "-notext", "-create_serial",
                    "-policy", "any", "-outdir", self.folder, "-startdate",
                    "20200101000000Z", "-enddate", "20200102000000Z", "-in",
                    request, "-out", cert, "-extfile", extension)
        if self.issuer:
            with open(cert, "a") as file:
                file.write(self.cert.read_text())
        return cert, key

    def ca(self) -> list:
        """The command that takes dates, also those that are past."""
        index = self.folder / f"{self.name}.index"
        index.touch()
        config = self.folder / f"{self.name}.cnf"
        config.write_text("[ca]\ndefault_ca=own\n[own]\n"
                          f"database={index}\ndefault_md=sha256\n"
                          f"unique_subject=no\nserial={index}.serial\n"
                          "[any]\ncommonName=supplied\n")
        return ["ca", "-config", config, "-keyfile", self.key, "-cert",
                self.cert]

    def revoke(self, *certs: Path, until: str = "20990101000000Z") -> str:
        """The list, PEM; later ones hold those of earlier ones."""
        common = self.ca()
        for cert in certs:
            openssl(*common, "-revoke", cert)
        crl = self.folder / f"{self.name}.crl"
        openssl(*common, "-gencrl", "-crl_lastupdate", "20200101000000Z",
                "-crl_nextupdate", until, "-out", crl)
        return crl.read_text()


def frame(content: bytes) -> bytes:
    """What the fake migrate sends for a domain."""
    return MAGIC + struct.pack("<Q", len(content)) + content


# ---- smaller things ----------------------------------------------------------


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def cmdline(pid):
    with suppress(FileNotFoundError):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    return b""


def status_of(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file
                    if ":\t" in line)


class Certificates:
    def __init__(self, folder) -> None:
        own = Authority(folder, "own")
        other = Authority(folder, "other")
        self.authority = own.cert
        self.files = {
            "receiver": own.issue("receiver", "/CN=receiver.example",
                                  "DNS:receiver.example,DNS:localhost,"
                                  "IP:127.0.0.1"),
            "sender": own.issue("sender", "/O=lab/CN=sender.example",
                                "DNS:sender.example"),
            "stranger": own.issue("stranger", "/CN=stranger.example",
                                  "DNS:stranger.example"),
            "expired": own.issue("expired", "/CN=sender.example",
                                 "DNS:sender.example", days=-1),
            "expired-receiver": own.issue(
                "expired-receiver", "/CN=receiver.example",
                "DNS:localhost", days=-1),
            "wrong-ca": other.issue("wrong-ca", "/CN=sender.example",
                                    "DNS:sender.example"),
            "wrong-ca-receiver": other.issue(
                "wrong-ca-receiver", "/CN=receiver.example",
                "DNS:localhost"),
        }

    def options(self, name) -> list:
        cert, key = self.files[name]
        return [f"--cert={cert}", f"--key={key}", f"--ca={self.authority}"]


@contextmanager
def tls_listener(hosts, certificates, *options, who="receiver"):
    port = free_port()
    options = options or ("--allow=sender.example",)
    with Listener(hosts, *certificates.options(who), *options,
                  f"tls:localhost:{port}") as listener:
        yield listener, port
