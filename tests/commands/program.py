# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs build/xl-aligned, with an xl of the test's own where it needs one."""
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from model import savefile
from model.generator import Generator
from support import ROOT, cc

PROGRAM = os.environ.get("XL_ALIGNED", str(ROOT / "build/xl-aligned"))
# Of a save file whose pages can all be found (no PAGE_DATA of an odd form).
REGULAR = 8
CONFIG = json.dumps({
    "c_info": {"type": "hvm", "name": "web01",
               "uuid": "7c0cbb22-8b8f-4a5c-93b7-2b5b2b9b6d10"},
    "b_info": {"max_vcpus": 2, "max_memkb": 524288, "target_memkb": 523264},
    "disks": [{"name": "no name of a domain", "max_memkb": 1}],
}).encode()


def run(*arguments, env=None, **options) -> subprocess.CompletedProcess:
    """Output is text unless `text` says otherwise."""
    options.setdefault("text", True)
    return subprocess.run([PROGRAM, *map(str, arguments)], timeout=60,
                          stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE,
                          env={**os.environ, **(env or {})}, **options)


def in_own_mounts(script: str, *args) -> subprocess.CompletedProcess:
    """A shell script that may mount what nobody else sees."""
    if os.geteuid():
        pytest.skip("needs to mount")
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none",
                       "/mnt"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    return subprocess.run(["unshare", "-m", "sh", "-euc", script, "sh",
                           *map(str, args)], capture_output=True, text=True,
                          timeout=120)


def save_file(format_: str, seed: int = 7, config: bytes = CONFIG,
              pages: int = 96) -> bytes:
    """A whole save file of an HVM domain with a device model."""
    generator = Generator(seed, pages)
    tail = savefile.hvm_tail(b"physmap/0\0f0000000\0", b"\x5a" * 6001)
    return savefile.build(generator.hvm(), config, tail, format_)


# Does what the test says in FAKE_XL, and notes what it was given.
FAKE_XL = r'''#!/usr/bin/python3
import json, os, signal, subprocess, sys, time

def note(**what):
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(json.dumps(what) + "\n")

def save(partially=False):
    path = sys.argv[-1] if os.environ.get("FAKE_CONFIG") is None \
        else sys.argv[-2]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    with open(os.environ["FAKE_CONTENT"], "rb") as content:
        data = content.read()
    os.write(fd, data[:len(data) // 2] if partially else data)
    return fd

def commit(fd):
    """As the plugin does."""
    os.fsync(fd)
    os.rename(os.readlink(f"/proc/self/fd/{fd}"),
              os.environ["XL_ALIGNED_COMMIT_NAME"])

def helper():
    """A save that only the helper's SIGTERM ends."""
    fd = save(partially=True)
    child = subprocess.Popen(
        ["/usr/bin/python3", "-c", """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("ready", flush=True)
time.sleep(60)
""", "--save-domain", str(fd)], stdout=subprocess.PIPE, pass_fds=[fd])
    child.stdout.readline()
    note(ready=os.getpid(), helper=child.pid)
    status = child.wait()
    note(helper_status=status, resumed=True)
    print("Failed to save domain, resuming domain", file=sys.stderr)
    return 1

umask = os.umask(0)
os.umask(umask)
note(argv=sys.argv, umask=umask, pgrp=os.getpgrp(), env={
    k: v for k, v in os.environ.items()
    if k.startswith("XL_ALIGNED") or k == "LD_PRELOAD"})
action, _, argument = os.environ.get("FAKE_XL", "").partition(":")
if action == "save":            # stock: nothing is committed
    save()
elif action == "commit":
    commit(save())
elif action == "fail":
    save(partially=True)
    sys.exit(int(argument))
elif action == "kill":
    save(partially=True)
    os.kill(os.getpid(), signal.SIGKILL)
elif action == "helper":
    sys.exit(helper())
elif action == "late":          # a signal comes when no helper runs any more
    fd = save()
    note(ready=os.getpid())
    time.sleep(1)
    commit(fd)
elif action == "swap":          # somebody replaces FILE.partial meanwhile
    partial = os.environ["XL_ALIGNED_COMMIT_NAME"] + ".partial"
    os.unlink(partial)
    os.symlink(argument, partial)
    save()
elif action == "exit":
    sys.exit(int(argument))
'''


@dataclass
class FakeXl:
    """An xl in a directory of its own, and what it noted."""
    directory: Path
    plugin: Path
    env: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = self.directory / "xl"
        self.path.write_text(FAKE_XL)
        self.path.chmod(0o755)
        self.log = self.directory / "log"
        self.content = self.directory / "content"
        self.env.update(XL_ALIGNED_XL=str(self.path),
                        XL_ALIGNED_PLUGIN=str(self.plugin),
                        FAKE_LOG=str(self.log),
                        FAKE_CONTENT=str(self.content))

    def will(self, action: str, content: bytes = b"") -> None:
        self.env["FAKE_XL"] = action
        self.content.write_bytes(content)

    def run(self, *arguments, env=None, **options):
        return run(*arguments, env={**self.env, **(env or {})}, **options)

    def notes(self) -> list:
        if not self.log.exists():
            return []
        return [json.loads(line)
                for line in self.log.read_text().splitlines()]

    def note(self, key: str):
        """The value of the only note that has it."""
        found = [note[key] for note in self.notes() if key in note]
        assert len(found) == 1, found
        return found[0]


def build_empty_plugin(directory: Path) -> Path:
    """A library that can be preloaded and does nothing."""
    plugin = directory / "plugin.so"
    cc(plugin, "-shared", "-fPIC", source="")
    return plugin
