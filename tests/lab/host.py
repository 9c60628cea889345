# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Xen host in QEMU, without hardware virtualisation."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from typing import IO

from . import images, places
from .cache import cache_dir, command
from .guest import Guests
from .measure import patience
from .versions import Version, version as version_of

CPU = ("max,-smap,-rdtscp,-xsave,-xsaveopt,-avx,-avx2,-fma,-f16c,-pku,"
       "-la57")
GIB = 1 << 30


class LabError(Exception):
    """The lab itself does not work: no verdict on the code under test."""


class CommandFailed(Exception):
    """A command in dom0 ended with a status other than 0."""

    def __init__(self, command: str, result: "Result"):
        self.command, self.result = command, result
        super().__init__(
            f"{command}: status {result.status}\n"
            f"--- stdout\n{result.stdout}\n--- stderr\n{result.stderr}")


class CommandTimeout(Exception):
    """A command in dom0 did not end in time; it has been killed."""


@dataclass(frozen=True)
class Result:
    status: int
    stdout: str
    stderr: str


@dataclass
class Disk:
    """A raw disk image of this machine, shown to dom0 without a cache.

    `path` may exist (a disk another host used) and is created otherwise.
    `log` is a file that gets every write and flush, in the order in which
    they ended, in the format of dm-log-writes.
    """
    path: str
    size: int = 6 * GIB
    fs: str | None = "ext4"
    mount: str | None = None
    log: str | None = None

    def prepare(self) -> None:
        if os.path.exists(self.path):
            return
        fresh = self.path + ".new"
        with open(fresh, "wb") as file:
            file.truncate(self.size)
        if self.fs:
            mkfs = {"ext4": ["-q", "-F", "-E", "lazy_itable_init=1"],
                    "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"],
                    "minix": ["-3"]}
            if self.fs not in mkfs:
                raise LabError(f"no way to make a {self.fs} here")
            program = shutil.which(
                f"mkfs.{self.fs}",
                path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
            if not program:
                raise LabError(f"mkfs.{self.fs} is missing: run `make deps`")
            command(program, *mkfs[self.fs], fresh)
        os.rename(fresh, self.path)

    def arguments(self, number: int) -> list[str]:
        """QEMU's."""
        device = f"virtio-blk-pci,drive=d{number}"
        if not self.log:
            return ["-drive",
                    f"file={self.path},format=raw,if=none,id=d{number},"
                    "cache=none,discard=unmap", "-device", device]
        with open(self.log, "wb"):
            pass
        # A flush that takes no time has its place in the log at once: no
        # write that comes later gets before it.  And the log's entry has to
        # fit beside a request's parts into the 1024 of one system call.
        return ["-blockdev", f"driver=file,node-name=f{number},"
                f"filename={self.path},cache.direct=on,cache.no-flush=on",
                "-blockdev", f"driver=file,node-name=l{number},"
                f"filename={self.log},cache.no-flush=on",
                "-blockdev", f"driver=blklogwrites,node-name=d{number},"
                f"file=f{number},log=l{number},log-sector-size=512",
                "-device", f"{device},request-merging=off,queue-size=256"]


class Job:
    """A command that runs in dom0 while the caller does something else."""

    def __init__(self, host: "XenHost", command: str, tty: bool,
                 stdin: bytes | None):
        self.host, self.command = host, command
        self._pidfile = f"/run/lab/{uuid.uuid4().hex[:12]}"
        # dropbear gives only terminals a session, hence a process group,
        # of their own; the kill below needs one.
        inner = (f"echo $$ >{self._pidfile}; "
                 "echo 0 >/proc/self/oom_score_adj; "
                 f"exec /bin/sh -c {shlex.quote(command)}")
        script = (f"{'' if tty else 'setsid '}/bin/sh -c "
                  f"{shlex.quote(inner)}\n"
                  f"s=$?; rm -f {self._pidfile}; exit $s")
        # Files, not pipes: nobody has to read while the job runs.
        self._out = tempfile.TemporaryFile()
        self._err = tempfile.TemporaryFile()
        self._in = tempfile.TemporaryFile()
        self._in.write(stdin or b"")
        self._in.seek(0)
        self.process = subprocess.Popen(
            host.ssh_command(script, tty), stdin=self._in,
            stdout=self._out, stderr=self._err)

    def poll(self) -> int | None:
        return self.process.poll()

    def kill(self, sig: int = signal.SIGKILL) -> None:
        """Send a signal to the command and all it started in dom0."""
        self.host.control(f"p=$(cat {self._pidfile} 2>/dev/null) &&"
                          f" kill -{int(sig)} -- "
                          f"-$(ps -o pid,pgid | awk -v p=$p "
                          "'$1 == p { print $2 }')")

    def output(self) -> Result:
        """What the command has written so far."""
        text = []
        for file in (self._out, self._err):
            length = os.fstat(file.fileno()).st_size
            raw = os.pread(file.fileno(), length, 0)
            text.append(raw.decode(errors="replace"))
        status = self.process.poll()
        return Result(-1 if status is None else status, *text)

    def wait(self, timeout: float = 120, check: bool = True) -> Result:
        """Wait for the end; on timeout the command is killed."""
        timeout *= patience()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(LabError, subprocess.TimeoutExpired):
                self.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5 * patience())
            self.process.kill()
            self.process.wait()
            result = self.output()
            raise CommandTimeout(
                f"{self.command}: not done after {timeout:.0f} s\n"
                f"--- stdout\n{result.stdout}\n--- stderr\n{result.stderr}"
            ) from None
        result = self.output()
        if result.status == 255 and not self.host.connected():
            raise LabError(f"lost {self.host.name} during: {self.command}\n"
                           f"{result.stderr}\n{self.host.serial_tail()}")
        if check and result.status:
            raise CommandFailed(self.command, result)
        return result


