# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin in a toolstack without Xen: what it takes over, what it leaves
alone, and what it does when it cannot work."""
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from model import layout as L
from model import audit, savefile
from model.generator import Generator
from model.header import with_header
from model.records import record
from plugin.bench import PLUGIN, STREAM_LIBRARY, Bench
from support import BUILD, build_fakes

OURS = ("XL_ALIGNED_STREAM", "XL_ALIGNED_CONFIG", "XL_ALIGNED_FORMAT",
        "XL_ALIGNED_COMMIT_NAME")
TAIL = record(3, b"emulator state")


@pytest.fixture
def bench(tools, tmp_path) -> Bench:
    return Bench(tools, tmp_path, Generator(3).hvm(), TAIL)


def check_v3(path: Path, bench: Bench) -> None:
    """COMPLETE, aligned, and the v2 file that stock would have written."""
    report, decoder, _ = audit.audit(str(path))
    assert not report.faults
    assert decoder.format == "v3"
    assert decoder.header.state == 2
    assert savefile.to_v2(path.read_bytes()) == bench.stock_file()


# -- what it takes over ------------------------------------------------------


def test_file_is_saved_as_v3_and_restored(bench, tmp_path):
    file = tmp_path / "file"
    result = bench.run("save", file)
    assert result.status == 0 and result.out == "destroy\n", result
    assert not result.lines
    check_v3(file, bench)

    result = bench.run("restore", file)
    assert result.status == 0 and not result.lines, result
    assert bench.restored() == bench.stream
    assert (tmp_path / "restored-tail").read_bytes() == TAIL + bytes(8)


@pytest.mark.parametrize("length", range(8))
@pytest.mark.parametrize("format_", ("v3", "compat", "v2"))
def test_every_head_length(bench, tmp_path, format_, length):
    file = tmp_path / "file"
    bench.config = "{" + " " * length + "}"
    result = bench.run("save", file, XL_ALIGNED_FORMAT=format_)
    assert result.status == 0 and not result.lines, result
    report, decoder, _ = audit.audit(str(file))
    assert decoder.format == format_ and not report.faults
    assert savefile.to_v2(file.read_bytes()) == bench.stock_file()
    if format_ == "v2":
        assert file.read_bytes() == bench.stock_file()
    # The plugin reads it, and unless it is v3 so does stock.
    for preload in (str(PLUGIN), "")[:1 if format_ == "v3" else 2]:
        result = bench.run("restore", file, preload=preload)
        assert result.status == 0, result
        if preload:
            assert bench.restored() == bench.stream


def test_stock_refuses_v3(bench, tmp_path):
    file = tmp_path / "file"
    assert bench.run("save", file).status == 0
    result = bench.run("restore", file, preload="")
    assert result.status == 1
    assert "Mandatory record 0x414c0001 not handled" in result.err


def test_stock_file_is_restored(bench, tmp_path):
    file = tmp_path / "file"
    assert bench.run("save", file, preload="").status == 0
    assert file.read_bytes() == bench.stock_file()
    result = bench.run("restore", file)
    assert result.status == 0 and not result.lines, result
    assert bench.helper()["LOADED"] == "yes"
    assert bench.restored() == bench.stream


@pytest.mark.parametrize("fd", (0, 1, 2))
def test_standard_fds(bench, tmp_path, fd):
    """libxl hands the helper a duplicate of these."""
    file = tmp_path / "file"
    result = bench.run("save-on", fd, file)
    assert result.status == 0, result
    check_v3(file, bench)


def test_concurrent_saves(bench, tmp_path):
    files = [tmp_path / f"file{n}" for n in range(12)]
    result = bench.run("save-many", *files)
    assert result.status == 0 and not result.lines, result
    for file in files:
        check_v3(file, bench)


def test_restore_with_ao_how(bench, tmp_path):
    """The helper starts only when the call has returned."""
    file = tmp_path / "file"
    assert bench.run("save", file).status == 0
    result = bench.run("restore-ao", file)
    assert result.status == 0, result
    assert bench.restored() == bench.stream


def test_commit_name(bench, tmp_path):
    final, partial = tmp_path / "final", tmp_path / "final.partial"
    final.write_text("an older one")
    result = bench.run("save", partial, XL_ALIGNED_COMMIT_NAME=str(final))
    assert result.status == 0 and not result.lines, result
    assert not partial.exists()
    check_v3(final, bench)


# -- what it leaves alone ----------------------------------------------------


def test_a_service_cannot_play_the_command(bench, tmp_path):
    """What commands tell the plugin, and nobody has signed."""
    board, file = tmp_path / "board", tmp_path / "file.partial"
    board.write_bytes(b"format=v3\n\0")
    env = {"XL_ALIGNED_NEGOTIATED": str(board), "XL_ALIGNED_LIVE": "no",
           "XL_ALIGNED_COMMIT_NAME": str(tmp_path / "file"),
           "FAKE_LIVE": "yes"}
    for signature in ("", f"{os.getpid()}-1", "1", "junk"):
        result = bench.run("save", file, XL_ALIGNED_BY=signature, **env)
        assert result.status == 0 and not result.lines, result
        assert file.exists() and not (tmp_path / "file").exists()
        folder = tmp_path / f"pipe of {signature}"
        folder.mkdir()
        result, data = bench.send(folder, XL_ALIGNED_BY=signature, **env)
        assert data == bench.stock_file() and not result.lines, result
    flags = {line.split()[2] for line in bench.log()
             if line.startswith("suspend")}
    assert flags == {"flags=2"}
    bench.run("save", file, **env)
    assert (tmp_path / "file").exists()


def test_other_programs_know_nothing_of_it(bench, tmp_path):
    """LD_PRELOAD keeps what others put there, in the order they did."""
    other = "/nonexistent/other.so"
    for preload, rest in ((str(PLUGIN), None),
                          (f"{other}:{PLUGIN}", other),
                          (f"{PLUGIN} {other}", other)):
        for command, name in ((("save", tmp_path / "file"), "script-env"),
                              (("noop",), "noop-env")):
            result = bench.run(*command, preload=preload)
            assert result.status == 0, result
            script = bench.variables(name)
            assert script.get("LD_PRELOAD") == rest
            assert not any(key.startswith("XL_ALIGNED") for key in script)
    # The helper too, once it runs.
    helper = bench.helper()
    assert helper["LOADED"] == "yes"
    assert helper.get("LD_PRELOAD") == other
    assert "XL_ALIGNED_STREAM" not in helper


@pytest.fixture
def script(bench, tmp_path):
    """A shell script that runs the toolstack and ends as that does."""
    def make(name: str, tool, before: str = "") -> Path:
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\n{before}\n"{bench.tools / tool}" "$@"\n'
                        'exit $?\n')
        path.chmod(0o755)
        return path
    return make


@pytest.mark.parametrize("depth", (1, 3))
def test_scripts_hand_it_on(bench, tmp_path, script, depth):
    """As Debian's xl does, which is a script, or xendomains."""
    tool = "toolstack"
    for number in range(depth):
        tool = script(f"script{number}", tool)
    partial, file = tmp_path / "file.partial", tmp_path / "file"
    result = bench.run("save", partial, tool=tool, XL_ALIGNED_FORMAT="compat",
                       XL_ALIGNED_COMMIT_NAME=str(file))
    assert result.status == 0 and not result.lines, result
    assert audit.audit(str(file))[1].format == "compat"
    # What the toolstack starts knows nothing of it, as ever.
    variables = bench.variables("script-env")
    assert "LD_PRELOAD" not in variables
    assert not any(key.startswith("XL_ALIGNED") for key in variables)
    result = bench.run("restore", file, tool=tool)
    assert result.status == 0 and not result.lines, result
    assert bench.helper()["LOADED"] == "yes"


