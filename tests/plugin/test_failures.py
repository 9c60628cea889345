# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin in a toolstack without Xen: files that it refuses to restore,
and saves that fail, at each system call."""
import os
import signal
from pathlib import Path

import pytest

from model import layout as L
from model import savefile
from model.generator import Generator
from model.header import with_header
from plugin.bench import PLUGIN, Bench, check_v3, limited_files, saved


def check_refused(bench, path: Path, *words) -> None:
    """Before libxl has heard of it, so before there is a domain."""
    result = bench.run("restore", path)
    assert result.status == 1 and result.out == "failed\n", result
    assert len(result.lines) == 1
    assert result.lines[0].startswith("libxl-aligned: not restored: ")
    for word in words:
        assert word in result.lines[0]
    assert not (path.parent / "log").exists()


def test_unfinished_is_refused(bench, tmp_path):
    file = tmp_path / "file"
    data = saved(bench, file)
    start = len(savefile.xl_head(b"{}")) + 24
    # As a crash before the commit would have left it.
    file.write_bytes(data[:start] + with_header(
        bytes(data[start:]), state=L.UNFINISHED, file_length=0,
        head_checksum=0, tail_checksum=0))
    check_refused(bench, file, str(file), "not complete")


@pytest.mark.parametrize("cut", (1, 8, 24, 4096))
def test_truncated_is_refused(bench, tmp_path, cut):
    file = tmp_path / "file"
    data = saved(bench, file)
    file.write_bytes(data[:-cut])
    check_refused(bench, file, str(file))


@pytest.mark.parametrize("where", ("config", "libxl", "image", "header",
                                   "tail"))
def test_damage_outside_pages_is_refused(bench, tmp_path, where):
    file = tmp_path / "file"
    data = saved(bench, file)
    libxl = len(savefile.xl_head(b"{}"))
    at = {"config": 53, "libxl": libxl + 3, "image": libxl + 24 + 9,
          "header": libxl + 24 + 40 + 8 + 60, "tail": len(data) - 12}[where]
    data[at] ^= 4
    file.write_bytes(data)
    check_refused(bench, file, str(file))


def test_damaged_page_ends_the_restore(bench, tmp_path):
    """With file, offset and record; nothing of the batch is handed on."""
    file = tmp_path / "file"
    data = saved(bench, file)
    at = (len(data) // 2) & ~4095
    data[at] ^= 1
    file.write_bytes(data)
    result = bench.run("restore", file)
    assert result.status == 1 and len(result.lines) == 1, result
    line = result.lines[0]
    assert line.count(str(file)) == 1 and "offset" in line
    assert bench.stream.startswith(bench.restored())
    assert len(bench.restored()) < len(bench.stream)


def test_no_space_is_found_before_the_suspend(bench, tmp_path):
    partial, final = tmp_path / "new.partial", tmp_path / "new"
    final.write_text("an older one")
    result = bench.run("save", partial, XL_ALIGNED_COMMIT_NAME=str(final),
                       FAKE_MEMKB=str(1 << 40))
    assert result.status == 1 and result.out == "resume\n", result
    assert len(result.lines) == 1 and "MiB" in result.lines[0]
    assert not partial.exists()
    assert final.read_text() == "an older one"
    assert not (tmp_path / "log").exists()


def test_reserve_off(bench, tmp_path):
    result = bench.run("save", tmp_path / "file", XL_ALIGNED_RESERVE="no",
                       FAKE_MEMKB=str(1 << 40))
    assert result.status == 0 and not result.lines, result
    check_v3(tmp_path / "file", bench)


def test_reserved_space_does_not_stay(bench, tmp_path):
    file = tmp_path / "file"
    result = bench.run("save", file, FAKE_MEMKB=str(64 << 10))
    assert result.status == 0, result
    check_v3(file, bench)
    assert file.stat().st_blocks * 512 < 16 << 20

    result = bench.run("save", file, FAKE_MEMKB=str(64 << 10),
                       FAKE_STREAM="/nonexistent")
    assert result.status == 1 and result.out == "resume\n", result
    assert not file.exists()


def test_error_while_writing(tools, tmp_path):
    """EFBIG half way: one line with the file, the guest runs on, no file."""
    bench = Bench(tools, tmp_path, Generator(5, pages=4000).pv())
    partial = tmp_path / "new.partial"
    limit = len(bench.stream) // 4 & ~4095
    result = bench.run("save", partial, XL_ALIGNED_RESERVE="no",
                       XL_ALIGNED_COMMIT_NAME=str(tmp_path / "new"),
                       before=limited_files(limit))
    assert result.status == 1 and result.out == "resume\n", result
    assert len(result.lines) == 1, result
    assert result.lines[0].count(str(partial)) == 1
    assert "File too large" in result.err
    assert not partial.exists() and not (tmp_path / "new").exists()


@pytest.mark.parametrize("group", (False, True))
@pytest.mark.parametrize("signum", (signal.SIGINT, signal.SIGTERM,
                                    signal.SIGHUP))
def test_interrupted(bench, tmp_path, signum, group):
    """A signal, to the toolstack or (Ctrl-C) to its whole group: the guest
    runs on, and there is no file."""
    partial = tmp_path / "new.partial"
    process = bench.start("save", partial, FAKE_PAUSE="3",
                          XL_ALIGNED_COMMIT_NAME=str(tmp_path / "new"),
                          before=os.setsid)
    bench.wait_paused(process)
    if group:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and out == b"resume\n", err
    assert not partial.exists() and not (tmp_path / "new").exists()
    if not group:
        assert b"save cancelled" in err


def test_helper_killed(bench, tmp_path):
    partial = tmp_path / "new.partial"
    process = bench.start("save", partial, FAKE_PAUSE="3",
                          XL_ALIGNED_COMMIT_NAME=str(tmp_path / "new"))
    bench.wait_paused(process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and out == b"resume\n", err
    assert not partial.exists() and not (tmp_path / "new").exists()


CALLS = ("open", "fstat", "fstatat", "lstat", "lseek", "ftruncate",
         "fallocate", "fsync", "fdatasync", "rename", "renameat", "renameat2",
         "readlink", "pread", "pwrite",
         "mmap", "calloc", "strdup", "io_uring_queue_init", "io_uring_submit")


def with_faults(bench, tmp_path, call: str, program: str, *args, **env):
    """A Result for each call of `call` that the program makes: it fails."""
    mark = tmp_path / "fault"
    for number in range(1, 200):
        yield lambda: bench.run(
            *args, preload=f"{bench.tools / 'faults.so'}:{PLUGIN}",
            FAULT_CALL=call, FAULT_IN=program, FAULT_N=str(number),
            FAULT_MARK=str(mark), **env)
        if not mark.exists():
            return
        mark.unlink()
    raise AssertionError(f"no end of {call}")


@pytest.mark.parametrize("program", ("toolstack", "helper"))
@pytest.mark.parametrize("call", CALLS)
def test_every_failing_call(bench, tmp_path, call, program):
    """Either the new file is whole and the guest may go, or the guest runs
    on and the old file is as it was."""
    final, partial = tmp_path / "new", tmp_path / "new.partial"
    for run in with_faults(bench, tmp_path, call, program, "save", partial,
                           XL_ALIGNED_COMMIT_NAME=str(final)):
        final.write_text("an older one")
        result = run()
        if result.status == 0:
            assert result.out == "destroy\n", result
            assert savefile.to_v2(final.read_bytes()) == bench.stock_file()
        else:
            # (-6: the log of the fake libxl.)
            assert result.status in (1, 2, -6), result
            assert "destroy" not in result.out, result
            assert final.read_text() == "an older one"
        partial.unlink(missing_ok=True)


@pytest.mark.parametrize("program", ("toolstack", "helper"))
@pytest.mark.parametrize("call", CALLS)
def test_every_failing_call_of_a_restore(bench, tmp_path, call, program):
    file = tmp_path / "file"
    assert bench.run("save", file).status == 0
    data = file.read_bytes()
    for run in with_faults(bench, tmp_path, call, program, "restore", file):
        result = run()
        assert result.status in (0, 1, 2, -6), result
        if result.status == 0:
            assert result.out == "created\n"
            assert bench.restored() == bench.stream
        assert file.read_bytes() == data
