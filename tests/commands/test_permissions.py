# SPDX-License-Identifier: LGPL-2.1-or-later
"""Privileged runs in a directory that another user can write to, and in an
environment that another user has set."""
import os
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from commands.program import FAKE_XL, PROGRAM, run
from commands.users import NOBODY, SECRET, V2, nobody
from plugin.bench import Bench
from support import ROOT, cc

pytestmark = pytest.mark.skipif(os.geteuid() != 0,
                                reason="only root can be two users")


@pytest.fixture
def sticky(open_folder):
    """As /tmp is."""
    directory = open_folder / "sticky"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


@pytest.fixture
def private(open_folder):
    directory = open_folder / "private"
    directory.mkdir(mode=0o755)
    (directory / "victim").write_bytes(SECRET)
    return directory


def refused(result) -> str:
    lines = result.stderr.splitlines()
    assert result.returncode == 1 and len(lines) == 1, result
    return lines[0]


def untouched(private) -> None:
    assert os.listdir(private) == ["victim"]
    assert (private / "victim").read_bytes() == SECRET


# ---- modes --------------------------------------------------------------


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", (0, 0o022, 0o077))
def test_a_save_is_for_its_owner_alone(xl, private, umask):
    """While it is written as well, whatever the umask."""
    file, partial = private / "file", private / "file.partial"
    xl.will("late", V2)
    process = xl.start("save", "web01", file, umask=umask)
    xl.ready()
    assert mode(partial) == 0o600
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert mode(file) == 0o600


@pytest.mark.parametrize("command", (
    ("convert", "--to=v3", "in", "out"), ("to-core", "-q", "in", "out"),
    ("page", "-o", "out", "in", "0x3")))
def test_what_comes_of_it_is_too(private, command):
    (private / "in").write_bytes(V2)
    run(*command, cwd=private, umask=0)
    if (private / "out").exists():
        assert mode(private / "out") == 0o600
    else:
        assert command[0] == "to-core"      # which wants more of a guest


# ---- names --------------------------------------------------------------


def commands(place):
    """Everything that writes a file whose name it is given."""
    return (("save", "web01", place), ("convert", "--to=v3", "in", place),
            ("to-core", "-q", "in", place), ("page", "-o", place, "in", "3"))


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("name", ("file", "file.partial"))
def test_a_symbolic_link_of_somebody_else(xl, sticky, private, name, number):
    (sticky / "in").write_bytes(V2)
    nobody("ln", "-s", private / "victim", sticky / name)
    refused(xl.run(*commands(sticky / "file")[number], cwd=sticky))
    untouched(private)


@pytest.mark.parametrize("number", range(4))
def test_a_directory_that_is_a_link_of_somebody_else(xl, sticky, private,
                                                     number):
    """The kernel may follow it: fs.protected_symlinks is only a default."""
    (sticky / "in").write_bytes(V2)
    nobody("ln", "-s", private, sticky / "backup")
    line = refused(xl.run(*commands(sticky / "backup/victim")[number],
                          cwd=sticky))
    assert "another user's symbolic link" in line
    untouched(private)


def test_a_link_further_up_and_behind_one_of_ours(xl, sticky, private):
    (private / "sub").mkdir()
    nobody("ln", "-s", private, sticky / "backup")
    (private / "ours").symlink_to(sticky / "backup")
    for name in (sticky / "backup/sub/file", private / "ours/sub/file",
                 sticky / "../sticky/backup/file"):
        refused(xl.run("save", "web01", name))
    assert xl.notes() == []


def test_links_of_our_own_are_followed(xl, sticky, private):
    (sticky / "ours").symlink_to(private)
    (private / "again").symlink_to("../sticky/ours")
    for number, name in enumerate(("ours/a", "../private/again/b")):
        xl.will("commit", V2)
        assert xl.run("save", "web01", sticky / name).returncode == 0
    assert (private / "a").read_bytes() == (private / "b").read_bytes() == V2


@pytest.mark.parametrize("hard_link", (False, True))
def test_the_name_is_a_file_of_somebody_else(xl, sticky, private, hard_link):
    """A new file takes the name; the old one is not written to."""
    file = sticky / "file"
    if hard_link:
        os.link(private / "victim", file)
    else:
        nobody("sh", "-c", f"umask 0; echo mine >{file}; "
               f"ln {file} {sticky}/kept")
    xl.will("commit", V2)
    assert "not a save file" in refused(xl.run("save", "web01", file))
    assert xl.run("save", "--force", "web01", file).returncode == 0
    assert file.read_bytes() == V2
    assert mode(file) == 0o600 and file.stat().st_uid == 0
    untouched(private)
    if not hard_link:
        assert (sticky / "kept").read_bytes() == b"mine\n"


@pytest.mark.parametrize("hard_link", (False, True))
def test_the_partial_is_a_file_of_somebody_else(xl, sticky, private,
                                                hard_link):
    partial = sticky / "file.partial"
    if hard_link:
        os.link(private / "victim", partial)
    else:
        nobody("sh", "-c", f"umask 0; echo mine >{partial}")
    assert "in the way" in refused(xl.run("save", "web01", sticky / "file"))
    untouched(private)
    assert xl.notes() == []