def test_it_is_not_handed_on_for_ever(bench, tmp_path, script):
    """A daemon that a script starts has children, and they have."""
    tool = "toolstack"
    for number in range(12):
        note = f'env >"$FAKE_DIR/env-of-{12 - number}"'
        tool = script(f"script{number}", tool, note)
    result = bench.run("save", tmp_path / "file", tool=tool,
                       XL_ALIGNED_FORMAT="v3")
    check_stock_save(bench, result, tmp_path / "file")
    assert bench.variables("env-of-4")["LD_PRELOAD"] == str(PLUGIN)
    last = bench.variables("env-of-12")
    assert "LD_PRELOAD" not in last
    assert not any(key.startswith("XL_ALIGNED") for key in last)


def test_toolstack_that_is_a_module(bench, tmp_path):
    """libvirtd has no libxenlight when it starts."""
    file = tmp_path / "file"
    result = bench.run("save", file, tool="daemon")
    assert result.status == 0 and result.out == "destroy\n", result
    assert not result.lines
    check_v3(file, bench)
    assert bench.variables("early-env")["LD_PRELOAD"] == str(PLUGIN)
    variables = bench.variables("script-env")
    assert "LD_PRELOAD" not in variables
    assert not any(key.startswith("XL_ALIGNED") for key in variables)
    result = bench.run("restore", file, tool="daemon")
    assert result.status == 0 and not result.lines, result
    assert bench.restored() == bench.stream
    result = bench.run("save-many", *(tmp_path / f"f{n}" for n in range(6)),
                       tool="daemon", XL_ALIGNED_FORMAT="compat")
    assert result.status == 0 and not result.lines, result
    assert audit.audit(str(tmp_path / "f5"))[1].format == "compat"


