# SPDX-License-Identifier: LGPL-2.1-or-later
"""save --progress and --live: what is shown, and what xl is told."""
import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest

from commands.program import (PROGRAM, FakeXl, build_empty_plugin, run,
                              save_file)
from model.generator import Generator
from plugin.bench import PLUGIN, Bench
from support import cc

MIB = 1 << 20
V3 = save_file("v3")

# Half of it in 1.3 seconds, then the commit.
SLOW_XL = r'''#!/usr/bin/python3
import mmap, os, struct, sys, time

progress = os.environ.get("XL_ALIGNED_PROGRESS")
print("env", progress, os.environ.get("XL_ALIGNED_LIVE"),
      file=open(os.environ["FAKE_LOG"], "w"))
if progress:
    with open(progress, "r+b") as file:
        page = mmap.mmap(file.fileno(), 4096)
print("Saving to somewhere", file=sys.stderr)
print("xc: progress: Frames: 512/1024 50%", file=sys.stderr)
for i in range(13):
    if progress:
        struct.pack_into("<IxxxxQQQ", page, 8, 1, 200 << 20,
                         (i + 1) * 8 << 20, (i + 1) * 4 << 20)
    time.sleep(0.1)
if progress:
    struct.pack_into("<I", page, 8, 2)
sys.stderr.write("a line without an end")
sys.stderr.flush()
time.sleep(0.5)
if os.environ["FAKE_XL"] == "fail":
    sys.exit(3)
fd = os.open(sys.argv[-1], os.O_WRONLY | os.O_TRUNC)
os.write(fd, open(os.environ["FAKE_CONTENT"], "rb").read())
os.fsync(fd)
os.rename(os.readlink(f"/proc/self/fd/{fd}"),
          os.environ["XL_ALIGNED_COMMIT_NAME"])
'''


# Its file is open when its stderr goes; by itself, SIGPIPE would end it.
PATIENT_XL = r'''#!/bin/sh
for last; do :; done
exec 3>"$last"
echo started >"$FAKE_LOG"
sleep 1
for i in 1 2 3; do echo "line $i" >&2; done
cat "$FAKE_CONTENT" >&3
mv "$(readlink /proc/$$/fd/3)" "$XL_ALIGNED_COMMIT_NAME"
'''


@pytest.fixture
def xl(tmp_path):
    (tmp_path / "xl").mkdir()
    fake = FakeXl(tmp_path / "xl", build_empty_plugin(tmp_path))
    fake.path.write_text(SLOW_XL)
    fake.will("commit", V3)
    return fake