# ---- the plugin ---------------------------------------------------------


def test_directories_exchanged_during_the_save(tools, open_folder, sticky,
                                               private):
    """The rename stays in the directory in which the file was made."""
    theirs = sticky / "theirs"
    nobody("mkdir", theirs)
    bench = Bench(tools, open_folder)
    process = bench.start("save", theirs / "victim.partial",
                          FAKE_PAUSE="1", FAKE_PAUSE_SECONDS="3",
                          XL_ALIGNED_COMMIT_NAME=str(theirs / "victim"))
    bench.wait_paused(process)
    nobody("sh", "-c", f"mv {theirs} {sticky}/moved && "
           f"ln -s {private} {theirs}")
    out, error = process.communicate(timeout=30)
    assert process.returncode == 1 and out == b"resume\n", error
    assert b"is not in the directory of" in error
    untouched(private)
    assert os.listdir(sticky / "moved") == []


# ---- the environment ----------------------------------------------------


@pytest.fixture
def evil(open_folder):
    """Another user's directory, with programs that leave a trace."""
    directory = open_folder / "evil"
    directory.mkdir()
    directory.chmod(0o777)
    trace = directory / "trace"
    for name in ("xl", "ssh", "helper"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho {name} >>{trace}\n")
        program.chmod(0o755)
    source = f"""
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{{
    if (geteuid() == 0)
        close(open("{trace}", O_CREAT | O_WRONLY, 0666));
}}
"""
    cc(directory / "evil.so", "-shared", "-fPIC", source=source)
    (directory / "conf").write_text('format="compat"\n')
    return directory


def evil_environment(evil) -> dict:
    return {"PATH": f"{evil}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_PRELOAD": str(evil / "evil.so"),
            "LD_LIBRARY_PATH": str(evil),
            "LIBXL_SAVE_HELPER": str(evil / "helper"),
            "XL_ALIGNED_XL": str(evil / "xl"),
            "XL_ALIGNED_PLUGIN": str(evil / "evil.so"),
            "XL_ALIGNED_CONFIG": str(evil / "conf"),
            "XL_ALIGNED_COMMIT_NAME": str(evil / "commit"),
            "XL_ALIGNED_PROGRESS": str(evil / "trace"),
            "XL_ALIGNED_NEGOTIATED": str(evil / "trace"),
            "XL_ALIGNED_STREAM": "fd=1;mode=save"}


@pytest.fixture
def anywhere(open_folder):
    """Outside of file systems on which nothing is set-user-ID."""
    for place in (open_folder, Path("/var/tmp"), ROOT / "build"):
        done = subprocess.run(["findmnt", "-n", "-o", "OPTIONS", "-T",
                               place], capture_output=True, text=True)
        if "nosuid" not in done.stdout:
            directory = place / f"permissions.{os.getpid()}"
            directory.mkdir()
            directory.chmod(0o755)
            yield directory
            shutil.rmtree(directory)
            return
    pytest.skip("every file system here is mounted nosuid")


def test_set_user_id(anywhere, evil):
    """It should not be set-user-ID; if it is, this holds all the same."""
    program = anywhere / "xl-aligned"
    shutil.copy(PROGRAM, program)
    program.chmod(0o4755)
    done = subprocess.run([program, "run", "xl", "list"], user=NOBODY,
                          group=NOBODY, extra_groups=[], cwd="/",
                          env=evil_environment(evil), capture_output=True,
                          text=True)
    assert done.returncode != 0
    assert not (evil / "trace").exists(), (evil / "trace").read_text()
    # It has looked for the real one, in the system's directories.
    assert "xl" in done.stderr and str(evil) not in done.stderr


def test_sudo(open_folder, xl, evil, private):
    """By sudo's defaults nothing of it reaches a command run as root."""
    if subprocess.run(["unshare", "-m", "true"],
                      capture_output=True).returncode:
        pytest.skip("no mount namespaces here")
    rules = open_folder / "sudoers"
    # xl-aligned itself: what XL_ALIGNED_XL says must not reach it, and what
    # root says here is the stand-in for xl in secure_path.
    rules.write_text(
        "Defaults env_reset\n"
        f'Defaults secure_path="{xl.directory}:/usr/sbin:/usr/bin"\n'
        "#65534 ALL=(root) NOPASSWD: ALL\n")
    rules.chmod(0o440)
    xl.becomes(f'FAKE_XL=exit:7 FAKE_LOG={xl.log} exec {FAKE_XL} "$@"')
    trace = evil_environment(evil)
    script = (f"mount --bind {rules} /etc/sudoers && exec setpriv "
              "--reuid=65534 --regid=65534 --clear-groups env " +
              shlex.join(f"{k}={v}" for k, v in trace.items()) +
              f" /usr/bin/sudo -n {PROGRAM} run xl list")
    done = subprocess.run(["unshare", "-m", "sh", "-c", script],
                          capture_output=True, text=True, cwd="/")
    assert done.returncode == 7, done
    env = xl.note("env")
    assert not any(str(evil) in value for value in env.values()), env
    assert set(env) <= {"LD_PRELOAD"}
    assert not (evil / "trace").exists()