def check_stock_save(bench, result, file) -> None:
    assert result.status == 0 and result.out == "destroy\n", result
    assert file.read_bytes() == bench.stock_file()
    assert "LOADED" not in bench.helper()


def test_save_with_ao_how_is_stock(bench, tmp_path):
    result = bench.run("save-ao", tmp_path / "file")
    check_stock_save(bench, result, tmp_path / "file")
    assert not result.lines
    assert "suspend domid=1 flags=0 ao=1" in bench.log()


def test_checkpointed_streams_are_stock(bench, tmp_path):
    file = tmp_path / "file"
    result = bench.run("remus", file)
    check_stock_save(bench, result, file)
    result = bench.run("restore-remus", file)
    assert result.status == 0 and not result.lines, result
    assert "LOADED" not in bench.helper()
    assert bench.restored() == bench.stream


def test_append_is_stock(bench, tmp_path):
    """Where every write goes to the end, offsets mean nothing."""
    result = bench.run("append", tmp_path / "file")
    check_stock_save(bench, result, tmp_path / "file")


@pytest.mark.parametrize("how", ("command", "environment", "left over",
                                 "file"))
def test_pipe(bench, tmp_path, how):
    """v2, unless this one command asked for more: what a service has in its
    environment is not about its migrations."""
    config = tmp_path / "own.conf"
    config.write_text('format = "v3"\n')
    env = {"XL_ALIGNED_FORMAT": "v3", "XL_ALIGNED_PIPE": "yes"}
    if how == "environment":
        env["XL_ALIGNED_PIPE"] = env["XL_ALIGNED_BY"] = ""
    elif how == "left over":
        env["XL_ALIGNED_BY"] = f"{os.getpid()}-1"
    elif how == "file":
        env = {"XL_ALIGNED_CONFIG": str(config)}
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "read", "wb") as read:
        reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=read)
    result = bench.run("save", tmp_path / "pipe", **env)
    reader.wait(timeout=20)
    data = (tmp_path / "read").read_bytes()
    assert result.status == 0 and not result.lines, result
    if how != "command":
        assert data == bench.stock_file()
        assert "LOADED" not in bench.helper()
    else:
        assert savefile.to_v2(data) == bench.stock_file() != data

    # A pipe can be restored from, whatever comes through it.
    writer = subprocess.Popen(["tee", tmp_path / "pipe"],
                              stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL)
    process = bench.start("restore", tmp_path / "pipe")
    writer.communicate(data, timeout=20)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert bench.restored() == bench.stream


# -- when it cannot work -----------------------------------------------------


