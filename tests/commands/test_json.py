# SPDX-License-Identifier: LGPL-2.1-or-later
"""JSON output and docs/json.md agree: every key, type and null, both ways."""
import copy
import json
import re
import subprocess
import threading

import pytest

from commands.packed import convert
from commands.pages import changed_pages, random_batches
from commands.pages import stream as stream_of
from commands.pages import write
from commands.program import PROGRAM, run, save_file
from commands.site import OWN, SAVE
from commands.transport import Listener
from model import layout as L
from model import savefile
from model.records import record
from support import ROOT

PAGE = (ROOT / "docs/json.md").read_text()
TYPES = {"text": str, "integer": int, "number": (int, float), "boolean": bool,
         "integers": list, "array": list, "object": dict, "null": type(None)}
ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \|", re.M)


def schemas() -> dict:
    """Of each command: path -> words of the column `type`."""
    found = {}
    sections = re.findall(r"^### ([^\n]+)\n(.*?)(?=^### |\Z)", PAGE,
                          re.M | re.S)
    for commands, text in sections:
        rows = {path: words.split(", ") for path, words in ROW.findall(text)}
        found.update(dict.fromkeys(commands.split(", "), rows))
    return found


SCHEMAS = schemas()
VOCABULARY = ROW.findall(PAGE.partition("## Vocabulary")[2]
                         .partition("## Schemas")[0])


def is_a(value, word: str) -> bool:
    if isinstance(value, bool):
        return word == "boolean"
    return isinstance(value, TYPES[word]) and (
        word != "integers" or all(is_a(each, "integer") for each in value))


def visit(schema: dict, value, path: str, seen: set) -> None:
    """Asserts that the value is as documented; collects (path, type)."""
    if isinstance(value, list):
        for member in value:
            visit(schema, member, f"{path}[]", seen)
    if not isinstance(value, dict):
        return
    prefix = f"{path}." if path else ""
    for key, member in value.items():
        name = prefix + key
        assert name in schema, f"{name} is not documented"
        words = [word for word in schema[name] if word != "optional"]
        fit = [word for word in words if is_a(member, word)]
        assert fit, f"{name}: {member!r} is no {words}"
        seen.update((name, word) for word in fit)
        if "integers" not in words:
            visit(schema, member, name, seen)
    for name, words in schema.items():
        if name.rpartition(".")[0] == path and "optional" not in words:
            assert name[len(prefix):] in value, f"{name} is missing"
        elif name.rpartition(".")[0] == path \
                and name[len(prefix):] not in value:
            seen.add((name, "optional"))


def hold(schema: dict, outputs: list) -> None:
    """What was printed, in all runs together, is all that is documented."""
    seen = set()
    for output in outputs:
        visit(schema, output, "", seen)
    documented = {(path, word) for path, words in schema.items()
                  for word in words}
    assert documented <= seen, f"never printed: {documented - seen}"


# ---- what the commands print ---------------------------------------------


def printed(*arguments) -> object:
    return json.loads(run(*arguments).stdout)


