# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned: its arguments and exit statuses, and that help, completion and
man pages say the same of them."""
import re
import subprocess

import pytest

from commands.program import REGULAR, one_line, run, save_file
from support import ROOT

# All that it says it has: none may lack what is tested here.
COMMANDS = re.findall(r"^  ([a-z][\w-]+) +\S", run("--help").stdout,
                      re.M)[:-1]


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
    (["migrate", "--format=compat", "a", "b"],
     "--format=compat: the value must be one of auto, v3 or v2;"),
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
    (folder / "v2").write_bytes(save_file("v2"))

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
    """The values that the program itself names after `before`; it accepts
    all of them."""
    listed = re.search(r"(?:must be (?!one of)|one of )"
                       r"(.*?)(?:, or one of.*)?;",
                       run(command, *before[:-1], before[-1] + "?").stderr)
    words = re.split(r",? or |, | to | ", listed[1]) if listed else []
    words = {word for word in words if ":" not in word}
    assert {word for word in words if before[-1] + word
            in run(command, *before[:-1], before[-1] + word).stderr} == set()
    return words


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