def check_falls_back(bench, tmp_path, word, **env) -> None:
    """One warning line, and what stock would have done."""
    file = tmp_path / "file"
    result = bench.run("save", file, **env)
    check_stock_save(bench, result, file)
    assert len(result.lines) == 1, result
    assert result.lines[0].startswith("libxl-aligned: warning: ")
    assert word in result.lines[0]
    result = bench.run("restore", file, **env)
    assert result.status == 0 and len(result.lines) == 1, result
    assert bench.restored() == bench.stream


@pytest.mark.parametrize("soname", ("libxenlight.so.4.13",
                                    "libxenlight.so.5.0",
                                    "libxenlight.so"))
def test_unknown_version(tmp_path_factory, tmp_path, soname):
    tools = tmp_path_factory.mktemp("other")
    build_fakes(tools, soname)
    bench = Bench(tools, tmp_path)
    check_falls_back(bench, tmp_path, soname, XL_ALIGNED_CONFIG="")


def test_newer_version(tmp_path_factory, tmp_path):
    tools = tmp_path_factory.mktemp("newer")
    build_fakes(tools, "libxenlight.so.4.22")
    bench = Bench(tools, tmp_path)
    result = bench.run("save", tmp_path / "file", XL_ALIGNED_CONFIG="")
    assert result.status == 0 and not result.lines, result
    check_v3(tmp_path / "file", bench)


@pytest.mark.parametrize("text, word", (
    ("format = \n", "own.conf"),
    ('format = "v4"\n', 'format: "v4"'),
    ('format = [ "v3", "v2" ]\n', "format: not a string"),
    ('io = "sideways"\n', 'io: "sideways"'),
    ('restore_io = "window"\n', "restore_io"),
    ("reserve = 7\n", "reserve"),
    (None, "No such file"),
    ("a directory", "Is a directory"),
))
def test_broken_config(bench, tmp_path, text, word):
    config = tmp_path / "own.conf"
    if text == "a directory":       # at which Xen's parser ends the process
        config.mkdir()
    elif text is not None:
        config.write_text(text)
    check_falls_back(bench, tmp_path, word, XL_ALIGNED_CONFIG=str(config))


@pytest.mark.parametrize("name", ("FORMAT", "IO", "ENGINE", "RESTORE_IO",
                                  "RESERVE"))
def test_broken_environment(bench, tmp_path, name):
    check_falls_back(bench, tmp_path, f'XL_ALIGNED_{name}: "never"',
                     **{f"XL_ALIGNED_{name}": "never"})


def test_commit_name_is_honoured_all_the_same(bench, tmp_path):
    final, partial = tmp_path / "final", tmp_path / "final.partial"
    result = bench.run("save", partial, XL_ALIGNED_IO="never",
                       XL_ALIGNED_COMMIT_NAME=str(final))
    assert result.status == 0 and len(result.lines) == 1, result
    assert final.read_bytes() == bench.stock_file()
    assert not partial.exists()


@pytest.mark.parametrize("damage", ("missing", "text", "dependency"))
def test_helper_library_unusable(bench, tmp_path, damage):
    folder = tmp_path / "install"
    folder.mkdir()
    plugin = shutil.copy(PLUGIN, folder)
    library = folder / STREAM_LIBRARY.name
    if damage == "text":
        library.write_text("no library")
    elif damage == "dependency":
        data = STREAM_LIBRARY.read_bytes()
        library.write_bytes(data.replace(b"liburing.so", b"libnosuch.so"[:11]))
    check_falls_back(bench, tmp_path, "lib", preload=plugin)


def test_path_that_cannot_be_preloaded(bench, tmp_path):
    """The plugin came in through a link; its own place has a space."""
    folder = tmp_path / "with space"
    folder.mkdir()
    shutil.copy(STREAM_LIBRARY, folder)
    link = tmp_path / "plugin.so"
    link.symlink_to(shutil.copy(PLUGIN, folder))
    check_falls_back(bench, tmp_path, "space or colon", preload=str(link))


def test_other_name_in_preload(bench, tmp_path):
    """Taken out of LD_PRELOAD under whatever name it was there."""
    link = tmp_path / "plugin.so"
    link.symlink_to(PLUGIN)
    result = bench.run("save", tmp_path / "file", preload=str(link))
    assert result.status == 0 and not result.lines, result
    assert "LD_PRELOAD" not in bench.variables("script-env")
    check_v3(tmp_path / "file", bench)


