# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a command may replace or remove: not what somebody else could want."""
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from commands.program import (CONFIG, PROGRAM, REGULAR, FakeXl,
                              build_empty_plugin, run, save_file)
from plugin.bench import Bench

V2, V3, COMPAT = (save_file(format_) for format_ in ("v2", "v3", "compat"))
OTHER = save_file("v3", config=CONFIG.replace(b'"web01"', b'"mail1"'))
NAMELESS = save_file("v2", config=b"{}")
CORE = b"\x7fELF\x02".ljust(16, b"\0") + b"\4" + bytes(47)
TEXT = b"root:x:0:0:root:/root:/bin/bash\n"


def name(value) -> str:
    """pytest would take all of it."""
    return value if isinstance(value, str) else f"{len(value)}"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    return build_empty_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def xl(tmp_path, plugin):
    directory = tmp_path / "xl"
    directory.mkdir()
    return FakeXl(directory, plugin)


def wait(until, what: str) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def refused(result, words: str) -> None:
    lines = result.stderr.splitlines()
    assert result.returncode == 1 and len(lines) == 1, result
    assert words in lines[0]


# ---- what has the name ---------------------------------------------------


@pytest.mark.parametrize("there,words", (
    (TEXT, "not a save file"), (CORE, "not a save file"),
    (OTHER, "save file of domain mail1"),
    (NAMELESS, "does not name its domain")), ids=name)
@pytest.mark.parametrize("link", (False, True))
def test_save_replaces_no_other_file(xl, folder, there, words, link):
    file, name = folder / "file", folder / "name"
    file.write_bytes(there)
    name.symlink_to("file") if link else os.link(file, name)
    refused(xl.run("save", "web01", name), words)
    assert file.read_bytes() == there and xl.notes() == []
    assert sorted(os.listdir(folder)) == ["file", "name"]
    xl.will("commit", V2)
    assert xl.run("save", "--force", "web01", name).returncode == 0
    assert name.read_bytes() == V2


@pytest.mark.parametrize("there", (b"", V2, V3, COMPAT, OTHER[:len(OTHER) - 9],
                                   OTHER[:2000], NAMELESS[:-30],
                                   bytes(10000)), ids=name)
def test_save_replaces_its_like_and_what_is_not_whole(xl, folder, there):
    (folder / "file").write_bytes(there)
    xl.will("commit", V2)
    result = xl.run("save", "web01", folder / "file")
    assert (result.returncode, result.stderr) == (0, "")
    assert (folder / "file").read_bytes() == V2


def test_a_domain_id_that_nobody_can_name(xl, folder):
    (folder / "file").write_bytes(V2)
    refused(xl.run("save", "3", folder / "file"), "is unknown")


def test_a_device_with_something_on_it(xl, folder):
    image = folder / "image"
    image.write_bytes(bytes(65536 + 64) + b"_BHRfS_M" + bytes(8 << 20))
    device = subprocess.run(["losetup", "-f", "--show", image],
                            capture_output=True, text=True).stdout.strip()
    if not device:
        pytest.skip("no loop devices here")
    try:
        refused(xl.run("save", "web01", device), "not a save file")
        assert xl.notes() == []
        xl.will("save", V2)
        assert xl.run("save", "--force", "web01", device).returncode == 0
        assert xl.run("save", "web01", device).returncode == 0
        subprocess.run(["blkdiscard", "-z", device], check=True)
        assert xl.run("save", "other", device).returncode == 0
    finally:
        subprocess.run(["losetup", "-d", device], check=True)


def test_convert(folder):
    source, out = folder / "in", folder / "out"
    source.write_bytes(V2)
    for there, words in ((TEXT, "not a save file"), (OTHER, "mail1")):
        out.write_bytes(there)
        refused(run("convert", "--to=v3", source, out), words)
        refused(run("convert", "--to=v3", "-", out, stdin=open(source)),
                words)
        assert out.read_bytes() == there
        assert run("convert", "--to=v3", "--force", source,
                   out).returncode == 0
    # The same domain, and itself, whatever it is called.
    assert run("convert", "--to=v2", source, out).returncode == 0
    source.write_bytes(NAMELESS)
    assert run("convert", "--to=v3", source, source).returncode == 0


@pytest.mark.parametrize("command", (
    ("to-core", "-q", "in", "out"), ("dump-core", "web01", "out")))
def test_cores(xl, folder, command):
    out, link = folder / "victim", folder / "out"
    (folder / "in").write_bytes(V2)
    link.symlink_to(out)
    for there in (TEXT, V3):
        out.write_bytes(there)
        refused(xl.run(*command, cwd=folder), "is not a core")
        assert out.read_bytes() == there and xl.notes() == []
        result = xl.run(command[0], "--force", *command[1:], cwd=folder)
        assert "not a core" not in result.stderr
        xl.log.unlink(missing_ok=True)
    out.write_bytes(CORE)
    assert "not a core" not in xl.run(*command, cwd=folder).stderr


def test_pages(folder):
    out = folder / "out"
    (folder / "in").write_bytes(save_file("v3", REGULAR))
    known = json.loads(run("page", "--json", "in", "0-60",
                           cwd=folder).stdout)
    pfn = next(page["pfn"] for page in known if page["kind"] != "absent")
    pages = ("-o", "out", "in", pfn)
    out.write_bytes(TEXT)
    refused(run("page", *pages, cwd=folder), "exists")
    assert out.read_bytes() == TEXT
    assert run("page", "--force", *pages, cwd=folder).returncode == 0
    assert out.stat().st_size == 4096


