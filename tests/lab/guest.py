# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that prove their own memory right, and how to ask them."""

from __future__ import annotations

import os
import re
import shlex
import struct
import time
from dataclasses import dataclass, field

from .measure import patience

KERNEL = "/boot/vmlinux"
RAMDISK = "/boot/guest.cpio.gz"
VERDICT = re.compile(
    rb"^verdict (\d+) (ok|BAD) ?([^\r\n]*)\r?\n", re.M)


class GuestFailed(Exception):
    """A guest did not come to say that its memory is right."""


class MemoryWrong(GuestFailed):
    """A guest found its memory changed."""


@dataclass(frozen=True)
class Verdict:
    number: int
    ok: bool
    text: str  # the hash, and what is wrong if it is not ok

    @property
    def hash(self) -> str:
        return self.text.split()[0] if self.text else ""


@dataclass(frozen=True)
class Guest:
    """An xl domain; memory and noise in MiB."""
    name: str
    kind: str
    memory: int = 256
    noise: int = 64
    seed: int = 1
    dirty: int = 0        # pages rewritten between two checks
    interval: int = 1     # seconds between two checks
    vcpus: int = 1
    extra: dict = field(default_factory=dict)  # more xl.cfg settings

    def settings(self) -> dict:
        if self.kind == "hvm":
            return self._hvm_settings() | self.extra
        line = (f"console=hvc0 quiet lab.noise={self.noise} "
                f"lab.seed={self.seed} lab.dirty={self.dirty} "
                f"lab.interval={self.interval}")
        out = {"name": self.name, "type": self.kind,
               "memory": self.memory, "vcpus": self.vcpus,
               "kernel": KERNEL, "ramdisk": RAMDISK, "extra": line}
        if self.kind == "pvh":
            out["tsc_mode"] = "native"
        return out | self.extra

    def _hvm_settings(self) -> dict:
        log = f"/var/log/xen/guest-{self.name}.log"
        return {
            "name": self.name, "type": "hvm", "memory": self.memory,
            "vcpus": self.vcpus, "tsc_mode": "native", "vnc": 0,
            "vga": "none", "usb": 0, "xen_platform_pci": 0,
            "disk": ["format=raw,vdev=hda,access=rw,backendtype=qdisk,"
                     f"target={self.hvm_disk}"],
            # Not serial="file:…": that would empty the log on restore.
            "device_model_args_hvm": [
                "-chardev", f"file,id=lab,path={log},append=on",
                "-serial", "chardev:lab"],
        }

    @property
    def hvm_disk(self) -> str:
        return f"/run/lab/{self.name}.img"

    def patched_disk(self, disk: bytes) -> bytes:
        """The HVM boot disk with this guest's parameters."""
        if self.noise > self.memory - 32:
            raise ValueError(f"{self.name}: at most {self.memory - 32} MiB "
                             "of noise fit")
        values = struct.pack("<4I", self.noise << 8, self.seed, self.dirty,
                             self.interval)
        return disk[:512] + values + disk[512 + len(values):]

    def config(self) -> str:
        """The text of its xl.cfg."""
        lines = []
        for key, value in self.settings().items():
            if isinstance(value, (list, tuple)):
                value = "[" + ", ".join(f'"{v}"' for v in value) + "]"
            elif isinstance(value, str):
                value = f'"{value}"'
            lines.append(f"{key} = {value}")
        return "\n".join(lines) + "\n"


def pv(name: str, **settings) -> Guest:
    return Guest(name, "pv", **settings)


def pvh(name: str, **settings) -> Guest:
    return Guest(name, "pvh", **settings)


def hvm(name: str, **settings) -> Guest:
    """A guest with firmware and a device model; needs the part `hvm`."""
    return Guest(name, "hvm", **({"memory": 128} | settings))


class Guests:
    """What a host knows to do with guests (a base of XenHost)."""

    def __init__(self):
        self._marks: dict[str, tuple[int, ...]] = {}

    def console_path(self, name: str) -> str:
        """A guest's console log on this machine."""
        return os.path.join(self.share, "log", f"guest-{name}.log")

    def _consoles(self, name: str) -> list[bytes]:
        # xenconsoled logs a migrated guest under the name it came with.
        logs = []
        for each in (name, f"{name}--incoming"):
            try:
                with open(self.console_path(each), "rb") as file:
                    logs.append(file.read())
            except FileNotFoundError:
                logs.append(b"")
        return logs

    def console(self, name: str) -> str:
        """All that a guest has said on this host."""
        return b"".join(self._consoles(name)).decode(errors="replace")

    def mark(self, name: str) -> tuple[int, ...]:
        """Remember the console's end: verdicts after it are new."""
        self._marks[name] = tuple(map(len, self._consoles(name)))
        return self._marks[name]

    def prepare(self, guest: Guest) -> None:
        """Put what a guest's configuration names in its place.

        create() does so; a host that only restores a guest, or receives
        it, has to be asked.
        """
        if guest.kind == "hvm":
            with open(self.image.hvm_disk, "rb") as file:
                disk = guest.patched_disk(file.read())
            self.run(f"cat >{shlex.quote(guest.hvm_disk)}", stdin=disk)

    def create(self, guest: Guest, options: str = "",
               timeout: float = 120) -> None:
        """Create a guest; wait_verdict() tells when it has filled."""
        self.prepare(guest)
        path = f"/run/lab/{guest.name}.cfg"
        self.write_text(path, guest.config())
        self.mark(guest.name)
        self.run(f"xl create {options} {shlex.quote(path)}", timeout)

    def destroy(self, name: str) -> None:
        self.run(f"xl destroy {shlex.quote(name)}", check=False)

    def domid(self, name: str) -> int | None:
        out = self.run(f"xl domid {shlex.quote(name)}", check=False)
        return int(out.stdout) if out.status == 0 else None

    def verdicts(self, name: str, after: tuple[int, ...] | None = None
                 ) -> list[Verdict]:
        """A guest's verdicts since a mark (the last one by default)."""
        if after is None:
            after = self._marks.get(name, (0, 0))
        return [Verdict(int(m[1]), m[2] == b"ok",
                        m[3].decode(errors="replace"))
                for log, start in zip(self._consoles(name), after)
                for m in VERDICT.finditer(log[start:])]

    def wait_verdict(self, name: str, after: tuple[int, ...] | None = None,
                     count: int = 2, timeout: float = 120) -> Verdict:
        """Wait for `count` new verdicts; the last, when all are ok."""
        timeout *= patience()
        deadline = time.monotonic() + timeout
        while True:
            seen = self.verdicts(name, after)
            for verdict in seen:
                if not verdict.ok:
                    raise MemoryWrong(f"{name}: verdict {verdict.number}: "
                                      f"BAD {verdict.text}")
            if len(seen) >= count:
                return seen[-1]
            if time.monotonic() > deadline:
                raise GuestFailed(
                    f"{name}: {len(seen)} of {count} verdicts after "
                    f"{timeout:.0f} s\n{self._guest_state(name)}")
            time.sleep(0.1)

    def _guest_state(self, name: str) -> str:
        text = self.run("xl list; xl dmesg | tail -n 20",
                        check=False).stdout
        return (f"{text}\n--- console of {name}\n"
                f"{self.console(name)[-1500:]}")