def test_helper_in_a_wrapper(bench, tmp_path):
    """LIBXL_SAVE_HELPER may be a script that starts the helper."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\n"{bench.tools}/helper" "$@"\n')
    wrapper.chmod(0o755)
    result = bench.run("save", tmp_path / "file",
                       LIBXL_SAVE_HELPER=str(wrapper))
    assert result.status == 0 and not result.lines, result
    check_v3(tmp_path / "file", bench)


def test_helper_without_its_library(bench, tmp_path):
    """AppArmor may keep LD_PRELOAD from the helper of libvirt: the file is
    stock's, whole, and somebody says so."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text('#!/bin/sh\nunset LD_PRELOAD\n'
                       f'exec "{bench.tools}/helper" "$@"\n')
    wrapper.chmod(0o755)
    file, partial = tmp_path / "file", tmp_path / "file.partial"
    for format_, lines in (("v3", 1), ("compat", 1), ("v2", 0)):
        result = bench.run("save", partial, LIBXL_SAVE_HELPER=str(wrapper),
                           XL_ALIGNED_FORMAT=format_,
                           XL_ALIGNED_COMMIT_NAME=str(file))
        assert result.status == 0 and len(result.lines) == lines, result
        if lines:
            assert f"saved as v2, not {format_}" in result.lines[0]
        assert audit.audit(str(file))[1].format == "v2"
        result = bench.run("restore", file, preload="")
        assert result.status == 0, result
        file.unlink()


GOOD = ("fd={fd};mode=save;format=v3;io=auto;engine=auto;reserve=0;"
        "head_padding=0")


@pytest.mark.parametrize("text, lines", (
    (GOOD, 0),
    (GOOD + ";colour=blue", 1),
    (GOOD.replace("save", "restore"), 1),
    (GOOD.replace("{fd}", "77"), 1),
    (GOOD.replace("v3", "v9"), 1),
    (GOOD.replace("reserve=0", "reserve=-1"), 1),
    (GOOD.replace("head_padding=0", "head_padding=8"), 1),
    (GOOD + ";" * 600, 1),
    ("", 1),
    ("fd", 1),
))
def test_what_the_helper_is_told(bench, tmp_path, text, lines):
    """One warning line and stock's stream unless all of it is sound."""
    with open(tmp_path / "file", "wb") as file:
        fd = file.fileno()
        env = bench.environment(preload=str(STREAM_LIBRARY))
        env["XL_ALIGNED_STREAM"] = text.format(fd=fd)
        done = subprocess.run(
            [bench.tools / "helper", "--save-domain", str(fd), "-1", "1",
             "0", "0", "0"], env=env, pass_fds=(fd,), capture_output=True,
            timeout=20)
    assert done.returncode == 0 and done.stdout == b"", done.stderr
    assert len(done.stderr.splitlines()) == lines, done.stderr
    data = (tmp_path / "file").read_bytes()
    assert (data == bench.stream) == (lines == 1)
    assert "XL_ALIGNED_STREAM" not in bench.helper()


def test_installed_beside(bench, tmp_path):
    folder = tmp_path / "install"
    (folder / "xl-aligned").mkdir(parents=True)
    plugin = shutil.copy(PLUGIN, folder)
    shutil.copy(STREAM_LIBRARY, folder / "xl-aligned")
    result = bench.run("save", tmp_path / "file", preload=plugin)
    assert result.status == 0 and not result.lines, result
    check_v3(tmp_path / "file", bench)


def test_config_file(bench, tmp_path):
    config = tmp_path / "own.conf"
    config.write_text('format = "compat" # as every Xen reads it\n'
                      'reserve = "no"\n')
    result = bench.run("save", tmp_path / "file",
                       XL_ALIGNED_CONFIG=str(config))
    assert result.status == 0 and not result.lines, result
    assert audit.audit(str(tmp_path / "file"))[1].format == "compat"
    # The environment wins.
    result = bench.run("save", tmp_path / "file", XL_ALIGNED_FORMAT="v3",
                       XL_ALIGNED_CONFIG=str(config))
    check_v3(tmp_path / "file", bench)


