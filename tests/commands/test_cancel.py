# SPDX-License-Identifier: LGPL-2.1-or-later
"""cancel: a running operation ends, and the domain and its files stay."""
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from commands.site import OWN, SAVE, end
from plugin.bench import PLUGIN, signature
from support import eventually


def nothing_of(file) -> bool:
    """What the toolstack wrote itself, and no save."""
    return not file.exists() or file.stat().st_size < 200


# ---- cancel ----------------------------------------------------------------


@pytest.mark.parametrize("domain", ("web01", "1"))
@pytest.mark.parametrize("format_", ("v3", "compat", "v2"))
def test_a_save_is_cancelled(site, store, tmp_path, domain, format_):
    file = tmp_path / "file"
    process = site.paused("save", file, XL_ALIGNED_FORMAT=format_)
    store.only()
    result = site.command("cancel", domain)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == \
        "web01 (1): save cancelled: the domain keeps running\n"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == b"resume\n"
    assert b"libxl-aligned: save: cancelled\n" in err
    assert nothing_of(file)
    assert store.entries() == []


def test_a_file_with_a_name_to_come_is_removed(site, store, tmp_path):
    partial, final = tmp_path / "final.partial", tmp_path / "final"
    final.write_text("an older one")
    process = site.paused("save", partial, XL_ALIGNED_COMMIT_NAME=str(final))
    store.only()
    assert site.command("cancel", "web01").returncode == 0
    assert end(process) == 1
    assert not partial.exists() and final.read_text() == "an older one"


def test_a_stock_migration_is_cancelled(site, store, tmp_path):
    """Its helper has no library of ours."""
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"],
                              stdout=subprocess.DEVNULL)
    process = site.paused("save", tmp_path / "pipe", FAKE_LIVE="yes")
    store.only()
    result = site.command("cancel", "web01", "migrate")
    assert result.returncode == 0, result.stderr
    assert "migrate cancelled: the domain keeps running" in result.stdout
    assert end(process) == 1
    reader.wait()


def test_a_restore_is_cancelled(site, store, tmp_path):
    file = tmp_path / "file"
    assert site.run("save", file).status == 0
    before = file.read_bytes()
    process = site.paused("restore", file)
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    result = site.command("cancel", "db07")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "db07 (7): restore cancelled: no domain " \
        "is left, and the file is unchanged\n"
    assert end(process) == 1
    assert file.read_bytes() == before and store.entries() == []


@pytest.mark.parametrize("taken", (False, True))
def test_a_managed_restore_is_cancelled(site, store, tmp_path, taken):
    """libvirt removes the file first; the plugin puts it back."""
    file, other = tmp_path / "file", tmp_path / "other"
    assert site.run("save", file).status == 0
    before = file.read_bytes()
    other.write_text("another user's")
    process = site.paused("restore-managed", file, *[other][:taken])
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    assert store.keys(name)["file"] == f"{file} (deleted)"
    result = site.command("cancel", "db07")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "db07 (7): restore cancelled: no domain " \
        "is left, and the file, which had been removed, is back" + (
            " under another name; check the output of the program that "
            "restored it" if taken else "") + "\n"
    assert end(process) == 1 and store.entries() == []
    if taken:
        assert file.read_text() == "another user's"
        file = tmp_path / "file.kept"
    assert file.read_bytes() == before


def test_a_managed_restore_that_cannot_be_put_back(site, store, tmp_path):
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    assert site.run("save", file).status == 0
    process = site.paused("restore-managed", file)
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    file.parent.rmdir()
    result = site.command("cancel", "db07")
    assert result.returncode == 1 and result.stdout == ""
    assert "restore cancelled, but its file was removed and has not been " \
        "put back" in result.stderr
    assert end(process) == 1


def test_what_is_received_has_no_file(site, store, tmp_path):
    data = tmp_path / "data"
    assert site.run("save", data, XL_ALIGNED_FORMAT="v2").status == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["cp", data, pipe], stderr=subprocess.DEVNULL)
    process = site.paused("restore", pipe)
    name, _ = store.only()
    eventually(lambda: "domid" in store.keys(name), "no domain")
    result = site.command("cancel", "db07")
    assert result.stdout == "db07 (7): restore cancelled: no domain " \
        "is left\n", result.stderr
    assert end(process) == 1
    writer.wait()


def start_dump(site, folder, **env):
    """A dump that takes three seconds for its second batch."""
    memory = folder / "memory"
    memory.write_bytes(bytes(range(256)) * 16 * 6000)
    plugins = f"{PLUGIN}:{site.tools / 'libxenstore.so.4'}"
    return subprocess.Popen(
        [site.tools / "dumper", "7", folder / "core"], stderr=subprocess.PIPE,
        env=site.environment(plugins, FAKE_MEMORY=str(memory),
                             FAKE_PRESENT="c0-1700", FAKE_AT="2:sleep"))


def test_a_dump_is_told_and_cancelled(site, store, tmp_path):
    process = start_dump(site, tmp_path)
    name, _ = store.only()
    keys = eventually(lambda: (k := store.keys(name))["bytes"] != "0" and k)
    assert keys["operation"] == "dump-core" and keys["domid"] == "7"
    assert keys["format"] == "xen"
    assert keys["file"] == str(tmp_path / "core")
    assert 0 < int(keys["bytes"]) < int(keys["total"])
    result = site.command("cancel", "db07")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "db07 (7): dump-core cancelled: no file is " \
        "left; the domain was not affected\n"
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b": cancelled" in errors
    assert b"dump-core: cancelled" in errors
    assert not list(tmp_path.glob("core*")) and store.entries() == []


