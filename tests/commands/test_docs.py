# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the documents say is so: commands, messages, names, links."""
import os
import re
import shlex
import subprocess

import pytest

from commands.program import PROGRAM, REGULAR, save_file
from support import ROOT

DOCS = sorted(path for path in [*ROOT.glob("*.md"),
                                *ROOT.glob("docs/**/*.md"),
                                *ROOT.glob("tests/lab/*.md")])
PAGES = sorted(ROOT.glob("docs/man/*.[1-9]"))
GUIDE = ROOT / "docs/guide.md"
SOURCES = ("common", "stream-v3", "core", "operation", "libxl-aligned",
           "xl-cmds")


def read(*parts) -> str:
    return ROOT.joinpath(*parts).read_text()


# ---- the guide's commands --------------------------------------------------


def guide_commands() -> list:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


# What xl does when one of these starts it.
XL = {"save": "commit", "restore": "exit:0", "run": "save"}
# Where the host of the tests is not a Xen host.
STATUSES = {"doctor": {0, 1}, "status": {0, 1}, "cancel": {1}}


def test_every_command_of_the_guide(xl, tmp_path):
    """In their order, with a toolstack that writes what xl would write."""
    saved = tmp_path / "saved"
    saved.mkdir(mode=0o700)
    xl.env["PATH"] = ":".join((str(xl.directory), os.environ["PATH"]))
    commands = guide_commands()
    assert len(commands) >= 12
    seen = set()
    for line in commands:
        words = shlex.split(line.replace("/srv/saved", str(saved)))
        assert words[0] == "xl-aligned", line
        seen.add(words[1])
        xl.will(XL.get(words[1], "exit:99"), save_file("v3", REGULAR))
        if words[1] == "page":
            words[-1] = "0"         # which of them are there is another test
            xl_result = xl.run(*words[1:])
            assert xl_result.returncode in (0, 1), xl_result.stderr
            continue
        result = xl.run(*words[1:])
        assert result.returncode in STATUSES.get(words[1], {0}), \
            (line, result.stderr)
    assert {"save", "restore", "run", "info", "verify", "convert", "diff",
            "doctor", "page", "status", "cancel"} <= seen
    original = (saved / "web01.v2").read_bytes()
    assert original == (saved / "web01.stock").read_bytes()
    assert original == save_file("v2", REGULAR)


def mentioned_commands() -> set:
    """Of xl-aligned, wherever a document shows one as code."""
    found = set()
    for path in DOCS:
        text = path.read_text()
        code = re.findall(r"^    +(?:# )?(xl-aligned .*)$", text, re.M)
        code += re.findall(r"^(xl-aligned .*)$", "\n".join(
            re.findall(r"^```(.*?)^```", text, re.M | re.S)), re.M)
        code += re.findall(r"`(xl-aligned [^`]*)`", text)
        found |= {line.split()[1] for line in code}
    return found


def test_no_document_shows_a_command_that_is_not_there():
    mentioned = mentioned_commands()
    assert len(mentioned) >= 9
    for name in mentioned:
        shown = subprocess.run([PROGRAM, name, "--help"],
                               capture_output=True)
        assert shown.returncode == 0, name


# ---- messages --------------------------------------------------------------


def literals() -> str:
    """All of the C source with its string literals joined."""
    source = "\n".join(path.read_text() for folder in SOURCES
                       for path in ROOT.glob(f"{folder}/**/*.c"))
    return re.sub(r'"\s*\n?\s*"', "", source)


def test_the_messages_of_the_guide_are_the_programs():
    table = GUIDE.read_text().split("| message |")[1]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert len(messages) >= 15
    source = literals()
    for message in messages:
        if message == "No space left on device":
            continue                # strerror's
        assert message in source, message


# ---- manual pages ----------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_pages_are_clean(page):
    result = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page],
                            stdout=subprocess.PIPE, text=True)
    assert (result.returncode, result.stdout) == (0, "")


def page_text(name: str) -> str:
    text = subprocess.run(["mandoc", "-Tascii", ROOT / "docs/man" / name],
                          check=True, stdout=subprocess.PIPE, text=True)
    return re.sub(".\b", "", text.stdout)


def test_every_variable_is_explained():
    """All that the C sources read or set, and no other."""
    source = "\n".join(path.read_text() for folder in SOURCES
                       for path in ROOT.glob(f"{folder}/**/*.[ch]"))
    variables = set(re.findall(r'"(XL_ALIGNED_[A-Z_]+)["=]', source))
    assert len(variables) >= 20
    page = read("docs/man/xl-aligned.8").split(".Sh ENVIRONMENT")[1]
    assert set(re.findall(r"^\.It Ev (XL_ALIGNED_\S+)$", page, re.M)) == \
        variables


def test_every_setting_is_explained():
    source = re.sub(r'"\s*\n?\s*"', "", read("operation/settings.c"))
    settings = re.findall(r'\{ "(\w+)", "(XL_ALIGNED_\w+)",\s*"([^"]+)"',
                          source)
    assert len(settings) >= 5
    page = page_text("xl-aligned.conf.5")
    words = " ".join(page.split())
    example = read("docs/xl-aligned.conf.example")
    for name, variable, values in settings:
        assert re.search(rf"^ +{name}\b", page, re.M), name
        assert variable in page
        assert re.search(rf"^#{name} = ", example, re.M), name
        for value in re.split(r", | or ", values):
            assert re.search(rf"\b{value}\b", words), (name, value)


def test_the_summary_of_the_format_is_right():
    page = page_text("xensave.7")
    header = read("stream-v3/include/xensave-format.h").lower()
    numbers = re.findall(r"\b0x[0-9A-F]{8}\b", page)
    assert len(numbers) == 5
    for number in numbers:
        assert number.lower() + "u" in header
    public = read("stream-v3/include/xensave.h")
    functions = re.findall(r"\bxensave_\w+", page)
    assert len(functions) >= 10
    for function in functions:
        assert f"{function}(" in public, function


# ---- names and links -------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(
    path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        if "://" not in link:
            assert (path.parent / link).exists(), link


def test_targets_of_make_exist():
    makefiles = "\n".join(p.read_text() for p in [
        ROOT / "Makefile", *ROOT.glob("*/module.mk"),
        *ROOT.glob("tests/*.mk"), *ROOT.glob("*/*/module.mk")])
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        lines = re.findall(r"^    make ([^#\n]*)|`make ([^`]*)`",
                           path.read_text(), re.M)
        targets = {word for pair in lines for part in pair
                   for word in part.split()
                   if re.fullmatch(r"[a-z][a-z-]*", word)} - {"make"}
        assert "check" in targets
        for target in targets:
            assert re.search(rf"^(?:[\w -]* )?{target}(?: [\w -]*)?:",
                             makefiles, re.M), target


def test_nothing_is_named_that_is_not_in_the_tree():
    """Paths in back quotes, in the pages that explain the tree."""
    for name in ("docs/architecture.md", "CONTRIBUTING.md"):
        for path in re.findall(r"`((?:common|stream-v3|core|operation|"
                               r"libxl-aligned|xl-cmds|tests|docs)/[\w./-]*)`", read(name)):
            assert (ROOT / path).exists(), path
