# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names of files and domains in what the commands print: they forge no line,
steer no terminal, and no two of them are the same string in JSON."""
import json
import os
import re
import subprocess

import pytest

from commands.program import CONFIG, PROGRAM, save_file
from commands.test_page import TAIL, random_batches, stream
from model import savefile

# Of batches as Xen writes them: page and diff find each page.
V3 = savefile.build(stream(random_batches(23, False)), CONFIG, TAIL, "v3")
FORGED = b"a: damaged\nb: whole: all pages are intact\r\x1b[2J"
NASTY = [b"plain", b"\xc3\xa9 \xe2\x82\xac", b"a\nb", b"\x1b[31m", b"\x7f",
         b"\x9b1m", b"\xc2\x9b1m", b"\xe2\x80\xaetxt", b"\xff", b"\xfe", b"?",
         b"\\xff", b"\\", b"\\x5cxff", b"\xc3", b"\xed\xa0\x80", FORGED]


def raw(*arguments, **options):
    return subprocess.run([PROGRAM, *arguments], timeout=60,
                          capture_output=True, **options)


def harmless(output: bytes, lines=None) -> str:
    """Of printable UTF-8, in as many lines as there should be."""
    text = output.decode()
    assert all(char.isprintable() for char in text.replace("\n", "")), text
    assert lines is None or text.count("\n") == lines, text
    return text


def undo(text: str) -> bytes:
    """As xl-aligned(8) says it."""
    return re.sub(rb"\\x([0-9a-f]{2})",
                  lambda found: bytes([int(found[1], 16)]), text.encode())


@pytest.fixture
def files(tmp_path):
    files = []
    for name in NASTY:
        files.append(os.fsencode(tmp_path) + b"/" + name)
        with open(files[-1], "wb") as file:
            file.write(V3)
    return files


def test_a_name_forges_no_verdict(files):
    result = raw("verify", files[-1])
    text = harmless(result.stdout, lines=1)
    assert text.endswith(": whole: every byte is intact\n")
    assert "a: damaged\\x0ab: whole: all pages are intact\\x0d\\x1b[2J" in text


@pytest.mark.parametrize("name,operands", [
    ("verify", []), ("info", []), ("info", ["--records"]), ("page", ["0-3"]),
    ("diff", []), ("doctor", []), ("convert", ["/nowhere/out", "--to=v2"]),
    ("to-core", ["/nowhere/out"]), ("restore", []), ("page", ["0x99999999"]),
    ("help", []),
])
def test_nothing_steers_the_terminal(name, operands, files, tmp_path):
    for file in files:
        again = [files[0]] if name == "diff" else []
        result = raw(name, file, *again, *operands,
                     env={**os.environ, "XL_ALIGNED_XL": "/bin/true"})
        harmless(result.stdout)
        harmless(result.stderr)
        missing = raw(name, file + b"/none", *again, *operands,
                      env={**os.environ, "XL_ALIGNED_XL": "/bin/true"})
        harmless(missing.stdout)
        assert harmless(missing.stderr).count("\n") <= 1


@pytest.mark.parametrize("arguments", [
    ["\n\x1b[31m"], ["--\n\x1b"], ["save", "--\n\x1b"],
    ["save", "--format=\n\x1b", "a", "b"], ["page", "a", "\n\x1b"],
    ["listen", "\n\x1b:"], ["migrate", "a", "x\x1b:\n"],
])
def test_arguments_are_shown_in_one_line(arguments):
    harmless(raw(*arguments).stderr, lines=1)


@pytest.mark.parametrize("name", ["verify", "info"])
def test_names_in_json_come_back(name, files):
    found = json.loads(raw(name, "--json", *files).stdout)
    names = [each["file"] for each in found]
    assert [undo(each) for each in names] == files
    assert len(set(names)) == len(files)
    assert all(each.isprintable() for each in names)


def test_other_json_is_utf8(files):
    for file in files:
        for arguments in (["diff", file, files[0]], ["doctor", file]):
            json.loads(raw(*arguments, "--json").stdout)


@pytest.mark.parametrize("name", NASTY)
def test_names_of_domains(name, tmp_path):
    config = json.loads(CONFIG)
    text = json.dumps(config).replace("web01", "NAME").encode()
    quoted = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    quoted = re.sub(rb"[\x00-\x1f]", lambda c: b"\\u%04x" % c[0][0], quoted)
    file = tmp_path / "file"
    file.write_bytes(save_file("v3", config=text.replace(b"NAME", quoted)))
    shown = harmless(raw("info", file).stdout)
    found, = json.loads(raw("info", "--json", file).stdout)
    if found["domain"]:     # else it is no JSON in the file
        assert undo(found["domain"]) == name
    else:
        assert "no readable configuration" in shown