def test_installed_example_is_sound(bench, tmp_path):
    """As it is, and with every setting in it switched on."""
    text = (BUILD.parent / "docs" / "xl-aligned.conf.example").read_text()
    config = tmp_path / "own.conf"
    on = [line[1:] if line.startswith("#") and " = " in line
          and not line.startswith("# ") else line
          for line in text.splitlines(True)]
    assert sum(" = " in line and line[0] != "#" for line in on) == 6
    for version in (text, "".join(on)):
        config.write_text(version)
        result = bench.run("save", tmp_path / "file",
                           XL_ALIGNED_CONFIG=str(config))
        assert result.status == 0 and not result.lines, result
        check_v3(tmp_path / "file", bench)


# -- refusals and failures ---------------------------------------------------


def saved(bench, path: Path) -> bytearray:
    assert bench.run("save", path).status == 0
    (path.parent / "log").unlink()
    return bytearray(path.read_bytes())


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


def limit_file_size(octets: int):
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets))
    return limit


def test_error_while_writing(tools, tmp_path):
    """EFBIG half way: one line with the file, the guest runs on, no file."""
    bench = Bench(tools, tmp_path, Generator(5, pages=4000).pv())
    partial = tmp_path / "new.partial"
    limit = len(bench.stream) // 4 & ~4095
    result = bench.run("save", partial, XL_ALIGNED_RESERVE="no",
                       XL_ALIGNED_COMMIT_NAME=str(tmp_path / "new"),
                       before=limit_file_size(limit))
    assert result.status == 1 and result.out == "resume\n", result
    assert len(result.lines) == 1, result
    assert result.lines[0].count(str(partial)) == 1
    assert "File too large" in result.err
    assert not partial.exists() and not (tmp_path / "new").exists()


def wait_for(path: Path, process) -> None:
    for _ in range(500):
        if path.exists():
            return
        assert process.poll() is None
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


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
    wait_for(tmp_path / "paused", process)
    if group:
        os.killpg(process.pid, signum)
    else:
        process.send_signal(signum)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and out == b"resume\n", err
    assert not partial.exists() and not (tmp_path / "new").exists()
    if not group:
        assert b"given up on request" in err


def test_helper_killed(bench, tmp_path):
    partial = tmp_path / "new.partial"
    process = bench.start("save", partial, FAKE_PAUSE="3",
                          XL_ALIGNED_COMMIT_NAME=str(tmp_path / "new"))
    wait_for(tmp_path / "paused", process)
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
            # (-6: the log of the stand-in for libxl.)
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


# -- the API -----------------------------------------------------------------


def test_api_save_and_restore(bench, tmp_path):
    partial, final = tmp_path / "new.partial", tmp_path / "new"
    result = bench.run("api-save", partial, final, tool="toolstack-api",
                       preload="")
    assert result.status == 0 and not result.lines, result
    assert not partial.exists()
    check_v3(final, bench)
    result = bench.run("api-restore", final, tool="toolstack-api", preload="")
    assert result.status == 0, result
    assert "probe: 0 2 \n" in result.out and "created" in result.out
    assert bench.restored() == bench.stream


def test_api_async(bench, tmp_path):
    result = bench.run("api-async", tmp_path / "file", tool="toolstack-api",
                       preload="")
    assert result.status == 0 and not result.lines, result
    check_v3(tmp_path / "file", bench)
    # A failure that comes later is passed on.
    result = bench.run("api-async", tmp_path / "file", tool="toolstack-api",
                       preload="", FAKE_STREAM="/nonexistent")
    assert result.status == 1 and result.out == "resume\n", result


def test_api_probe_refuses(bench, tmp_path):
    file = tmp_path / "file"
    data = saved(bench, file)
    file.write_bytes(data[:-1])
    result = bench.run("api-restore", file, tool="toolstack-api", preload="")
    assert result.status == 1 and "cut off" in result.out, result