# ---- FILE.partial --------------------------------------------------------


@pytest.mark.parametrize("left", (V2, V3, COMPAT, OTHER, TEXT, CORE),
                         ids=name)
def test_a_partial_that_may_be_whole_stays(xl, folder, left):
    """It could be the only copy: xl-aligned was killed, xl was not."""
    partial = folder / "file.partial"
    partial.write_bytes(left)
    for options in ((), ("--force",)):
        refused(xl.run("save", *options, "web01", folder / "file"),
                "file.partial may be whole")
    assert partial.read_bytes() == left and xl.notes() == []


@pytest.mark.parametrize("left", (
    b"", V2[:-8], V2[:300], V3[:len(V3) // 2], OTHER[:4000],
    V2[:V2.index(b"LibxlFmt")] + bytes(1 << 20),
    V2[:V2.index(b"XENF") - 8] + bytes(1 << 20)), ids=name)
def test_a_partial_that_is_unfinished_goes(xl, folder, left):
    (folder / "file.partial").write_bytes(left)
    xl.will("commit", V2)
    result = xl.run("save", "web01", folder / "file")
    assert result.returncode == 0 and "unfinished" in result.stderr
    assert os.listdir(folder) == ["file"]


@pytest.mark.parametrize("signum", (signal.SIGKILL, signal.SIGPIPE))
def test_xl_outlives_the_command(xl, folder, signum):
    """xl destroys the guest; the file has its temporary name and is kept."""
    file, partial = folder / "file", folder / "file.partial"
    fake = xl.path.read_text()
    xl.path.write_text(fake.replace('elif action == "late":', """
elif action == "slow":
    fd = save(partially=True)
    note(ready=os.getpid())
    time.sleep(2)
    os.lseek(fd, 0, 0)
    os.write(fd, open(os.environ["FAKE_CONTENT"], "rb").read())
    note(destroyed=True)
elif action == "late":"""))
    xl.will("slow", V2)
    process = subprocess.Popen([PROGRAM, "save", "web01", file],
                               env={**os.environ, **xl.env})
    wait(lambda: "ready" in str(xl.notes()), "xl does not run")
    process.send_signal(signum)
    if signum == signal.SIGKILL:
        process.wait(10)
        # While xl writes, it cannot be told what becomes of the file.
        refused(xl.run("save", "web01", file), "by another process")
    wait(lambda: "destroyed" in str(xl.notes()), "xl did not go on")
    if signum == signal.SIGPIPE:
        assert process.wait(10) == 0 and file.read_bytes() == V2
        return
    wait(lambda: not Path(f"/proc/{xl.note('ready')}").exists(), "xl stays")
    xl.log.unlink()
    refused(xl.run("save", "web01", file), "may be whole")
    assert partial.read_bytes() == V2 and xl.notes() == []


@pytest.mark.parametrize("option", ("--progress=json", "--progress=plain"))
def test_nobody_reads_what_is_printed(xl, folder, option):
    """save --progress=json | head -1"""
    reader, writer = os.pipe()
    os.close(reader)
    # As xl, and unlike Python, the shell dies of SIGPIPE.
    real = xl.path.rename(xl.directory / "real")
    xl.path.write_text(f'#!/bin/sh\necho "Saving" >&2\nexec {real} "$@"\n')
    xl.path.chmod(0o755)
    xl.will("save", V2)
    result = subprocess.run(
        [PROGRAM, "save", option, "web01", folder / "file"],
        env={**os.environ, **xl.env}, stdout=writer, stderr=writer,
        timeout=60)
    os.close(writer)
    assert result.returncode == 0, result
    assert (folder / "file").read_bytes() == V2


def test_a_killed_xl_and_a_whole_file(xl, folder):
    fake = xl.path.read_text()
    xl.path.write_text(fake.replace('elif action == "kill":', """
elif action == "after":
    save()
    os.kill(os.getpid(), signal.SIGKILL)
elif action == "kill":"""))
    xl.will("after", V2)
    result = xl.run("save", "web01", folder / "file")
    assert result.returncode == 137 and "is complete" in result.stderr
    assert (folder / "file.partial").read_bytes() == V2


# ---- a failed save under plain xl ----------------------------------------


@pytest.mark.parametrize("io", ("auto", "never"))
@pytest.mark.parametrize("why", ("FAKE_STREAM", "FAKE_MEMKB"))
def test_a_failed_save_leaves_no_stub(tools, folder, io, why):
    """xendomains would restore it, and not start the guest."""
    bench = Bench(tools, folder)
    fault = {"FAKE_STREAM": "/nonexistent", "FAKE_MEMKB": str(1 << 40)}[why]
    if (io, why) == ("never", "FAKE_MEMKB"):
        return                      # stock does not ask how large it is
    file, second = folder / "file", folder / "second"
    result = bench.run("save", file, XL_ALIGNED_IO=io, **{why: fault})
    assert result.status == 1 and result.out == "resume\n", result
    assert not file.exists()
    # A name of somebody else's choice stays; what it names is emptied.
    file.touch()
    os.link(file, second)
    result = bench.run("save", file, XL_ALIGNED_IO=io, **{why: fault})
    assert result.status == 1 and second.read_bytes() == b"", result
    if os.geteuid() == 0:
        second.unlink()
        os.chown(file, 65534, 65534)
        bench.run("save", file, XL_ALIGNED_IO=io, **{why: fault})
        assert file.read_bytes() == b""
