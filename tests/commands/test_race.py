# SPDX-License-Identifier: LGPL-2.1-or-later
"""Root saves and dumps into a directory that all can write to, while another
user puts links, pipes and hard links in the way as fast as it can."""
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from commands.program import run
from commands.users import NOBODY, SECRET, V2
from plugin.dumper import HVM, Domain

pytestmark = pytest.mark.skipif(os.geteuid() != 0,
                                reason="only root can be two users")
SECONDS = float(os.environ.get("XL_ALIGNED_RACE_SECONDS", "4"))

# Puts one kind of thing after the other under both names, and reads what
# comes through its pipes.
ATTACKER = r'''
import os, random, sys
directory, victim, trace = sys.argv[1:]
os.chdir(directory)
os.umask(0)
log = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
mine = f"temporary{os.getpid()}"
own = os.open("own", os.O_RDWR | os.O_CREAT, 0o666)
pipes = []
def link(name):
    os.symlink(victim, name)
def hard(name):
    os.link(victim, name)       # the kernel may forbid it
def pipe(name):
    os.mkfifo(name, 0o666)
    pipes.append(os.open(name, os.O_RDONLY | os.O_NONBLOCK))
def file(name):
    os.link("own", name)
def new(name):
    os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
def dangling(name):
    os.symlink(victim + ".new", name)
print("ready", flush=True)
while True:
    name = random.choice(("file", "file.partial"))
    try:
        make = random.choice((link, hard, pipe, file, new, dangling))
        make(mine)
        random.choice((os.rename, os.link))(mine, name)
    except OSError:
        pass
    for action in (lambda: os.unlink(mine),
                   lambda: os.unlink(name) if random.random() < 0.5 else 0):
        try:
            action()
        except OSError:
            pass
    for fd in pipes:
        try:
            if data := os.read(fd, 65536):
                os.write(log, b"pipe %d\n" % len(data))
        except OSError:
            pass
    while len(pipes) > 16:
        os.close(pipes.pop(0))
    if os.fstat(own).st_size:
        os.write(log, b"own\n")
'''


class Race:
    def __init__(self, folder: Path, mode: int) -> None:
        self.shared, self.private = folder / "shared", folder / "private"
        self.shared.mkdir()
        self.shared.chmod(mode)
        self.private.mkdir()
        self.victim = self.private / "victim"
        self.victim.write_bytes(SECRET)
        self.trace = folder / "trace"
        self.trace.touch()
        self.trace.chmod(0o666)
        self.file = self.shared / "file"
        self.good = self.bad = 0

    def begin(self, seconds: float):
        attackers = [subprocess.Popen(
            ["/usr/bin/python3", "-c", ATTACKER, self.shared, self.victim,
             self.trace], user=NOBODY, group=NOBODY, extra_groups=[],
            stdout=subprocess.PIPE) for _ in range(2)]
        for attacker in attackers:
            attacker.stdout.readline()
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                yield
        finally:
            for attacker in attackers:
                attacker.kill()
                attacker.wait()

    def check(self, result, whole) -> None:
        assert self.victim.read_bytes() == SECRET, result
        assert self.victim.stat().st_uid == 0
        assert os.listdir(self.private) == ["victim"], result
        assert self.trace.read_text() == "", result
        if result.returncode:
            self.bad += 1
            return
        self.good += 1
        # A sticky directory keeps what root has put there.
        fd = os.open(self.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            assert stat.S_ISREG(found.st_mode) and found.st_uid == 0
            assert stat.S_IMODE(found.st_mode) == 0o600
            assert whole(file.read()), result
        self.file.unlink()


@pytest.fixture
def hard_links():
    """As on a host whose kernel does not protect them."""
    names = [Path(f"/proc/sys/fs/protected_{what}")
             for what in ("hardlinks", "symlinks", "fifos", "regular")]
    old = [name.read_text() for name in names]
    try:
        for name in names:
            name.write_text("0")
    except OSError:
        pass                        # the kernel's defaults, then
    yield
    for name, value in zip(names, old):
        try:
            name.write_text(value)
        except OSError:
            pass


@pytest.mark.parametrize("mode", (0o1777, 0o777))
def test_save(xl, open_folder, hard_links, mode):
    xl.will("save", V2)
    race = Race(open_folder, mode)
    for _ in race.begin(SECONDS):
        result = xl.run("save", "--force", "web01", race.file)
        race.check(result, lambda data: data == V2 or mode == 0o777)
    assert race.good + race.bad > 10


def test_dump(tools, open_folder, hard_links):
    domain = Domain(open_folder, **{**HVM, "pages": 600, "present": "0-9e"})
    expected = domain.good(tools / "dumper").read_bytes()
    race = Race(open_folder, 0o1777)
    for _ in race.begin(SECONDS):
        result = domain.dump(tools / "dumper", out=race.file)
        race.check(result, lambda data: data == expected)
    assert race.good + race.bad > 10


@pytest.mark.parametrize("kind", ("page", "convert"))
def test_files(open_folder, hard_links, kind):
    (open_folder / "in").write_bytes(V2)
    words = {"page": ("page", "--force", "-o", None, open_folder / "in", "3"),
             "convert": ("convert", "--force", "--to=v2", open_folder / "in",
                         None)}[kind]
    race = Race(open_folder, 0o1777)
    for _ in race.begin(SECONDS / 2):
        result = run(*(race.file if word is None else word
                       for word in words))
        race.check(result, lambda data: len(data) in (4096, len(V2)))
    assert race.good + race.bad > 10


def test_pipe_of_another_user(tools, open_folder):
    """Without a race: it is there from the start."""
    domain = Domain(open_folder, **HVM)
    race = Race(open_folder, 0o1777)
    subprocess.run(["mkfifo", "-m", "666", race.file], user=NOBODY,
                   group=NOBODY, extra_groups=[], check=True)
    reader = os.open(race.file, os.O_RDONLY | os.O_NONBLOCK)
    done = domain.dump(tools / "dumper", out=race.file)
    assert done.returncode == 1 and "belongs to another user" in done.stderr
    assert os.read(reader, 100) == b""
    os.close(reader)
