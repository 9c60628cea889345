# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs build/xl-aligned, with tests/fakes/xl.py where it needs an xl."""
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from model import savefile
from model.generator import Generator
from support import ROOT, cc, eventually

PROGRAM = os.environ.get("XL_ALIGNED", str(ROOT / "build/xl-aligned"))
FAKE_XL = ROOT / "tests/fakes/xl.py"
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
    return subprocess.run([PROGRAM, *map(str, arguments)], timeout=120,
                          stdout=options.pop("stdout", subprocess.PIPE),
                          stderr=subprocess.PIPE,
                          env={**os.environ, **(env or {})}, **options)


def one_line(result, status: int = 2) -> str:
    """The only line of a command that failed."""
    assert result.returncode == status
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def in_own_mounts(script: str, *args) -> subprocess.CompletedProcess:
    """A shell script in a mount namespace of its own."""
    if os.geteuid():
        pytest.skip("needs to mount")
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none",
                       "/mnt"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    return subprocess.run(["unshare", "-m", "sh", "-euc", script, "sh",
                           *map(str, args)], capture_output=True, text=True,
                          timeout=120)


def save_file(format_: str, seed: int = 7, config: bytes = CONFIG,
              pages: int = 96, **options) -> bytes:
    """A whole save file of an HVM domain with a device model."""
    generator = Generator(seed, pages)
    tail = savefile.hvm_tail(b"physmap/0\0f0000000\0", b"\x5a" * 6001)
    return savefile.build(generator.hvm(), config, tail, format_, **options)


@dataclass
class FakeXl:
    """tests/fakes/xl.py in a directory of its own, and what it noted."""
    directory: Path
    plugin: Path

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.path = self.directory / "xl"
        self.path.symlink_to(FAKE_XL)
        self.log = self.directory / "log"
        self.content = self.directory / "content"
        self.env = {"XL_ALIGNED_XL": str(self.path),
                    "XL_ALIGNED_PLUGIN": str(self.plugin),
                    "FAKE_LOG": str(self.log),
                    "FAKE_CONTENT": str(self.content)}

    def will(self, action: str, content: bytes = b"") -> None:
        self.env["FAKE_XL"] = action
        self.content.write_bytes(content)

    def becomes(self, script: str) -> None:
        """A shell script in its place; FAKE_XL is what it may start."""
        self.path.unlink()
        self.path.write_text(f"#!/bin/sh\n{script}\n")
        self.path.chmod(0o755)

    def run(self, *arguments, env=None, **options):
        return run(*arguments, env={**self.env, **(env or {})}, **options)

    def start(self, *arguments, **options) -> subprocess.Popen:
        return subprocess.Popen(
            [PROGRAM, *map(str, arguments)], text=True,
            env={**os.environ, **self.env}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, **options)

    def ready(self) -> None:
        """Waits until it has begun what it will do."""
        eventually(lambda: self.noted("ready"), "the fake xl did not start")

    def notes(self) -> list:
        if not self.log.exists():
            return []
        return [json.loads(line)
                for line in self.log.read_text().splitlines()]

    def noted(self, key: str) -> list:
        return [note[key] for note in self.notes() if key in note]

    def note(self, key: str):
        """The value of the only note that has it."""
        found, = self.noted(key)
        return found


def build_empty_plugin(directory: Path) -> Path:
    """A library that can be preloaded and does nothing."""
    plugin = directory / "plugin.so"
    cc(plugin, "-shared", "-fPIC", source="")
    return plugin