@pytest.fixture
def files(tmp_path):
    batches = random_batches(21, True)
    write(tmp_path / "a", batches, "v3")
    write(tmp_path / "b", changed_pages(batches, 4), "v3")
    (tmp_path / "text").write_text("not a save file")
    for format_ in ("v2", "v3"):
        (tmp_path / format_).write_bytes(save_file(format_))
    (tmp_path / "named").write_bytes(save_file("v3", identity={
        "name": "web01", "host": "a=b"}))
    (tmp_path / "cut").write_bytes(save_file("v3")[:-3000])
    (tmp_path / "short").write_bytes(save_file("v3")[:-30000])
    # Neither xl's head nor a record that we know.
    stream = stream_of([[(1, b"x" * L.PAGE)]])
    stream = stream[:-8] + record(0xfffffff0, b"") + stream[-8:]
    (tmp_path / "foreign").write_bytes(
        b"another toolstack" + savefile.libxl_head() + stream
        + savefile.pv_tail())
    cut = save_file("v2")[:-2000]
    (tmp_path / "v2-cut").write_bytes(cut[:len(cut) // 512 * 512])
    convert(tmp_path, name="packed")
    return tmp_path


def of_device(file) -> list:
    """Of a block device with this file; nothing where there can be none."""
    result = subprocess.run(
        ["sh", "-euc", """device=$(/sbin/losetup -f --show "$1")
         trap '/sbin/losetup -d $device' EXIT
         "$2" info --json "$device" || :""", "sh", file, PROGRAM],
        stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(result.stdout) if result.stdout else []


def of_info(files):
    names = ["v2", "v3", "text", "cut", "short", "foreign", "packed", "named"]
    device = of_device(files / "v2-cut")
    if not device:      # where else the length is unknown
        SCHEMAS["info"]["[].tail.length"].remove("null")
    return [printed("info", "--json", *(files / name for name in names)),
            printed("info", "--json", "--records", files / "foreign"),
            device]


def of_verify(files):
    return [printed("verify", "--json", *(files / name for name in (
        "a", "v2", "text", "cut", "short")))]


def of_diff(files):
    return [printed("diff", "--json", *options, files / "a", files / "b")
            for options in ([], ["--summary"])]


def of_page(files):
    return [printed("page", "--json", files / "a", "0-700"),
            printed("page", "--json", files / "packed", "4")]


def of_doctor(files):
    return [printed("doctor", "--json", files)]


@pytest.mark.parametrize("command,outputs", [
    ("info", of_info), ("verify", of_verify), ("diff", of_diff),
    ("page", of_page), ("doctor", of_doctor)])
def test_files(files, command, outputs):
    hold(SCHEMAS[command], outputs(files))


@pytest.mark.parametrize("command,action", [
    ("save", "show-save:commit"), ("restore", "show-read:exit:0"),
    ("dump-core", "show-read:exit:0")],
    ids=["save", "restore", "dump-core"])
def test_progress(xl, folder, command, action):
    xl.will(action, save_file("v3"))
    file = folder / "file"
    if command == "restore":
        file.write_bytes(save_file("v3"))
    operands = [file] if command == "restore" else ["d", file]
    result = xl.run(command, "--progress=json", *operands)
    assert result.returncode == 0, result.stderr
    hold(SCHEMAS[command], [json.loads(line)
                            for line in result.stdout.splitlines()])


def test_status(site, store):
    store.make(f"{OWN}-1", **SAVE)
    store.make(f"{OWN}-2", operation="receive", phase="ended", bytes=5,
               total=0, rate=1, begun=1700000001, peer="10.0.0.7",
               cancel=OWN, result="cancelled")
    array = site.command("status", "--json").stdout
    threading.Timer(1.5, store.clear).start()
    lines = site.command("status", "--json", "--follow").stdout.splitlines()
    for output in ([array], lines):
        hold(SCHEMAS["status"], [json.loads(each) for each in output])


def test_migrate(hosts, path):
    with Listener(hosts, f"unix:{path}"):
        outputs = [hosts.migrate("--json", "dom", f"unix:{path}", **env)
                   for env in ({"FAKE_PASSES": "[32768, 512]"},
                               {"FAKE_FAIL": "send"})]
    outputs.append(hosts.migrate("--json", "dom", "unix:/nowhere"))
    hold(SCHEMAS["migrate"], [json.loads(each.stdout) for each in outputs])


# ---- the page ------------------------------------------------------------


def test_every_command_that_prints_json_has_a_schema():
    commands = set(re.findall(r"^  ([a-z-]+) ", run("--help").stdout, re.M))
    printing = {command for command in commands if re.search(
        r"--json|--progress=", run(command, "--help").stdout)}
    assert {"info", "save"} < printing and "convert" not in printing
    assert printing == set(SCHEMAS)


def test_a_key_has_one_meaning():
    """Each has one row, which says what it is in every command."""
    keys = [key for key, _ in VOCABULARY]
    assert keys == sorted(set(keys))
    types = dict(VOCABULARY)
    used = set()
    for command, schema in SCHEMAS.items():
        for name, words in schema.items():
            key = re.split(r"[.\]]", name)[-1]
            used.add(key)
            assert words[0] == types.get(key), (command, name)
            assert set(words[1:]) <= {"null", "optional"}, (command, name)
    assert used == set(keys)


# ---- hold() itself -------------------------------------------------------


GOOD = {"whole": {"a": 1, "list": [{"b": "x"}, {"b": None, "c": [1]}]}}
SCHEMA = {"whole": ["object"], "whole.a": ["integer"],
          "whole.list": ["array"], "whole.list[].b": ["text", "null"],
          "whole.list[].c": ["integers", "optional"]}


def changed(value, change):
    value = copy.deepcopy(value)
    change(value)
    return value


def test_what_agrees_is_held():
    hold(SCHEMA, [GOOD])


@pytest.mark.parametrize("change", [
    lambda good: good.update(more=1),
    lambda good: good["whole"].pop("a"),
    lambda good: good["whole"].update(a="1"),
    lambda good: good["whole"].update(a=True),
    lambda good: good["whole"].update(a=None),
    lambda good: good["whole"]["list"][0].pop("b"),
    lambda good: good["whole"]["list"][0].update(more=None),
    lambda good: good["whole"]["list"][1].update(c=["1"]),
    lambda good: good["whole"]["list"].pop(),       # no null, no c
])
def test_output_that_is_not_as_documented(change):
    with pytest.raises(AssertionError):
        hold(SCHEMA, [changed(GOOD, change)])


@pytest.mark.parametrize("change", [
    lambda schema: schema.update(more=["text"]),
    lambda schema: schema.update(more=["text", "optional"]),
    lambda schema: schema.pop("whole.a"),
    lambda schema: schema.pop("whole.list[].c"),
    lambda schema: schema["whole.a"].append("null"),
    lambda schema: schema["whole.a"].append("optional"),
    lambda schema: schema["whole.list[].b"].remove("null"),
    lambda schema: schema["whole.list[].c"].remove("optional"),
])
def test_a_page_that_is_not_as_printed(change):
    with pytest.raises(AssertionError):
        hold(changed(SCHEMA, change), [GOOD])
