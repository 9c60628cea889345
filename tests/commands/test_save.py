# SPDX-License-Identifier: LGPL-2.1-or-later
"""save, restore and run: what they start xl with, what save does to files."""
import fcntl
import os
import pty
import re
import select
import signal
import stat
import subprocess
import threading
import time

import pytest

from commands.program import PROGRAM, one_line, run, save_file
from support import eventually

V2 = save_file("v2")
OLD = save_file("v2", seed=8)


@pytest.fixture
def shared(tmp_path):
    """A directory in which every user may rename and remove files."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def names(folder):
    return sorted(os.listdir(folder))


# ---- run ---------------------------------------------------------------


def test_run_hands_on_arguments_and_status(xl):
    xl.will("exit:7")
    result = xl.run("run", "--", "xl", "-v", "list", "--long", "a b")
    assert (result.returncode, result.stderr) == (7, "")
    assert xl.note("argv")[1:] == ["-v", "list", "--long", "a b"]
    assert xl.note("env")["LD_PRELOAD"] == str(xl.plugin)


def test_run_without_dashes_leaves_the_commands_options(xl):
    xl.run("run", "--format=compat", "xl", "save", "-c", "--help")
    assert xl.note("argv")[1:] == ["save", "-c", "--help"]
    assert xl.note("env")["XL_ALIGNED_FORMAT"] == "compat"


def test_run_finds_xl_in_path(xl):
    env = {**xl.env, "PATH": f"/nowhere::{xl.directory}:/usr/bin:/bin"}
    del env["XL_ALIGNED_XL"]
    assert run("run", "xl", "list", env=env).returncode == 0
    assert xl.note("argv") == [str(xl.path), "list"]


def test_run_of_another_program(xl):
    result = xl.run("run", "--", "sh", "-c", 'echo "$LD_PRELOAD" "$1"', "sh",
                    "x")
    assert result.stdout == f"{xl.plugin} x\n"


def test_run_of_nothing(xl):
    error = one_line(xl.run("run", "/nonexistent"), 127)
    assert "/nonexistent: No such file" in error


def test_preload_of_others_is_kept(xl, plugin):
    xl.run("run", "xl", "list", env={"LD_PRELOAD": f"{plugin}"})
    assert xl.note("env")["LD_PRELOAD"] == f"{plugin}:{plugin}"


def test_settings_reach_the_plugin(xl):
    xl.run("run", "--format=v2", "--io=window", "--engine=thread",
           "--restore-io=buffered", "xl", "list",
           env={"XL_ALIGNED_FORMAT": "v3", "XL_ALIGNED_RESERVE": "no"})
    env = xl.note("env")
    assert {k: env[k] for k in env if k[11:] in (
        "FORMAT", "IO", "ENGINE", "RESTORE_IO", "RESERVE")} == {
        "XL_ALIGNED_FORMAT": "v2", "XL_ALIGNED_IO": "window",
        "XL_ALIGNED_ENGINE": "thread", "XL_ALIGNED_RESTORE_IO": "buffered",
        "XL_ALIGNED_RESERVE": "no"}


def test_missing_plugin_is_one_warning(xl):
    result = xl.run("run", "xl", "list",
                    env={"XL_ALIGNED_PLUGIN": "/nowhere/plugin.so"})
    assert result.returncode == 0
    assert result.stderr.count("\n") == 1
    assert "warning: no plugin at /nowhere/plugin.so" in result.stderr
    assert "LD_PRELOAD" not in xl.note("env")


@pytest.mark.parametrize("command", [
    ["run", "xl", "list"], ["restore", "FILE"], ["save", "d", "/dev/null"]])
def test_what_commands_tell_is_dropped_from_outside(xl, command):
    names = {f"XL_ALIGNED_{name}" for name in (
        "COMMIT_NAME", "LIVE", "NEGOTIATED", "PEER", "PIPE")}
    xl.run(*command, env=dict.fromkeys(names, "/etc/passwd"))
    assert not names & set(xl.note("env"))


# ---- restore -----------------------------------------------------------


def test_restore_hands_on_arguments(xl, folder):
    file = folder / "file"
    file.write_bytes(V2)
    xl.will("exit:5")
    result = xl.run("restore", "-pe", "--io=direct", "--vncviewer", "config",
                    "-d", file)
    assert (result.returncode, result.stderr) == (5, "")
    assert xl.note("argv")[1:] == ["restore", "-p", "-e", "-V", "-d",
                                   "config", str(file)]
    assert xl.note("env")["XL_ALIGNED_RESTORE_IO"] == "direct"
    assert "XL_ALIGNED_IO" not in xl.note("env")


def test_restore_of_a_name_like_an_option(xl):
    xl.run("restore", "--", "-p")
    assert xl.note("argv")[1:] == ["restore", "--", "-p"]


@pytest.mark.parametrize("format_,runs", [("v3", False), ("compat", True),
                                          ("v2", True)])
def test_restore_without_plugin(xl, folder, format_, runs):
    file = folder / "file"
    file.write_bytes(save_file(format_))
    result = xl.run("restore", file, env={"XL_ALIGNED_PLUGIN": "/nowhere"})
    assert bool(xl.notes()) == runs
    assert result.returncode == (0 if runs else 1)
    assert "warning: no plugin" in result.stderr
    assert ("convert --to=v2" in result.stderr) == (not runs)


# ---- save: where the file goes -----------------------------------------


def test_save_commits_as_the_plugin_does(xl, folder):
    file = folder / "file"
    file.write_bytes(OLD)
    xl.will("commit", V2)
    result = xl.run("save", "--format=compat", "--io=buffered",
                    "--engine=uring", "-c", "web01", file)
    assert (result.returncode, result.stderr) == (0, "")
    assert file.read_bytes() == V2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names(folder) == ["file"]
    argv, env = xl.note("argv"), xl.note("env")
    assert argv[1:4] == ["save", "-c", "web01"]
    assert argv[4].startswith("/proc/")
    assert env["XL_ALIGNED_COMMIT_NAME"] == str(file)
    assert (env["XL_ALIGNED_FORMAT"], env["XL_ALIGNED_IO"],
            env["XL_ALIGNED_ENGINE"]) == ("compat", "buffered", "uring")
    # The command knows the reader, if the file is a pipe, and signs it.
    assert env["XL_ALIGNED_PIPE"] == "yes"
    assert re.fullmatch(r"\d+-\d+", env["XL_ALIGNED_BY"])
    assert xl.note("umask") == 0o077


def test_save_hands_on_flags_and_config(xl, folder):
    xl.env["FAKE_CONFIG"] = "yes"
    xl.will("commit", V2)
    result = xl.run("save", "web01", folder / "file", "the config", "-pD")
    assert result.returncode == 0
    argv = xl.note("argv")
    assert argv[1:5] == ["save", "-p", "-D", "web01"]
    assert argv[6:] == ["the config"]


def test_save_names_the_file_absolutely(xl, folder):
    xl.will("commit", V2)
    result = xl.run("save", "web01", "file", cwd=folder)
    assert result.returncode == 0
    assert xl.note("env")["XL_ALIGNED_COMMIT_NAME"] == str(folder / "file")


@pytest.mark.parametrize("plugin_is_there", [True, False])
def test_save_renames_what_the_plugin_did_not(xl, folder, plugin_is_there):
    """It did nothing, or is not installed: a stock save, committed here."""
    file = folder / "file"
    file.write_bytes(OLD)
    xl.will("save", V2)
    env = {} if plugin_is_there else {"XL_ALIGNED_PLUGIN": "/nowhere"}
    result = xl.run("save", "web01", file, env=env)
    assert result.returncode == 0
    assert ("warning" in result.stderr) != plugin_is_there
    assert file.read_bytes() == V2
    assert names(folder) == ["file"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_save_keeps_what_xl_calls_a_success(xl, folder):
    """The domain may be gone: never remove the file, never rename junk."""
    file = folder / "file"
    file.write_bytes(OLD)
    xl.will("save", b"not a save file")
    result = xl.run("save", "web01", file)
    assert "kept as" in one_line(result, 1)
    assert file.read_bytes() == OLD
    assert (folder / "file.partial").read_bytes() == b"not a save file"


@pytest.mark.parametrize("status", [1, 3, 255])
def test_failed_save_leaves_nothing(xl, folder, status):
    file = folder / "file"
    file.write_bytes(OLD)
    xl.will(f"fail:{status}", V2)
    result = xl.run("save", "web01", file)
    assert (result.returncode, result.stderr) == (status, "")
    assert file.read_bytes() == OLD
    assert names(folder) == ["file"]


def test_killed_xl_leaves_nothing(xl, folder):
    xl.will("kill", V2)
    result = xl.run("save", "web01", folder / "file")
    assert "may still be suspended" in one_line(result, 128 + 9)
    assert names(folder) == []


def test_xl_that_cannot_be_run(xl, folder):
    result = xl.run("save", "web01", folder / "file",
                    env={"XL_ALIGNED_XL": "/nonexistent/xl"})
    assert "/nonexistent/xl" in one_line(result, 127)
    assert names(folder) == []


@pytest.mark.parametrize("name,reason", [
    ("missing/file", "No such file or directory"),
    ("file/", "names a directory"),
    ("..", "names a directory"),
    ("", "names a directory"),
    ("folder", "is a directory"),
    ("n" * 250, "File name too long"),
])
def test_places_that_cannot_be(xl, folder, name, reason):
    (folder / "folder").mkdir()
    (folder / "file").mkdir()
    result = xl.run("save", "web01", f"{folder}/{name}")
    assert reason in one_line(result, 1)
    assert xl.notes() == []


def test_save_to_a_pipe_is_direct(xl, folder):
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    received = []
    reader = threading.Thread(
        target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    xl.will("save", V2)
    result = xl.run("save", "web01", fifo)
    reader.join()
    assert result.returncode == 0
    assert received == [V2]
    assert names(folder) == ["fifo"]
    assert "XL_ALIGNED_COMMIT_NAME" not in xl.note("env")


def test_save_to_dev_stdout(xl):
    xl.will("save", V2)
    result = xl.run("save", "web01", "/dev/stdout", text=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == V2


# ---- save: games with names --------------------------------------------


def test_partial_that_is_a_link_is_refused(xl, shared, folder):
    victim = folder / "victim"
    victim.write_bytes(OLD)
    (shared / "file.partial").symlink_to(victim)
    result = xl.run("save", "web01", shared / "file")
    assert "file.partial is in the way" in one_line(result, 1)
    assert victim.read_bytes() == OLD
    assert xl.notes() == []


def test_partial_with_a_second_name_is_refused(xl, shared):
    victim = shared / "victim"
    victim.write_bytes(OLD)
    os.link(victim, shared / "file.partial")
    result = xl.run("save", "web01", shared / "file")
    assert "in the way" in one_line(result, 1)
    assert victim.read_bytes() == OLD


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give away")
def test_partial_of_somebody_else_is_refused(xl, shared):
    partial = shared / "file.partial"
    partial.write_bytes(OLD)
    os.chown(partial, 65534, 65534)
    assert "in the way" in one_line(xl.run("save", "d", shared / "file"), 1)
    assert partial.read_bytes() == OLD


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give away")
def test_pipe_of_somebody_else_is_refused(xl, shared):
    os.mkfifo(shared / "file")
    os.chown(shared / "file", 65534, 65534)
    error = one_line(xl.run("save", "web01", shared / "file"), 1)
    assert "belongs to another user" in error


def test_partial_of_a_crash_is_replaced(xl, folder):
    (folder / "file.partial").write_bytes(OLD[:-100])
    xl.will("commit", V2)
    result = xl.run("save", "web01", folder / "file")
    assert result.returncode == 0
    assert "left unfinished by an earlier run" in result.stderr
    assert names(folder) == ["file"]


def test_partial_of_a_running_save_is_refused(xl, folder):
    with open(folder / "file.partial", "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        error = one_line(xl.run("save", "web01", folder / "file"), 1)
    assert "being written by another process" in error
    assert names(folder) == ["file.partial"]


def test_link_in_a_shared_directory_is_refused(xl, shared, folder):
    victim = folder / "victim"
    victim.write_bytes(OLD)
    (shared / "file").symlink_to(victim)
    (folder / "link").symlink_to(shared / "file")
    for name in (shared / "file", folder / "link"):
        error = one_line(xl.run("save", "web01", name), 1)
        assert "symbolic link in a directory that others" in error
    assert victim.read_bytes() == OLD
    assert xl.notes() == []


def test_link_in_a_private_directory_is_followed(xl, folder):
    (folder / "disk").mkdir()
    (folder / "disk/file").write_bytes(OLD)
    (folder / "link").symlink_to("link2")
    (folder / "link2").symlink_to("disk/file")
    xl.will("commit", V2)
    assert xl.run("save", "web01", folder / "link").returncode == 0
    assert (folder / "disk/file").read_bytes() == V2
    assert (folder / "link").is_symlink()


def test_links_in_a_circle(xl, folder):
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    assert "Too many levels" in one_line(
        xl.run("save", "web01", folder / "a"), 1)


def test_partial_swapped_during_the_save(xl, shared, folder):
    """xl writes to the file that was made for it and to no other."""
    victim = folder / "victim"
    victim.write_bytes(OLD)
    xl.will(f"swap:{victim}", V2)
    result = xl.run("save", "web01", shared / "file")
    assert result.returncode == 1
    assert "moved or removed" in result.stderr
    assert victim.read_bytes() == OLD
    assert not (shared / "file").exists()


# ---- save: signals -----------------------------------------------------


def start_save(xl, file, action):
    xl.will(action, V2)
    process = xl.start("save", "web01", file, start_new_session=True)
    xl.ready()
    return process


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM,
                                    signal.SIGHUP, signal.SIGQUIT])
def test_signal_ends_the_save_and_not_xl(xl, folder, signum):
    file = folder / "file"
    file.write_bytes(OLD)
    process = start_save(xl, file, "helper")
    # As a terminal does: to the whole process group.
    os.killpg(process.pid, signum)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    assert xl.note("helper_status") == 3        # its handler for SIGTERM
    assert xl.note("resumed") is True
    assert "resuming domain" in error
    assert xl.note("pgrp") == xl.note("ready") != process.pid
    assert file.read_bytes() == OLD
    assert names(folder) == ["file"]


def test_signal_before_the_helper_runs(xl, folder):
    """It is not forgotten: the helper is stopped when it comes."""
    xl.will("helper", V2)
    xl.content.unlink()
    os.mkfifo(xl.content)           # holds the fake xl up
    process = xl.start("save", "web01", folder / "file",
                       start_new_session=True)
    eventually(xl.notes, "the fake xl did not start")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    xl.content.write_bytes(V2)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143
    assert xl.note("helper_status") in (3, -signal.SIGTERM)
    assert names(folder) == []


def test_signal_that_comes_too_late(xl, folder):
    process = start_save(xl, folder / "file", "late")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "too late" in error
    assert (folder / "file").read_bytes() == V2


def test_helper_of_another_save_is_left_alone(xl, folder):
    another = subprocess.Popen(["/usr/bin/python3", "-c",
                                "import time; time.sleep(60)",
                                "--save-domain"])
    try:
        process = start_save(xl, folder / "file", "helper")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130
        assert another.poll() is None
    finally:
        another.kill()
        another.wait()


def test_ctrl_c_on_a_terminal(xl, folder):
    """With job control: xl is in the background and may still print."""
    xl.will("helper", V2)
    pid, master = pty.fork()
    if pid == 0:
        os.system("stty tostop")
        os.execve(PROGRAM, [PROGRAM, "save", "web01", str(folder / "file")],
                  {**os.environ, **xl.env})
    xl.ready()
    os.write(master, b"\x03")
    output = b""
    try:
        while select.select([master], [], [], 20)[0]:
            output += os.read(master, 4096)
        os.kill(pid, signal.SIGKILL)
        os.kill(xl.note("ready"), signal.SIGKILL)
    except OSError:
        pass                        # EIO: the last holder has closed it
    os.close(master)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"resuming domain" in output
    assert xl.note("resumed") is True
    assert names(folder) == []