@pytest.fixture
def file(tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    return tmp_path / "private/file"


def test_json(xl, file):
    result = xl.run("save", "--progress=json", "d", file)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert 2 <= len(lines) <= 4
    assert lines[0]["phase"] in ("start", "memory")
    memory = [line for line in lines if line["phase"] == "memory"]
    assert memory and memory[0]["bytes_total"] == 200 * MIB
    assert 0 < memory[0]["bytes_done"] < memory[0]["bytes_total"]
    assert memory[0]["remaining_seconds"] > 0
    # 8 MiB every tenth of a second.
    assert 20 * MIB < memory[0]["bytes_per_second"] < 100 * MIB
    assert (lines[-1]["phase"], lines[-1]["result"]) == ("ended", "complete")
    assert lines[-1]["bytes_done"] == 104 * MIB
    assert lines[-1]["bytes_written"] == 52 * MIB
    # What xl says is xl's, as ever.
    assert result.stderr.splitlines() == [
        "Saving to somewhere", "xc: progress: Frames: 512/1024 50%",
        "a line without an end"]


def test_json_of_a_failure(xl, file):
    xl.will("fail", b"")
    result = xl.run("save", "--progress=json", "d", file)
    assert result.returncode == 3
    assert json.loads(result.stdout.splitlines()[-1])["result"] == "failed"


def test_plain(xl, file):
    result = xl.run("save", "--progress=plain", "d", file)
    assert result.returncode == 0
    line = last_line(r"d saved to", file, ", 52 MiB of file")
    assert re.search(rf"^(?:a line without an end)?{line}$", result.stderr,
                     re.M)


def last_line(what, file, size="") -> str:
    return (rf"xl-aligned: {what} {re.escape(str(file))}: 104 MiB of "
            rf"memory{size}, in \d\.\d s, \d+ MiB/s")


def on_a_terminal(xl, *arguments) -> tuple:
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(xl.env)
        os.execv(PROGRAM, [PROGRAM, *map(str, arguments)])
    text = b""
    while True:
        try:
            more = os.read(master, 65536)
        except OSError:
            break
        if not more:
            break
        text += more
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.decode()


def screen(text: str) -> list:
    """The lines that are left of it."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        lines.append(line.rsplit("\x1b[K", 1)[-1])
    return lines


@pytest.mark.parametrize("option", ((), ("--progress=bar",)))
def test_bar_on_a_terminal(xl, file, option):
    status, text = on_a_terminal(xl, "save", *option, "d", file)
    assert status == 0
    bars = re.findall(r"memory \[(#*)(\.*)\] +(\d+) %  (\d+) of 200 MiB  "
                      r"\d+ MiB/s  \d+:\d\d left", text)
    assert len(bars) >= 3
    filled = [len(bar[0]) for bar in bars]
    assert filled == sorted(filled) and filled[0] < filled[-1]
    assert len({len(bar[0]) + len(bar[1]) for bar in bars}) <= 3
    assert re.search(r"commit \[#+\.+\]", text)
    # No remains of the bar, and none of xl's own.
    lines = screen(text)
    assert lines[:2] == ["Saving to somewhere", "a line without an end"]
    assert re.fullmatch(last_line("d saved to", file, ", 52 MiB of file"),
                        lines[2])
    assert lines[3:] == [""]


def test_none_on_a_terminal(xl, file):
    status, text = on_a_terminal(xl, "save", "--progress=none", "d", file)
    assert status == 0
    assert "[" not in text and "xc: progress" in text
    assert "env None None" in xl.log.read_text()


def test_nothing_without_a_terminal(xl, file):
    result = xl.run("save", "d", file,
                    env={"XL_ALIGNED_PROGRESS": "/etc/passwd",
                         "XL_ALIGNED_LIVE": "yes"})
    assert result.returncode == 0 and result.stdout == ""
    # Nor from a variable that was left over.
    assert xl.log.read_text() == "env None None\n"


def test_an_unknown_way(xl, file):
    result = xl.run("save", "--progress=loud", "d", file)
    assert result.returncode == 2
    assert "one of bar plain json none" in result.stderr


def test_xl_survives_the_one_who_reads_its_messages(xl, file):
    """A killed xl-aligned is no reason for xl to stop in the middle."""
    xl.path.write_text(PATIENT_XL)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "save", "--progress=bar", "d", str(file)], stderr=slave,
        env={**os.environ, **xl.env})
    os.close(slave)
    deadline = time.monotonic() + 30
    while not xl.log.exists() or not xl.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    while not file.exists():
        assert time.monotonic() < deadline, "xl did not end the save"
        time.sleep(0.05)
    os.close(master)


# ---- restore and dump-core --------------------------------------------------


# Reads half, builds the rest; or its helper waits for SIGTERM.
READING_XL = r'''#!/usr/bin/python3
import mmap, os, signal, struct, subprocess, sys, time

with open(os.environ["FAKE_LOG"], "w") as log:
    print(os.getpid(), os.getpgrp(), os.umask(0o022), *sys.argv[1:], file=log)
page = None
if "XL_ALIGNED_PROGRESS" in os.environ:
    with open(os.environ["XL_ALIGNED_PROGRESS"], "r+b") as file:
        page = mmap.mmap(file.fileno(), 4096)
print("Parsing config from <saved>", flush=True)
print("Loading new save file", file=sys.stderr, flush=True)
for i in range(13):
    if page:
        struct.pack_into("<IxxxxQQQ", page, 8, 1, 200 << 20,
                         (i + 1) * 8 << 20, 0)
    time.sleep(0.1)
if page:
    struct.pack_into("<I", page, 8, 3)
time.sleep(0.5)
if os.environ["FAKE_XL"] == "helper":
    child = subprocess.Popen(["/usr/bin/python3", "-c",
                              "import time; time.sleep(60)",
                              "--restore-domain"])
    with open(os.environ["FAKE_LOG"], "a") as log:
        print("ready", file=log)
    child.wait()
    print("libxl destroys it", file=sys.stderr)
    sys.exit(1)
if os.environ["FAKE_XL"] == "wait":
    with open(os.environ["FAKE_LOG"], "a") as log:
        print("ready", file=log)
    time.sleep(60)
sys.exit(int(os.environ["FAKE_XL"]))
'''

READERS = (("restore", "restored"), ("dump-core", "dumped"))
DONE = {"restore": "web01 restored from", "dump-core": "d dumped to"}


@pytest.fixture
def reader(xl, file):
    """xl-aligned with one of the two commands and this xl."""
    file.write_bytes(V3)
    xl.path.write_text(READING_XL)
    xl.env["FAKE_XL"] = "0"

    def words(command, *options):
        if command == "dump-core":
            return [command, *options, "d", f"{file}.core"]
        return [command, *options, str(file)]
    return words


@pytest.mark.parametrize("command", DONE)
def test_json_of_readers(xl, reader, command):
    result = xl.run(*reader(command, "--progress=json"))
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    phases = [line["phase"] for line in lines]
    assert phases[-1] == "ended" and "memory" in phases
    assert [line["result"] for line in lines[-2:]] == [None, "complete"]
    assert lines[-1]["bytes_done"] == 104 * MIB
    # What xl says goes where no objects are.
    assert result.stderr.splitlines() == ["Parsing config from <saved>",
                                          "Loading new save file"]


@pytest.mark.parametrize("command,word", READERS)
def test_plain_of_readers(xl, reader, command, word):
    words = reader(command, "--progress=plain")
    result = xl.run(*words)
    assert result.returncode == 0
    assert re.search(f"^{last_line(DONE[command], words[-1])}$",
                     result.stderr, re.M)
    assert "Parsing config" in result.stdout


@pytest.mark.parametrize("command,word", READERS)
def test_bar_of_readers(xl, reader, command, word):
    words = reader(command)
    status, text = on_a_terminal(xl, *words)
    assert status == 0
    assert len(re.findall(r"memory \[#*\.*\] +\d+ %  \d+ of 200 MiB  "
                          r"\d+ MiB/s  \d+:\d\d left", text)) >= 3
    assert re.search(r"devices \[#+\.+\]", text)
    lines = screen(text)
    assert lines[:2] == ["Parsing config from <saved>",
                         "Loading new save file"]
    assert re.fullmatch(last_line(DONE[command], words[-1]), lines[2])
    assert lines[3:] == [""]


def test_the_last_line_names_what_is_known(xl, reader, file):
    """Not the domain, if another configuration names it; a domid is one."""
    words = reader("restore", "--progress=plain")
    result = xl.run(*words[:-1], "other.cfg", words[-1])
    assert f"xl-aligned: {file} restored: 104 MiB" in result.stderr
    words = reader("dump-core", "--progress=plain")
    result = xl.run(*words[:-2], "17", words[-1])
    assert f"xl-aligned: domain 17 dumped to {file}.core: " in result.stderr


def test_no_save_is_told_that_is_not_whole(xl, file):
    """xl's word is not enough."""
    xl.will("commit", V3[:-8])
    xl.path.write_text(SLOW_XL.rpartition("os.rename")[0])
    result = xl.run("save", "--progress=plain", "d", file)
    assert result.returncode == 1
    assert "the file is incomplete" in result.stderr
    assert "of memory" not in result.stderr


def test_a_pipe_is_left_to_xl(xl, reader, file, tmp_path):
    """Who opens and closes it breaks it for its writer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = reader("restore", "--progress=plain")
    writer = subprocess.Popen(["cp", file, pipe])
    for env in ({}, {"XL_ALIGNED_PLUGIN": "/none"}):
        assert xl.run(*words[:-1], pipe, env=env).returncode == 0
    read = subprocess.run(["timeout", "20", "cat", pipe], check=True,
                          stdout=subprocess.PIPE).stdout
    assert read == V3 and writer.wait(timeout=20) == 0


@pytest.mark.parametrize("command,word", READERS)
def test_readers_without_a_terminal_become_xl(xl, reader, command, word):
    process = subprocess.Popen([PROGRAM, *reader(command)],
                               env={**os.environ, **xl.env},
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert xl.log.read_text().split()[0] == str(process.pid)


@pytest.mark.parametrize("command,word", READERS)
def test_readers_hand_on_status_and_umask(xl, reader, command, word):
    xl.env["FAKE_XL"] = "7"
    before = os.umask(0o027)
    try:
        result = xl.run(*reader(command, "--progress=plain"))
    finally:
        os.umask(before)
    assert result.returncode == 7 and word not in result.stderr
    pid, group, umask = xl.log.read_text().split()[:3]
    assert pid == group and int(umask) == 0o027


def interrupted(xl, words, action):
    """What is left when it gets SIGINT in the middle."""
    xl.env["FAKE_XL"] = action
    process = subprocess.Popen([PROGRAM, *words], text=True,
                               env={**os.environ, **xl.env},
                               stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not (xl.log.exists() and "ready" in xl.log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_an_interrupted_restore_ends_its_helper(xl, reader):
    """So that libxl destroys what there is; xl itself would just die."""
    status, errors = interrupted(xl, reader("restore", "--progress=plain"),
                                 "helper")
    assert status == 130
    assert ("cancelling the restore; xl will destroy the partial domain"
            in errors)
    assert "libxl destroys it" in errors


def test_an_interrupted_dump_ends_xl(xl, reader):
    status, errors = interrupted(xl, reader("dump-core", "--progress=plain"),
                                 "wait")
    assert status == 130 and "cancelling the dump" in errors


@pytest.mark.parametrize("letter", "FcVA")
def test_a_restore_that_stays_shows_nothing(xl, reader, letter):
    result = xl.run(*reader("restore", f"-{letter}", "--progress=bar"))
    assert result.returncode == 2
    assert f"cannot be used with -{letter}" in result.stderr
    status, text = on_a_terminal(xl, *reader("restore", f"-{letter}"))
    assert status == 0 and "[" not in text


def test_quiet_dump(xl, reader):
    status, text = on_a_terminal(xl, *reader("dump-core", "-q"))
    assert status == 0 and "[" not in text


@pytest.mark.parametrize("command,word", READERS)
def test_readers_without_the_plugin(xl, reader, file, command, word):
    file.write_bytes(save_file("v2"))
    xl.env["XL_ALIGNED_PLUGIN"] = "/none"
    status, text = on_a_terminal(xl, *reader(command))
    assert status == 0 and "[" not in text


# ---- live ----------------------------------------------------------------


@pytest.mark.parametrize("letter", ("-c", "-p"))
def test_live(xl, file, letter):
    result = xl.run("save", letter, "--live", "d", file)
    assert result.returncode == 0
    assert xl.log.read_text() == "env None yes\n"


def test_live_is_for_domains_that_stay(xl, file):
    result = xl.run("save", "--live", "d", file)
    assert result.returncode == 2
    assert "-c or -p" in result.stderr
    assert not xl.log.exists()


def test_live_without_the_plugin(xl, file):
    result = xl.run("save", "-c", "--live", "d", file,
                    env={"XL_ALIGNED_PLUGIN": "/none"})
    assert "is paused during the save" in result.stderr


# ---- with the plugin and a helper ------------------------------------------


def test_the_helper_tells_how_far_it_is(tools, tmp_path, file):
    """Through the plugin and the helper's library, as in a real save."""
    stream = Generator(5, 3000).hvm()
    folder = tmp_path / "bench"
    folder.mkdir()
    bench = Bench(tools, folder, stream, b"")
    # Linked statically, it leaves the environment as it is.
    source = ('#include <unistd.h>\nint main(int c, char **v){execl("%s",'
              '"toolstack","save",v[c-1],(char*)0);return 9;}'
              % (tools / "toolstack"))
    cc(tmp_path / "xl", "-static", source=source)
    result = run("save", "--progress=json", "d", file, env={
        **bench.environment(preload=""), "XL_ALIGNED_XL": str(tmp_path / "xl"),
        "XL_ALIGNED_PLUGIN": str(PLUGIN)})
    assert result.returncode == 0, result.stderr
    last = [json.loads(line) for line in result.stdout.splitlines()
            if line.startswith("{")][-1]
    assert last["result"] == "complete"
    assert last["bytes_done"] == len(stream)
    # The stream; its head and tail are not the helper's.
    size = file.stat().st_size
    assert size - 200 < last["bytes_written"] < size
    # Nothing else that is started hears of it.
    assert "XL_ALIGNED_PROGRESS" not in bench.helper()