def test_a_whole_dump_leaves_nothing(site, store, tmp_path):
    process = start_dump(site, tmp_path)
    store.only()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert (tmp_path / "core").exists() and store.entries() == []


def test_one_of_several_saves_of_a_program(site, store, tmp_path):
    process = site.paused("save-many", tmp_path / "a", tmp_path / "b")
    names = eventually(lambda: len(store.entries()) == 2 and store.entries(),
                       "not two")
    domids = {store.keys(name)["domid"] for name in names}
    assert domids == {"1"}
    result = site.command("cancel", "web01")
    assert result.returncode == 1
    assert "name one:" in result.stderr
    # By hand, as another program would.
    store.make(names[0], cancel=OWN)
    eventually(lambda: "result" in store.keys(names[0]), "not ended")
    assert store.keys(names[0])["result"] == "cancelled"
    assert "result" not in store.keys(names[1])
    for child in Path(f"/proc/{process.pid}/task").iterdir():
        for pid in (child / "children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
    assert end(process) == 1
    assert store.entries() == [names[0]]


def test_the_domain_is_waited_for(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    store.only()
    site.state.write_text("web01  1  512  1  ---s--  3.1\n")
    resumed = threading.Timer(2, site.state.write_text,
                              ("web01  1  512  1  r-----  3.1\n",))
    resumed.start()
    began = time.monotonic()
    assert site.command("cancel", "web01").returncode == 0
    assert time.monotonic() - began > 1.5
    end(process)


def test_a_domain_that_nobody_resumes(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    store.only()
    site.state.write_text("web01  1  512  1  ---s--  3.1\n")
    result = site.command("cancel", "--timeout=3", "web01")
    assert result.returncode == 1 and result.stdout == ""
    assert "save cancelled, but the domain is still suspended" in \
        result.stderr
    end(process)


def test_an_xl_that_does_not_say(site, store, tmp_path):
    process = site.paused("save", tmp_path / "file")
    store.only()
    site.state.unlink()
    result = site.command("cancel", "web01")
    assert result.returncode == 1
    assert "xl list does not show the domain's state" in result.stderr
    end(process)


def test_nothing_to_cancel(site, store):
    store.make(f"{OWN}-1", **SAVE)
    for arguments, words in (
            (("db07",), "no operation of this domain is running"),
            (("web01", "restore"), "no restore of this domain"),
            (("2",), "no operation of this domain")):
        result = site.command("cancel", *arguments)
        assert result.returncode == 1 and result.stdout == ""
        assert words in result.stderr


def test_an_owner_that_does_not_answer(site, store):
    store.make(f"{OWN}-1", **SAVE)
    result = site.command("cancel", "--timeout=1", "web01")
    assert result.returncode == 1
    assert "was cancelled, but has not ended in 1 s" in result.stderr
    assert re.fullmatch(r"\d+-\d+", store.keys(f"{OWN}-1")["cancel"])


def test_two_who_ask(site, store):
    store.make(f"{OWN}-1", **SAVE, cancel=OWN)
    result = site.command("cancel", "web01")
    assert result.returncode == 1
    assert "already being cancelled" in result.stderr
    assert store.keys(f"{OWN}-1")["cancel"] == OWN


@pytest.mark.parametrize("result,words", (("complete", "is already complete"),
                                          ("failed", "has already failed")))
def test_too_late(site, store, result, words):
    name = f"{OWN}-1"
    store.make(name, **SAVE)

    def answer():
        eventually(lambda: "cancel" in store.keys(name))
        store.make(name, result=result)

    thread = threading.Thread(target=answer)
    thread.start()
    done = site.command("cancel", "web01")
    thread.join()
    assert done.returncode == 1 and words in done.stderr
    assert store.entries() == []


def test_an_owner_that_dies_of_it(site, store):
    process = subprocess.Popen(["sleep", "60"])
    name = f"{signature(process.pid)}-1"
    store.make(name, **SAVE)

    def die():
        eventually(lambda: "cancel" in store.keys(name))
        process.kill()
        process.wait()

    thread = threading.Thread(target=die)
    thread.start()
    result = site.command("cancel", "web01")
    thread.join()
    assert result.returncode == 1
    assert f"process {process.pid}, which ran its save, is gone" in \
        result.stderr
    assert store.entries() == []


@pytest.mark.parametrize("arguments,word", (
    (("status", "web01"), "expected no operands"),
    (("cancel",), "expected DOMAIN [OPERATION]; see"),
    (("cancel", "a", "save", "b"), "expected DOMAIN [OPERATION]; see"),
    (("cancel", "a", "convert"), "must be one of save, restore"),
    (("cancel", "--timeout=soon", "a"), "--timeout=soon"),
    (("cancel", "--timeout=100000", "a"), "--timeout=100000"),
))
def test_misuse(site, arguments, word):
    result = site.command(*arguments)
    assert result.returncode == 2 and word in result.stderr
