# SPDX-License-Identifier: LGPL-2.1-or-later
"""What --json prints has the keys and types that docs/json.md says."""
import json
import re

import pytest

from commands.program import ROOT, run
from commands.test_page import changed_pages, random_batches, write

TYPES = {"text": str, "integer": int, "number": (int, float), "boolean": bool,
         "null": type(None)}


def schema(name: str) -> dict:
    """Of a command: path -> (types, whether it is always there)."""
    text = (ROOT / "docs/json.md").read_text()
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", section.group(1), re.M)
    return {path: ({TYPES[word] for word in kind.replace(",", "").split()
                    if word in TYPES}, "optional" not in kind)
            for path, kind in rows}


def leaves(value, path=""):
    if isinstance(value, dict):
        for key, member in value.items():
            yield from leaves(member, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for member in value:
            yield from leaves(member, path + "[]")
    else:
        yield path, value


def hold(name: str, printed) -> None:
    documented, found = schema(name), {}
    for path, value in leaves(printed):
        found.setdefault(path, []).append(value)
    for path, values in found.items():
        assert path in documented, (name, path)
        for value in values:
            assert any(isinstance(value, kind) and
                       (kind is not int or not isinstance(value, bool))
                       for kind in documented[path][0]), (name, path, value)
    assert {path for path, (_, always) in documented.items() if always} \
        <= set(found)


@pytest.fixture
def files(tmp_path):
    batches = random_batches(21, True)
    write(tmp_path / "a", batches, "v3")
    write(tmp_path / "b", changed_pages(batches, 4), "v3")
    return tmp_path


@pytest.mark.parametrize("name,arguments", [
    ("verify", ["@a", "@b"]),
    ("diff", ["@a", "@b"]),
    ("page", ["@a", "0-700"]),
    ("doctor", ["@."]),
])
def test_json_is_as_documented(files, name, arguments):
    words = [str(files / word[1:]) if word[0] == "@" else word
             for word in arguments]
    hold(name, json.loads(run(name, "--json", *words).stdout))
