# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tab in a bash of its own: names that others chose are never expanded, and
the line that comes of it names the domain or the file."""
import os
import pty
import select
import subprocess
import time

import pytest

from commands.program import FAKE_XL
from support import ROOT


SCRIPT = ROOT / "xl-cmds/completion/xl-aligned"
# Each would make the file "expanded", were it code.
NAMES = ["web01", "web$(>expanded)", "web`>expanded`", "web;>expanded",
         "web|tee expanded", "web a  b", "web'x", 'web"y', "web\\", "web*",
         "web?[a]", "web{a,b}", "web!w", "web$HOME", "web&", "web#", "web~",
         "web<(>expanded)", "web$((1))", "webé"]
STUB = """#!/bin/sh
printf '%s\\0' "$@" >arguments
"""


def row(name: str, domid: int) -> str:
    return f"{name:<26} {domid:5} {512:5} {1:5}     -b----     {3.1:8.1f}\n"


@pytest.fixture
def site(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tmp_path / "work").mkdir()
    (tools / "xl-aligned").write_text(STUB)
    (tools / "xl-aligned").chmod(0o755)
    (tools / "xl").symlink_to(FAKE_XL)
    return tmp_path


def domains(site, *names):
    (site / "list").write_text(
        row("Domain-0", 0)
        + "".join(row(name, i + 1) for i, name in enumerate(names)))


def environment(site) -> dict:
    return {"PATH": f"{site / 'bin'}:/usr/bin:/bin", "TERM": "dumb",
            "HOME": str(site), "INPUTRC": "/dev/null", "LC_ALL": "C.UTF-8",
            "FAKE_STATE": str(site / "list"), "PS1": "ready>"}


class Shell:
    """An interactive bash, with the completion and nothing else."""

    def __init__(self, site):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"], cwd=site / "work",
            env=environment(site), stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True)
        os.close(slave)
        self.send(f"bind 'set enable-bracketed-paste off'; . {SCRIPT}; "
                  "echo so''urced\n")
        self.until("sourced")

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, text: str) -> None:
        deadline, seen = time.monotonic() + 20, b""
        while text.encode() not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([self.master], [], [], 0.2)[0]:
                seen += os.read(self.master, 4096)

    def line(self, text: str) -> None:
        """Typed, and entered; what is typed behind it comes after it."""
        self.send(text + "\necho don''e\n")
        self.until("done")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def shell(site):
    shell = Shell(site)
    yield shell
    shell.close()


def arguments(site) -> list:
    return (site / "work/arguments").read_text().split("\0")[:-1]


def not_expanded(site) -> bool:
    return not (site / "work/expanded").exists()


@pytest.mark.parametrize("command", ["save", "migrate"])
def test_domains(shell, site, command):
    for name in NAMES:
        domains(site, name)
        shell.line(f"xl-aligned {command} we\t there")
        assert arguments(site) == [command, name, "there"]
        assert not_expanded(site)


def test_all_of_them_at_once(shell, site):
    domains(site, *NAMES)
    shell.line("xl-aligned save we\t\t\t\x15:")
    assert not_expanded(site)
    domains(site, "web a", "db 'x'")
    shell.line("xl-aligned cancel d\t")
    assert arguments(site) == ["cancel", "db 'x'"]


def test_quotes_that_are_open(shell, site):
    domains(site, "web$(>expanded)", "plain")
    for quote in "'\"":
        shell.line(f"xl-aligned save {quote}we\t{quote} there")
        assert arguments(site) == ["save", "we", "there"]
        shell.line(f"xl-aligned save {quote}pl\t there")
        assert arguments(site) == ["save", "plain", "there"]
    assert not_expanded(site)


def test_names_of_several_lines(shell, site):
    """Whatever is offered then, nothing of it runs."""
    domains(site, "web\n$(>expanded)", "web\n" + row("$(>expanded)x", 9))
    for typed in ("we", "", "$", "\\$"):
        shell.line(f"xl-aligned save {typed}\t\t\x15:")
    shell.line("xl-aligned save \\$\t there")
    assert not_expanded(site)
    assert arguments(site)[1].startswith("$(>expanded)")


def test_files(shell, site):
    for name in [*NAMES, "web\nx"]:
        place = site / "work" / name
        place.touch()
        shell.line("xl-aligned restore we\t")
        assert arguments(site) == ["restore", name]
        place.unlink()
        assert not_expanded(site)


def test_programs(shell, site):
    (site / "bin/zzz$(>expanded)").write_text(STUB)
    (site / "bin/zzz$(>expanded)").chmod(0o755)
    shell.line("xl-aligned run zz\t there")
    assert arguments(site) == ["run", "zzz$(>expanded)", "there"]
    assert not_expanded(site)