def prune_runs(runs: str) -> None:
    """Remove what processes that were killed left behind an hour ago."""
    for name in os.listdir(runs):
        path = os.path.join(runs, name)
        pid = name.split("-")[-2] if name.count("-") >= 2 else "0"
        with contextlib.suppress(FileNotFoundError):
            age = time.time() - os.stat(path).st_mtime
            if age > 3600 and not os.path.exists(f"/proc/{pid}"):
                shutil.rmtree(path, ignore_errors=True)


class XenHost(Guests):
    """One Xen host; use it as a context manager.

    memory, dom0_mem  MiB of the machine and of dom0
    data              size of the ext4 disk on /data in bytes; or a path of
                      an earlier host's disk; None for no disk
    disks             more disks
    overlays          directory trees laid over dom0's root
    parts             optional parts of the image: hvm, fs, fio, debug
    directory         where disks and logs live; a fresh one by default
    address, join     set by host_pair()
    xen_options       more of Xen's command line, e.g. "guest_loglvl=all"
    version           of Xen, with its dom0: "4.20"; by default XEN's
    """

    def __init__(self, name: str = "xen1", memory: int = 4096,
                 dom0_mem: int = 1024, dom0_vcpus: int = 1,
                 data: int | str | None = 6 * GIB,
                 disks: tuple[Disk, ...] = (),
                 overlays: tuple[str, ...] = (),
                 parts: tuple[str, ...] = ("hvm",),
                 directory: str | None = None,
                 address: str | None = None,
                 join: tuple[str, str] | None = None,
                 xen_options: str = "", boot_timeout: float = 180,
                 version: Version | str | None = None):
        super().__init__()
        self.name, self.memory, self.dom0_mem = name, memory, dom0_mem
        self.dom0_vcpus, self.overlays = dom0_vcpus, tuple(overlays)
        self.parts, self.address, self.join = tuple(parts), address, join
        self.xen_options, self.boot_timeout = xen_options, boot_timeout
        self.version = version_of(version and str(version))
        self._own_directory = directory is None
        if directory is None:
            runs = cache_dir("run")
            prune_runs(runs)
            directory = tempfile.mkdtemp(prefix=f"{name}-{os.getpid()}-",
                                         dir=runs)
        self.directory = os.path.abspath(directory)
        self.share = os.path.join(self.directory, "share")
        os.makedirs(os.path.join(self.share, "log"), exist_ok=True)
        self.serial = os.path.join(self.directory, "serial.log")
        self.disks = list(disks)
        if data is not None:
            disk = Disk(os.path.join(self.directory, "data.img"),
                        mount="/data")
            if isinstance(data, str):
                disk.path = data
            else:
                disk.size = data
            self.disks.insert(0, disk)
        self._qemu: subprocess.Popen | None = None
        self._master: subprocess.Popen | None = None
        self._watcher: subprocess.Popen | None = None
        self._place: IO | None = None
        self._sockets = tempfile.mkdtemp(prefix="xlab-")
        self._connecting = threading.Lock()
        self.boot_seconds = 0.0

    # Life

    def __enter__(self) -> "XenHost":
        self.start()
        return self

    def __exit__(self, kind, value, trace) -> None:
        self.close()

    def start(self) -> "XenHost":
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Start the machine and return at once."""
        if not shutil.which("qemu-system-x86_64"):
            raise LabError("qemu-system-x86_64 is missing: run `make deps`")
        self.image = images.image(self.version, self.parts)
        for disk in self.disks:
            disk.prepare()
        if not self._place:
            self._place = places.take_place()
        boot = os.path.join(self.share, "boot")
        os.makedirs(boot, exist_ok=True)
        for file in (self.image.guest_kernel, self.image.guest_initrd):
            shutil.copy(file, boot)
        initrd = os.path.join(self.directory, "initrd")
        extra = []
        if self.overlays:
            extra.append(os.path.join(self.directory, "overlay.cpio.gz"))
            images.overlay_archive(list(self.overlays), self.image,
                                   extra[0])
        with open(initrd, "wb") as out:
            for part in (*self.image.parts, *extra):
                with open(part, "rb") as file:
                    shutil.copyfileobj(file, out, 1 << 20)
        self._started = time.monotonic()
        with open(os.path.join(self.directory, "qemu.log"), "ab") as log:
            self._qemu = subprocess.Popen(
                self._qemu_command(initrd), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        # Should this process die, nobody would be left to end the machine.
        self._watcher = subprocess.Popen(
            ["sh", "-c", f"cat; kill -9 {self._qemu.pid}"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)

    def _qemu_command(self, initrd: str) -> list[str]:
        mounts = []
        for number, disk in enumerate(self.disks):
            if disk.mount:
                device = "vd" + chr(ord("a") + number)
                mounts.append(f"{device}:{disk.fs}:{disk.mount}")
        linux = [f"{self.image.kernel} console=hvc0 quiet",
                 # A tmpfs would be half of dom0's memory at most.
                 f"rootfstype=ramfs lab.name={self.name}"]
        if mounts:
            linux.append("lab.disks=" + ",,".join(mounts))
        if self.address:
            linux.append(f"lab.address={self.address}")
        host_byte = int(uuid.uuid4().hex[:2], 16)
        mac = f"52:54:00:78:{host_byte:02x}"
        args = [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=256",
            "-cpu", CPU, "-smp", "2", "-m", str(self.memory),
            "-display", "none", "-no-reboot",
            "-serial", f"file:{self.serial}",
            "-monitor", f"unix:{self._sockets}/monitor,server,nowait",
            "-kernel", self.image.xen, "-append",
            "console=com1 com1=115200,8n1 "
            f"dom0_mem={self.dom0_mem}M,max:{self.dom0_mem}M "
            # Scrubbing would have this machine give all the memory.
            f"dom0_max_vcpus={self.dom0_vcpus} noreboot bootscrub=0 "
            f"{self.xen_options}".strip(),
            "-initrd", " ".join(linux) + "," + initrd,
            "-netdev", "user,id=u0,hostfwd=tcp:127.0.0.1:0-:22",
            "-device", f"virtio-net-pci,netdev=u0,mac={mac}:01,romfile=",
            "-fsdev", f"local,id=fs0,path={self.share},"
            "security_model=none",
            "-device", "virtio-9p-pci,fsdev=fs0,mount_tag=host",
        ]
        for number, disk in enumerate(self.disks):
            args += disk.arguments(number)
        if self.join:
            here, there = self.join
            args += ["-netdev", "dgram,id=n0,local.type=unix,"
                     f"local.path={here},remote.type=unix,"
                     f"remote.path={there}",
                     "-device", "virtio-net-pci,netdev=n0,romfile=,"
                     f"host_mtu=9000,mac={mac}:02"]
        return args

    def wait_ready(self) -> "XenHost":
        limit = self.boot_timeout * patience()
        deadline = self._started + limit
        while "lab: ready" not in self.serial_text():
            if self._qemu.poll() is not None:
                self._boot_failed("QEMU ended")
            if time.monotonic() > deadline:
                self._boot_failed(f"not up after {limit:.0f} s")
            time.sleep(0.05)
        if "lab: FAILED" in self.serial_text():
            self._boot_failed("something did not start")
        self.port = self._forwarded_port()
        self._connect(deadline)
        self.boot_seconds = time.monotonic() - self._started
        return self

    def _boot_failed(self, why: str) -> None:
        tail = self.serial_tail()
        with open(os.path.join(self.directory, "qemu.log")) as file:
            tail += file.read()[-2000:]
        self.close(keep=True)
        raise LabError(f"{self.name} did not boot: {why}; logs are in "
                       f"{self.directory}\n{tail}")

    def monitor(self, command: str) -> str:
        """Say something to QEMU's monitor."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20 * patience())
            sock.connect(f"{self._sockets}/monitor")
            text = b""
            while not text.endswith(b"(qemu) "):
                text += sock.recv(65536)
            sock.sendall(command.encode() + b"\n")
            text = b""
            while not text.endswith(b"(qemu) "):
                more = sock.recv(65536)
                if not more:
                    break
                text += more
            return text.decode(errors="replace")

    def _forwarded_port(self) -> int:
        text = self.monitor("info usernet")
        match = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+\S+\s+(\d+)", text)
        if not match:
            raise LabError(f"no forwarded port:\n{text}")
        return int(match[1])

    def kill(self) -> None:
        """Cut the power: nothing is flushed, nothing said goodbye to."""
        # The watcher goes first: a process id may be given out again.
        for process in (self._watcher, self._qemu, self._master):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        if self._watcher:
            self._watcher.stdin.close()
        if self._place:
            self._place.close()
            self._place = None

    def close(self, keep: bool = False) -> None:
        """Stop the machine and, unless told otherwise, remove its files."""
        self.kill()
        shutil.rmtree(self._sockets, ignore_errors=True)
        if self._own_directory and not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def again(self, **changes) -> "XenHost":
        """A new host, not started, with the same disks and settings."""
        self.kill()
        settings = dict(
            name=self.name, memory=self.memory, dom0_mem=self.dom0_mem,
            dom0_vcpus=self.dom0_vcpus, data=None, disks=tuple(self.disks),
            overlays=self.overlays, parts=self.parts,
            address=self.address, join=self.join,
            xen_options=self.xen_options, boot_timeout=self.boot_timeout,
            version=self.version)
        settings.update(changes)
        return XenHost(**settings)

    def alive(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    # Commands

    def _ssh(self, *options: str) -> list[str]:
        return ["ssh", "-F", "none", "-o", "LogLevel=ERROR",
                "-o", f"ControlPath={self._sockets}/ssh",
                "-o", "BatchMode=yes", *options]

    def _connect(self, deadline: float) -> None:
        with self._connecting:
            if self.connected():
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._sockets}/ssh")
            self._master = subprocess.Popen(
                self._ssh("-M", "-N", "-i", self.image.key,
                          "-o", "IdentitiesOnly=yes",
                          "-o", "StrictHostKeyChecking=no",
                          "-o", "UserKnownHostsFile=/dev/null",
                          "-o", "TCPKeepAlive=no",
                          "-p", str(self.port), "root@127.0.0.1"),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, start_new_session=True)
            while not os.path.exists(f"{self._sockets}/ssh"):
                if self._master.poll() is not None:
                    text = self._master.stderr.read().decode()
                    raise LabError(f"no ssh to {self.name}: {text}\n"
                                   f"{self.serial_tail()}")
                if time.monotonic() > deadline:
                    self._boot_failed("no ssh connection")
                time.sleep(0.02)

    def connected(self) -> bool:
        return self._master is not None and self._master.poll() is None

    def ssh_command(self, script: str, tty: bool = False) -> list[str]:
        """The local command that runs a script in dom0."""
        if not self.alive():
            raise LabError(f"{self.name} is not running")
        if not self.connected():
            self._connect(time.monotonic() + 30 * patience())
        return self._ssh("-tt" if tty else "-T", "root@127.0.0.1", script)

    def popen(self, command: str, tty: bool = False,
              stdin: bytes | None = None) -> Job:
        """Start a shell command in dom0."""
        return Job(self, command, tty, stdin)

    def run(self, command: str, timeout: float = 120, check: bool = True,
            tty: bool = False, stdin: bytes | None = None) -> Result:
        """Run a shell command in dom0; threads may do so at once."""
        return self.popen(command, tty, stdin).wait(timeout, check)

    def control(self, script: str, timeout: float = 30) -> str:
        """A plain script without a job's trappings; its output."""
        done = subprocess.run(self.ssh_command(script),
                              timeout=timeout * patience(),
                              stdin=subprocess.DEVNULL,
                              capture_output=True)
        return done.stdout.decode(errors="replace")

    # Files

    def put(self, local: str, remote: str, timeout: float = 300) -> None:
        """Copy a file into dom0, past its page cache where possible."""
        name = uuid.uuid4().hex
        shared = os.path.join(self.share, name)
        shutil.copyfile(local, shared)
        mode = os.stat(local).st_mode & 0o7777
        target = shlex.quote(remote)
        try:
            self.run(f"dd if=/host/{name} of={target} bs=1M oflag=direct "
                     f"2>/dev/null || cp /host/{name} {target} || exit 1; "
                     f"chmod {mode:o} {target}", timeout)
        finally:
            os.unlink(shared)

    def get(self, remote: str, local: str, timeout: float = 300) -> None:
        """Copy a file out of dom0, past its page cache where possible."""
        name = uuid.uuid4().hex
        shared = os.path.join(self.share, name)
        source = shlex.quote(remote)
        try:
            self.run(f"dd if={source} of=/host/{name} bs=1M iflag=direct "
                     f"2>/dev/null || cp {source} /host/{name}", timeout)
            shutil.move(shared, local)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(shared)

    def read_text(self, remote: str) -> str:
        return self.run(f"cat {shlex.quote(remote)}").stdout

    def write_text(self, remote: str, text: str) -> None:
        self.run(f"cat >{shlex.quote(remote)}", stdin=text.encode())

    # Logs

    def serial_text(self) -> str:
        try:
            with open(self.serial, "rb") as file:
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def serial_tail(self, lines: int = 40) -> str:
        return "\n".join(self.serial_text().splitlines()[-lines:])

    def collect_logs(self, directory: str) -> None:
        """Put everything there is to know about a failure in a place."""
        os.makedirs(directory, exist_ok=True)
        for name in ("serial.log", "qemu.log"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(os.path.join(self.directory, name), directory)
        shutil.copytree(os.path.join(self.share, "log"),
                        os.path.join(directory, "xen"),
                        dirs_exist_ok=True)
        if not self.alive():
            return
        for name, command in (
                ("xl-dmesg.txt", "xl dmesg"), ("dmesg.txt", "dmesg"),
                ("xl-list.txt", "xl list -l"),
                ("xenstore.txt", "xenstore-ls -f"),
                ("memory.txt", "cat /proc/meminfo; ps; df")):
            try:
                text = self.run(command, timeout=20, check=False).stdout
            except (CommandTimeout, LabError) as error:
                text = str(error)
            with open(os.path.join(directory, name), "w") as file:
                file.write(text)


@contextlib.contextmanager
def host_pair(versions=(None, None), **settings):
    """Two joined hosts, xen1 (10.77.0.1) and xen2 (10.77.0.2)."""
    with (places.one_at_a_time("pair"),
          tempfile.TemporaryDirectory(prefix="xlab-") as net):
        ends = (f"{net}/1", f"{net}/2")
        hosts = [XenHost(name=f"xen{n}", address=f"10.77.0.{n}",
                         join=join, version=version, **settings)
                 for n, join, version in ((1, ends, versions[0]),
                                          (2, ends[::-1], versions[1]))]
        try:
            for host in hosts:
                host.launch()
            for host in hosts:
                host.wait_ready()
            yield tuple(hosts)
        finally:
            for host in hosts:
                host.close()
