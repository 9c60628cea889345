# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned: its arguments, and save, restore and run with a fake xl."""
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

from commands.program import (PROGRAM, REGULAR, FakeXl, build_empty_plugin,
                              run, save_file)
from support import ROOT, eventually

# All that it says it has: none may lack what is tested here.
COMMANDS = re.findall(r"^  ([a-z][\w-]+) +\S", run("--help").stdout,
                      re.M)[:-1]
V2 = save_file("v2")
OLD = save_file("v2", seed=8)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    return build_empty_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.fixture
def xl(tmp_path, plugin):
    directory = tmp_path / "xl"
    directory.mkdir()
    return FakeXl(directory, plugin)


@pytest.fixture
def folder(tmp_path):
    """Where nobody else can write."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def shared(tmp_path):
    """Where everybody can write, and no sticky bit keeps them apart."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def names(folder):
    return sorted(os.listdir(folder))


# ---- arguments ---------------------------------------------------------


def one_line(result, status=2):
    assert result.returncode == status
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_commands():
    assert {"save", "restore", "run", "info", "verify", "convert", "page",
            "diff", "doctor", "dump-core", "to-core", "migrate",
            "listen"} <= set(COMMANDS)
    assert "help" not in COMMANDS


def test_version():
    result = run("--version")
    assert result.returncode == 0
    assert re.fullmatch(r"xl-aligned \d+\.\d+\.\d+\n", result.stdout)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(arguments):
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S", result.stdout, re.M)


def test_no_command():
    result = run()
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage:" in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    result = run(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"Usage: xl-aligned {command} ")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert run("help", command).stdout == result.stdout
    assert run(command, "-h").stdout == result.stdout


@pytest.mark.parametrize("arguments,word", [
    (["frobnicate"], "frobnicate"),
    (["help", "frobnicate"], "frobnicate"),
    (["--frobnicate"], "unknown option --frobnicate;"),
    (["save", "--frobnicate", "a", "b"],
     "unknown option --frobnicate;"),
    (["save", "-x", "a", "b"], "unknown option -x;"),
    (["save", "-cx", "a", "b"], "unknown option -x;"),
    (["save", "--format"], "--format needs a value"),
    (["save", "--format=v4", "a", "b"], "--format=v4"),
    (["save", "--format=", "a", "b"], "--format needs a value"),
    (["save", "--format=v3 compat", "a", "b"], "--format=v3 compat"),
    (["save", "--io=fast", "a", "b"], "--io=fast"),
    (["save", "--engine=steam", "a", "b"], "--engine=steam"),
    (["save", "a"], "expected DOMAIN FILE [CONFIG]; see xl-aligned save"),
    (["save", "a", "b", "c", "d"], "expected DOMAIN FILE [CONFIG]; see"),
    (["restore"], "expected [CONFIG] FILE; see"),
    (["restore", "a", "b", "c"], "expected [CONFIG] FILE; see"),
    (["restore", "--io=window", "a"], "--io=window"),
    (["run"], "expected xl ARGUMENT..."),
    (["run", "--frobnicate", "xl"], "--frobnicate"),
    (["info"], "expected FILE..."),
    (["info", "--json=yes", "a"], "--json"),
    (["verify", "--records", "a"], "--records"),
    (["convert", "a", "b"], "expected --to=v2"),
    (["convert", "--to=v4", "a", "b"], "--to=v4"),
    (["convert", "--to=v2", "a"], "expected IN OUT"),
    (["migrate", "a"], "expected DOMAIN HOST; see"),
    (["migrate", "--format=compat", "a", "b"], "--format=compat"),
    (["migrate", "--cert"], "--cert needs a value"),
    (["sav", "a", "b"], "did you mean save?"),
    (["dumpcore", "a", "b"], "did you mean dump-core?"),
    (["migrate", "a", "tsl:host:1"], "did you mean tls:host:1?"),
    (["listen"], "expected ADDRESS...; see"),
    (["listen", "--domains=0", "unix:a"], "0 is not a number"),
    (["save", "", "a"], "empty operand"),
    (["save", "a", ""], "empty operand"),
    (["restore", ""], "empty operand"),
    (["run", ""], "empty operand"),
    (["info", "a", ""], "empty operand"),
    (["verify", ""], "empty operand"),
    (["convert", "--to=v2", "", "a"], "empty operand"),
    (["page", "", "1"], "empty operand"),
    (["page", "a", ""], "empty operand"),
    (["page", "-o", "", "a", "1"], "-o needs a value"),
    (["diff", "a", ""], "empty operand"),
    (["dump-core", "a", ""], "empty operand"),
    (["to-core", "a", ""], "empty operand"),
    (["migrate", "", "a"], "empty operand"),
    (["migrate", "--cert", "", "a", "b"], "--cert needs a value"),
    (["listen", ""], "empty operand"),
    (["cancel", ""], "empty operand"),
    (["doctor", ""], "empty operand"),
    (["save", "a", "-"], "name a file, or /dev/stdout"),
    (["restore", "-"], "name a file, or /dev/stdin"),
    (["dump-core", "a", "-"], "name a file"),
    (["to-core", "a", "-"], "name a file"),
])
def test_misuse_is_one_line_and_2(arguments, word):
    assert word in one_line(run(*arguments))


