# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two ends of a migration without Xen: an xl of a few lines at each, which
keeps to the protocol of the real one."""
import hashlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from commands.program import PROGRAM, build_empty_plugin

MAGIC = b"fake domain, xl\n"
CONTENT = os.urandom(3 << 20)

# Both ends.  What migrate sends is FAKE_CONTENT; what it was told of the
# stream, and what was received, is noted.
FAKE_XL = r'''#!/usr/bin/python3
import hashlib, json, os, signal, struct, subprocess, sys, time

BANNER = b"xl migration receiver ready, send binary domain data.\n"
READY = b"domain received, ready to unpause\0"
GO = b"domain is yours, you are cleared to unpause\0"
REPORT = b"my copy unpause results are as follows\0"
MAGIC = b"fake domain, xl\n"
argv = sys.argv[1:]
while argv and argv[0][:2] in ("-t", "-v", "-T"):
    argv.pop(0)
command, argv = argv[0], argv[1:]

def note(**what):
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(json.dumps({"side": command, **what}) + "\n")

def read(fd, length):
    data = b""
    while len(data) < length:
        more = os.read(fd, length - len(data))
        if not more:
            return data
        data += more
    return data

def write(fd, data):
    while data:
        data = data[os.write(fd, data):]

def expect(fd, text):
    got = read(fd, len(text))
    if got != text:
        note(unexpected=repr(got), instead_of=repr(text))
    return got == text

def resume(child, send):
    os.close(send)
    note(resumed=True)
    child.wait()
    sys.exit(1)

def migrate():
    ssh, options, operands = "ssh", "", []
    while argv:
        word = argv.pop(0)
        if word == "-s":
            ssh = argv.pop(0)
        elif word in ("-e", "-p") or word == "--debug":
            options += " " + {"--debug": "-d"}.get(word, word)
        else:
            operands.append(word)
    domain, host = operands
    rune = f"exec {ssh} {host} xl migrate-receive{options}"
    send_r, send_w = os.pipe()
    recv_r, recv_w = os.pipe()
    child = subprocess.Popen(["sh", "-c", rune], stdin=send_r,
                             stdout=recv_w)
    os.close(send_r)
    os.close(recv_w)
    note(started=os.getpid(), transport=child.pid)
    if not expect(recv_r, BANNER):
        resume(child, send_w)
    path = os.environ.get("XL_ALIGNED_NEGOTIATED")
    line = features = None
    if path:
        with open(path, "rb") as board:
            line = board.readline(64).decode()
            features = board.readline(64).decode()
    note(negotiated=line, live=os.environ.get("XL_ALIGNED_LIVE"),
         features=features, compress=os.environ.get("XL_ALIGNED_COMPRESS"))
    if os.environ.get("FAKE_PASSES"):
        # What plugin and helper do: struct handoff_board, struct handoff.
        with open(path, "r+b") as board:
            board.seek(128)
            board.write(b"suspended=%d\n\0" % (time.monotonic() * 1000))
        passes = json.loads(os.environ["FAKE_PASSES"])
        with open(os.environ["XL_ALIGNED_PROGRESS"], "r+b") as page:
            page.seek(40)
            page.write(struct.pack(f"<Q{len(passes)}Q", len(passes),
                                   *passes))
    with open(os.environ["FAKE_CONTENT"], "rb") as file:
        data = file.read()
    pause = os.environ.get("FAKE_PAUSE")
    haste = os.environ.get("FAKE_HASTE")
    time.sleep(0.1 if haste else 0)
    try:
        write(send_w, MAGIC + struct.pack("<Q", len(data)))
        if pause:
            write(send_w, data[:len(data) // 2])
            note(paused=True)
            while os.path.exists(pause):
                time.sleep(0.02)
            data = data[len(data) // 2:]
        if os.environ.get("FAKE_FAIL") == "send":
            note(gives_up=True)
            resume(child, send_w)
        write(send_w, data)
        if not expect(recv_r, READY):
            resume(child, send_w)
        write(send_w, GO)
    except OSError as error:
        note(error=str(error))
        resume(child, send_w)
    if not expect(recv_r, REPORT) or read(recv_r, 1) != b"\0":
        note(undefined=True)
        sys.exit(1)
    note(destroyed=True)
    if haste:
        # The real one does not wait for what it has started.
        os.kill(child.pid, signal.SIGKILL)
        os._exit(0)
    os.close(send_w)
    note(transport_status=child.wait())

def migrate_receive():
    note(receiving=os.getpid(), options=argv, uid=os.getuid(),
         preload=os.environ.get("LD_PRELOAD", ""))
    write(1, BANNER)
    head = read(0, len(MAGIC) + 8)
    if head[:len(MAGIC)] != MAGIC or len(head) != len(MAGIC) + 8:
        note(bad_head=repr(head))
        sys.exit(1)
    left, digest = struct.unpack("<Q", head[-8:])[0], hashlib.sha256()
    while left:
        data = os.read(0, min(left, 1 << 20))
        if not data:
            note(cut=left)
            sys.exit(1)
        digest.update(data)
        left -= len(data)
        if os.environ.get("FAKE_FAIL") == "receive":
            note(gives_up=True)
            sys.exit(3)
    write(1, READY)
    if not expect(0, GO):
        sys.exit(1)
    note(running=digest.hexdigest())
    write(1, REPORT + b"\0")

{"migrate": migrate, "migrate-receive": migrate_receive}[command]()
'''

# As ssh: the words become one line for the shell of the other host.
FAKE_SSH = r'''#!/bin/sh
shift
PATH=$FAKE_REMOTE_PATH exec sh -c "$*"
'''


@dataclass
class Hosts:
    """Two hosts on this machine, and what their xl noted."""
    folder: Path
    plugin: Path
    content: bytes
    env: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, with_us in (("new", True), ("old", False)):
            where = self.folder / name
            where.mkdir()
            (where / "xl").write_text(FAKE_XL)
            (where / "xl").chmod(0o755)
            if with_us:
                (where / "xl-aligned").symlink_to(PROGRAM)
        self.ssh = self.folder / "ssh"
        self.ssh.write_text(FAKE_SSH)
        self.ssh.chmod(0o755)
        self.log = self.folder / "log"
        (self.folder / "content").write_bytes(self.content)
        self.env = {
            **os.environ,
            "XL_ALIGNED_XL": str(self.folder / "new/xl"),
            "XL_ALIGNED_PLUGIN": str(self.plugin),
            "FAKE_LOG": str(self.log),
            "FAKE_CONTENT": str(self.folder / "content"),
            "FAKE_REMOTE_PATH": f"{self.folder}/new:/usr/bin:/bin",
        }

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

    def notes(self, side: str | None = None) -> list:
        if not self.log.exists():
            return []
        notes = [json.loads(line)
                 for line in self.log.read_text().splitlines()]
        return [n for n in notes if side is None or n["side"] == side]

    def noted(self, key: str) -> list:
        return [note[key] for note in self.notes() if key in note]

    def assert_migrated(self, version: int | None) -> None:
        """Runs there, with the memory that it had here, and not here."""
        assert self.noted("running") == [
            hashlib.sha256(self.content).hexdigest()], self.notes()
        assert self.noted("destroyed") == [True]
        assert self.noted("resumed") == []
        assert self.noted("negotiated") == [
            None if version is None else f"format=v{version}\n"]

    def assert_untouched(self) -> None:
        """No domain was created, and the sender's runs on."""
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
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey",
                self.key, "-CAcreateserial", "-days", days, "-out", cert,
                "-extfile", extension)
        if self.issuer:
            with open(cert, "a") as file:
                file.write(self.cert.read_text())
        return cert, key

    def revoke(self, *certs: Path, until: str = "20990101000000Z") -> str:
        """The list, PEM; later ones hold those of earlier ones."""
        index = self.folder / f"{self.name}.index"
        index.touch()
        config = self.folder / f"{self.name}.cnf"
        config.write_text("[ca]\ndefault_ca=own\n[own]\n"
                          f"database={index}\ndefault_md=sha256\n")
        common = ["ca", "-config", config, "-keyfile", self.key, "-cert",
                  self.cert]
        for cert in certs:
            openssl(*common, "-revoke", cert)
        crl = self.folder / f"{self.name}.crl"
        openssl(*common, "-gencrl", "-crl_lastupdate", "20200101000000Z",
                "-crl_nextupdate", until, "-out", crl)
        return crl.read_text()


def frame(content: bytes) -> bytes:
    """What the fake migrate sends for a domain."""
    return MAGIC + struct.pack("<Q", len(content)) + content


# ---- fixtures, for modules that import them ----------------------------------


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    return build_empty_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def hosts(tmp_path, plugin):
    return Hosts(tmp_path, plugin, CONTENT)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "socket"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


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