@pytest.mark.parametrize("command", COMMANDS)
def test_exit_statuses_are_in_the_help(command):
    assert re.search(r"^Exit status: ", run(command, "--help").stdout, re.M)


@pytest.fixture
def statuses_of(xl, folder):
    """A function: the exit status of a command, with the file of that name,
    an xl that ends with 7, and what else a test says."""
    good, bad = folder / "good", folder / "bad"
    good.write_bytes(save_file("v3", REGULAR))
    data = bytearray(save_file("v3"))
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    (folder / "v2").write_bytes(V2)

    def status(line, **env):
        xl.will(env.pop("will", "exit:7"), save_file("v3"))
        words = [str(folder / word[1:]) if word[0] == "@" else word
                 for word in line.split()]
        return xl.run(*words, env=env).returncode
    return status


NO_XL = {"XL_ALIGNED_XL": "/nonexistent/xl"}
NO_PLUGIN = {"XL_ALIGNED_PLUGIN": "/nonexistent/plugin.so"}


EXIT_STATUSES = [
    ("save d @new", {"will": "commit"}, 0),
    ("save d @new", {"will": "fail:3"}, 3),
    ("save d @new", NO_XL, 127),
    ("restore @good", {"will": "exit:0"}, 0),
    ("restore @good", {}, 7),
    ("restore @good", NO_XL, 127),
    ("run xl list", {"will": "exit:0"}, 0),
    ("run xl list", {}, 7),
    ("run xl list", NO_XL, 127),
    ("run /nonexistent", {}, 127),
    ("info @good", {}, 0),
    ("info @good @none", {}, 1),
    ("verify @good", {}, 0),
    ("verify @good @bad", {}, 1),
    ("verify @good @v2", {}, 2),
    ("verify @none", {}, 2),
    ("convert --to=v2 @good @out", {}, 0),
    ("convert --to=v2 @bad @out", {}, 1),
    ("convert --to=v2 @none @out", {}, 1),
    ("page @good 99999999", {}, 1),
    ("page @none 0", {}, 1),
    ("diff @good @good", {}, 0),
    ("diff @good @none", {}, 2),
    ("doctor @none", {}, 1),
    ("dump-core d @core", {"will": "exit:0"}, 0),
    ("dump-core d @core", {}, 7),
    ("dump-core --format=elf d @core", NO_PLUGIN, 1),
    ("dump-core d @core", NO_XL, 127),
    ("to-core @none @core", {}, 1),
    ("migrate d host", {"will": "exit:0"}, 0),
    ("migrate d host", {}, 7),
    ("migrate d host", NO_XL, 127),
    ("listen unix:/nonexistent/socket", {}, 1),
]


@pytest.mark.parametrize("line,env,status", EXIT_STATUSES)
def test_exit_statuses(statuses_of, line, env, status):
    """Those of misuse (2) and of a signal to save are other tests'."""
    assert statuses_of(line, **env) == status


@pytest.mark.parametrize("line", (
    "info FILE", "info --json FILE", "verify FILE", "verify --json FILE",
    "page --json FILE 0", "diff FILE @good", "to-core FILE @core"))
def test_a_file_may_be_standard_input(folder, line):
    """From wherever it is read, which no pipe allows."""
    good, core = folder / "good", folder / "core"
    good.write_bytes(save_file("v3", REGULAR))

    def result(name, **options):
        words = line.replace("FILE", name).replace("@", f"{folder}/")
        done = run(*words.split(), **options)
        written = core.read_bytes() if core.exists() else None
        core.unlink(missing_ok=True)
        return done.returncode, done.stdout, done.stderr, written

    named = result(str(good))
    with open(good) as file:
        status, out, errors, written = result("-", stdin=file)
        assert file.tell() == 0
    assert (status, out.replace("standard input", str(good)),
            errors.replace("standard input", str(good)), written) == named
    reader = subprocess.Popen(["cat", good], stdout=subprocess.PIPE)
    status, out, errors, _ = result("-", stdin=reader.stdout)
    reader.stdout.close()
    reader.wait()
    assert status != 0
    assert "standard input" in out + errors
    assert "neither a regular file nor a block device" in out + errors


def options_in_help(command):
    text = run(command, "--help").stdout.split("\n", 1)[1]
    return set(re.findall(r"^  (?:-\w, )?(--?[\w-]+)", text, re.M)
               + re.findall(r"^  (-\w)\b", text, re.M)) - {"-h"}


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_knows_every_option(command):
    assert "--help" in options_in_help(command)
    valued = re.findall(r"^  (?:-\w, )?(--[\w-]+)=",
                        run(command, "--help").stdout,
                        re.M)
    assert complete("xl-aligned", command, "-") == {
        option + "=" if option in valued else option
        for option in options_in_help(command)}


def words_of(command, *before):
    """The values that the program itself names after `before`, and takes."""
    listed = re.search(r"one of (.*?)(?:, or one of.*)?;",
                       run(command, *before[:-1], before[-1] + "?").stderr)
    words = re.split(r",? or |, | ", listed[1]) if listed else []
    return {word for word in words if ":" not in word and before[-1] + word
            not in run(command, *before[:-1], before[-1] + word).stderr}


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_knows_every_value(command):
    for option in re.findall(r"^  (?:-\w, )?(--[\w-]+)=",
                             run(command, "--help").stdout, re.M):
        assert complete("xl-aligned", command, option, "=") == \
            words_of(command, f"{option}="), option


def test_completion_knows_every_operation():
    assert complete("xl-aligned", "cancel", "web01", "") == \
        words_of("cancel", "web01", "")


def complete(*words):
    """What bash offers for the last of the words."""
    script = ROOT / "xl-cmds/completion/xl-aligned"
    quoted = " ".join(f"'{word}'" for word in words)
    result = subprocess.run(
        ["bash", "-c", f"source {script}; COMP_WORDS=({quoted}); "
         f"COMP_CWORD={len(words) - 1}; _xl_aligned; "
         'printf "%s\\n" "${COMPREPLY[@]}"'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        check=True)
    assert result.stderr == ""
    return set(result.stdout.split())


def test_completion():
    assert complete("xl-aligned", "") == {
        *COMMANDS, "help", "--help", "--version"}
    assert complete("xl-aligned", "save", "--format", "=", "v") == {
        "v3", "v2"}
    assert complete("xl-aligned", "restore", "--io", "=") == {
        "auto", "direct", "buffered"}
    assert complete("xl-aligned", "help", "ver") == {"verify"}


def page_of(command):
    """The source of its man page, by section."""
    source = (ROOT / f"docs/man/xl-aligned-{command}.8").read_text()
    parts = re.split(r"^\.Sh (.*)$", source, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.mark.parametrize("command", COMMANDS)
def test_man_page_has_the_options_of_the_help(command):
    page = page_of(command)
    assert page["SYNOPSIS"].startswith(
        f"\n.Nm xl-aligned\n.Cm {command}\n")
    tags = "\n".join(re.findall(r"^\.It (Fl .*)$", page.get("OPTIONS", ""),
                                re.M))
    assert {f"--{long}" if long else f"-{short}" for long, short in
            re.findall(r"\bFl (?:Fl (\S+)|(\w)\b)", tags)} == \
        options_in_help(command) - {"--help"}


@pytest.mark.parametrize("command", COMMANDS)
def test_man_page_has_examples_and_exit_statuses(command):
    page = page_of(command)
    assert re.search(rf"^# xl-aligned {command}\b", page["EXAMPLES"], re.M)
    text = page["EXIT STATUS"]
    listed = {int(word) for tag in re.findall(r"^\.It (.*)$", text, re.M)
              for word in tag.split(" , ")}
    shown = {status for line, _, status in EXIT_STATUSES
             if line.split()[0] == command}
    passed_on = {0, 3, 7} if re.search("^That of|"
                                       "^Otherwise the exit status of$",
                                       text, re.M) else set()
    assert 2 in listed and shown <= listed | passed_on


def test_man_page_names_every_command():
    page = (ROOT / "docs/man/xl-aligned.8").read_text()
    section = page.split(".Ss Commands")[1].split("\n.Ss ")[0]
    named = re.findall(r"^\.It Cm (\S+)$", section, re.M)
    assert named == [*COMMANDS, "help"]


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
    """It stood aside, or is not installed: a stock save, committed here."""
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
    process = subprocess.Popen(
        [PROGRAM, "save", "web01", file], env={**os.environ, **xl.env},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True)
    eventually(lambda: any("ready" in note for note in xl.notes()),
               "the fake xl did not start")
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
    process = subprocess.Popen(
        [PROGRAM, "save", "web01", folder / "file"],
        env={**os.environ, **xl.env}, stderr=subprocess.PIPE, text=True,
        start_new_session=True)
    eventually(lambda: xl.notes(), "the fake xl did not start")
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
    eventually(lambda: any("ready" in note for note in xl.notes()),
               "the fake xl did not start")
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
