# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned page and diff, held against the decoder of the tests."""
import ctypes
import json
import random
import struct

import pytest

from commands.pages import TAIL, changed_pages, random_batches, stream, write
from commands.program import CONFIG, run
from model import layout as L
from model import savefile
from model.domains import cpu_record, hvm_context
from model.generator import domain_header, image_header, page_data
from model.encoder import encode_v3
from model.grown import committed, head_of
from model.records import record
from model.savefile import libxl_head

FORMATS = ("v2", "compat", "v3")


def memory(batches) -> dict:
    return {pfn: page for batch in batches for pfn, page in batch
            if page is not None}


def ranges(pfns) -> list:
    """Runs of numbers that follow each other."""
    out = []
    for pfn in sorted(pfns):
        if out and out[-1][1] + 1 == pfn:
            out[-1][1] = pfn
        else:
            out.append([pfn, pfn])
    return out


# ---- page ------------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("live", (False, True))
def test_every_page(tmp_path, format_, live):
    batches = random_batches(11, live)
    pages = memory(batches)
    file = write(tmp_path / "file", batches, format_)
    out = tmp_path / "out"
    wanted = [f"{first}-{last:#x}" for first, last in ranges(pages)]
    result = run("page", "-o", out, file, *wanted)
    assert (result.returncode, result.stderr) == (0, "")
    assert out.read_bytes() == b"".join(
        pages[pfn] for pfn in sorted(pages))
    assert out.stat().st_mode & 0o777 == 0o600

    # One by one, in any order, through stdout.
    some = random.Random(1).sample(sorted(pages), 20)
    result = run("page", "--output=-", file, *some, text=False)
    assert result.stdout == b"".join(pages[pfn] for pfn in some)


@pytest.mark.parametrize("format_", FORMATS)
def test_json_says_where(tmp_path, format_):
    batches = random_batches(3, True)
    pages = memory(batches)
    file = write(tmp_path / "file", batches, format_)
    result = run("page", "--json", file, "0-700")
    assert result.returncode == 1       # some are not there
    found = json.loads(result.stdout)
    assert [page["pfn"] for page in found] == list(range(701))
    data = file.read_bytes()
    for page in found:
        contents = pages.get(page["pfn"])
        if contents is None:
            assert page["kind"] == "absent"
        elif page["kind"] == "zero":
            assert format_ == "v3" and contents == L.ZERO_PAGE
        else:
            at = page["offset"]
            assert data[at:at + L.PAGE] == contents
            assert format_ == "v2" or at % L.PAGE == 0


def test_dump(tmp_path):
    page = bytes(range(256)) + b"\x41" * 3840
    file = write(tmp_path / "file", [[(7, page), (8, L.ZERO_PAGE)]], "v3")
    result = run("page", file, "7")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("pfn 0x7: normal, at offset ")
    assert lines[1] == ("  000  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d "
                        "0e 0f  |................|")
    assert lines[3].endswith(r"""| !"#$%&'()*+,-./|""")
    assert lines[17].startswith("  100  41 41")
    assert lines[18:] == ["  *"]
    result = run("page", file, "8", "9")
    assert result.returncode == 1
    assert "pfn 0x8: normal, all zero, not stored" in result.stdout
    assert "pfn 0x9: no contents" in result.stdout
    assert "holds no contents of pfn 0x9" in result.stderr


def test_page_table_types(tmp_path):
    pfns = [0x1 << 60 | 5, 0xc << 60 | 6]
    v2 = b"".join((image_header(), domain_header(1), record(0x10, b""),
                   page_data(pfns, [b"\1" * L.PAGE, b"\2" * L.PAGE]),
                   record(0, b"")))
    file = tmp_path / "file"
    file.write_bytes(savefile.build(v2, CONFIG, TAIL, "v3"))
    found = json.loads(run("page", "--json", file, "5-6").stdout)
    assert [page["page_type"] for page in found] == ["L1 table",
                                                "L4 table, pinned"]


def test_nothing_is_extracted_if_one_is_missing(tmp_path):
    file = write(tmp_path / "file", [[(7, b"\1" * L.PAGE)]], "v3")
    out = tmp_path / "out"
    out.write_bytes(b"old")
    result = run("page", "-o", out, file, "7-9")
    assert result.returncode == 1
    assert "pfn 0x8 and others" in result.stderr
    assert out.read_bytes() == b"old"


def test_the_save_file_is_no_output(tmp_path):
    file = write(tmp_path / "file", [[(7, b"\1" * L.PAGE)]], "v3")
    saved = file.read_bytes()
    (tmp_path / "soft").symlink_to(file)
    for out in (file, tmp_path / "soft"):
        result = run("page", "-o", out, file, "7")
        assert result.returncode == 1
        assert "is the save file itself" in result.stderr
    assert file.read_bytes() == saved


@pytest.mark.parametrize("pfn", ("x", "-1", "1-", "2-1", "1-2-3", "0x",
                                 "1 ", "0x10000000000000", "1,2",
                                 "99999999999999999999"))
def test_not_a_pfn(tmp_path, pfn):
    file = write(tmp_path / "file", [[(1, b"\1" * L.PAGE)]], "v3")
    result = run("page", "--", file, pfn)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "is not a pfn" in result.stderr


@pytest.mark.parametrize("format_", ("compat", "v3"))
def test_a_damaged_batch_is_not_shown(tmp_path, format_):
    batches = random_batches(5, False)
    file = write(tmp_path / "file", batches, format_)
    found = json.loads(run("page", "--json", file, "0-700").stdout)
    page = next(p for p in found if p["kind"] == "stored")
    data = bytearray(file.read_bytes())
    data[page["offset"] + 100] ^= 1
    file.write_bytes(data)
    out = tmp_path / "out"
    result = run("page", "-o", out, file, page["pfn"])
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "checksum" in result.stderr
    assert not out.exists()


def test_unfinished_files_are_refused(tmp_path):
    data = bytearray(savefile.build(stream(random_batches(5, False)), CONFIG,
                                    TAIL, "v3"))
    file = tmp_path / "file"
    file.write_bytes(data[:-1])
    result = run("page", file, "1")
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert run("diff", file, file).returncode == 2


# ---- diff ------------------------------------------------------------------


def expected(a: dict, b: dict) -> dict:
    return {
        "changed": {p for p in a if p in b and a[p] != b[p]},
        "only_a": set(a) - set(b),
        "only_b": set(b) - set(a),
    }


@pytest.mark.parametrize("format_a", FORMATS)
@pytest.mark.parametrize("format_b", FORMATS)
def test_diff(tmp_path, format_a, format_b):
    batches = random_batches(21, True)
    after = changed_pages(batches, 4)
    a = write(tmp_path / "a", batches, format_a)
    b = write(tmp_path / "b", after, format_b)
    result = run("diff", "--json", a, b)
    assert (result.returncode, result.stderr) == (1, "")
    found = json.loads(result.stdout)
    wanted = expected(memory(batches), memory(after))
    for change, pfns in wanted.items():
        assert [[r["first_pfn"], r["last_pfn"]] for r in found["ranges"]
                if r["change"] == change] == ranges(pfns)
        assert found[f"pages_{change}"] == len(pfns)
    assert found["pages_a"] == len(memory(batches))
    assert found["pages_b"] == len(memory(after))
    assert found["pages_a"] == sum(
        found[f"pages_{change}"] for change in ("same", "changed", "only_a"))

    text = run("diff", a, b).stdout.splitlines()
    assert len(text) == len(found["ranges"]) + 1
    assert text[-1].startswith(f"{found['pages_a']} pages in A, ")
    assert run("diff", "--summary", a, b).stdout.splitlines() == text[-1:]
    for line, entry in zip(text, found["ranges"]):
        assert f"0x{entry['first_pfn']:08x}-0x{entry['last_pfn']:08x}" in line


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same(tmp_path, format_):
    v2 = stream(random_batches(8, True))
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(savefile.build(v2, CONFIG, TAIL, "v3"))
    b.write_bytes(savefile.build(v2, CONFIG + b" " * 77, TAIL, format_))
    result = run("diff", a, b)
    assert (result.returncode, result.stderr) == (0, "")
    assert " 0 changed (0.0 MiB), 0 only in A, 0 only in B" in result.stdout


def test_damage_is_no_difference(tmp_path):
    """Nor is it none: what diff reads is verified."""
    batches = random_batches(6, False)
    a = write(tmp_path / "a", batches, "v3")
    b = write(tmp_path / "b", batches, "v3")
    found = json.loads(run("page", "--json", a, "0-700").stdout)
    page = next(p for p in found if p["kind"] == "stored")
    data = bytearray(a.read_bytes())
    data[page["offset"]] ^= 1
    a.write_bytes(data)
    for pair in ((a, b), (b, a)):
        result = run("diff", "--contents", *pair)
        assert result.returncode == 2 and "checksum" in result.stderr


def test_only_changed_frames_are_read(tmp_path):
    """Everything else is damaged, and nobody notices."""
    rng = random.Random(7)
    batches = [[(64 * n + i, rng.randbytes(L.PAGE)) for i in range(64)]
               for n in range(8)]
    after = [list(batch) for batch in batches]
    after[3][21] = (64 * 3 + 21, rng.randbytes(L.PAGE))
    files = [write(tmp_path / name, contents, "v3")
             for name, contents in (("a", batches), ("b", after))]
    for file in files:
        data = bytearray(file.read_bytes())
        for page in json.loads(run("page", "--json", file, "0-511").stdout):
            if page["pfn"] // 4 != (64 * 3 + 21) // 4:
                data[page["offset"] + 77] ^= 1
        file.write_bytes(data)
    result = run("diff", "--json", *files)
    assert (result.returncode, result.stderr) == (1, "")
    assert json.loads(result.stdout)["ranges"] == [
        {"first_pfn": 213, "last_pfn": 213, "change": "changed"}]
    assert run("diff", "--contents", *files).returncode == 2


def colliding_pages() -> tuple:
    """Two pages with one XXH3, if whole blocks of 1024 bytes of the input
    hold them and a stripe of 64 bytes follows: where the low half of a lane
    is that of the secret, its product is 0, and the high half only adds to a
    sum within its block."""
    secret = ctypes.create_string_buffer(192)
    ctypes.CDLL("libxxhash.so.0").XXH3_generateSecret_fromSeed(
        secret, ctypes.c_uint64(0))
    pages = bytearray(random.Random(24).randbytes(L.PAGE)), bytearray(L.PAGE)
    pages[1][:] = pages[0]
    for block in range(0, L.PAGE, 1024):
        for stripe in range(0, 16, 2):
            for lane in range(8):
                for page, step in zip(pages, (0, 0x01234567 + lane)):
                    for which, delta in ((0, step), (1, -step)):
                        at = 8 * (stripe + which + lane)
                        low = secret.raw[at:at + 4]
                        high = (0x5a5a5a5a + delta) % (1 << 32)
                        struct.pack_into(
                            "<4sI", page,
                            block + 64 * (stripe + which) + 8 * lane, low,
                            high)
    return bytes(pages[0]), bytes(pages[1])


@pytest.mark.parametrize("format_", ["v3", "compat"])
def test_equal_checksums_are_not_equal_contents(tmp_path, format_):
    pages = colliding_pages()
    differ = sum(x != y for x, y in zip(*pages))
    assert differ > 1000
    others = random_batches(5, False)
    files = []
    for name, page in zip("ab", pages):
        # The last page of a frame is followed by no stripe.
        batches = [[(pfn, b"\5" * L.PAGE if pfn % 4 == 3 else page)
                    for pfn in range(9000, 9008)], *others]
        files.append(write(tmp_path / name, batches, format_))
    a, b = (file.read_bytes() for file in files)
    # Each checksum of the two files, those of head and tail too.
    assert sum(x != y for x, y in zip(a, b)) == 6 * differ
    for file in files:
        assert run("verify", file).returncode == 0
    assert run("diff", *files).returncode == (format_ != "v3")
    result = run("diff", "--contents", "--json", *files)
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["ranges"] == [
        {"first_pfn": pfn, "last_pfn": pfn + 2, "change": "changed"}
        for pfn in (9000, 9004)]
    assert run("diff", files[0], files[0]).returncode == 0


def test_pfns_far_apart(tmp_path):
    """Time goes with the pages and not with the pfns."""
    batches = [[(0, b"\1" * L.PAGE), ((1 << 52) - 1, b"\2" * L.PAGE)],
               [(1 << 51, b"\3" * L.PAGE)]]
    a = write(tmp_path / "a", batches, "v3")
    b = write(tmp_path / "b", batches[:1], "v2")
    found = json.loads(run("diff", "--json", a, b).stdout)
    assert found["ranges"] == [
        {"first_pfn": 1 << 51, "last_pfn": 1 << 51, "change": "only_a"}]


def test_a_form_that_xen_does_not_write(tmp_path):
    """No page of it can be looked up: better said than left out."""
    odd = record(1, struct.pack("<IIQ", 1, 7, 5) + b"\1" * L.PAGE)
    v2 = image_header() + domain_header(2) + odd + record(0, b"")
    file = tmp_path / "file"
    file.write_bytes(savefile.build(v2, CONFIG, TAIL, "v2"))
    result = run("page", file, 5)
    assert result.returncode == 1
    assert "a form that Xen does not write" in result.stderr


@pytest.mark.parametrize("command", ("page", "diff", "to-core"))
def test_pages_beside_the_index(tmp_path, command):
    """A page sent again in a PAGE_DATA that v3 leaves as it is: neither the
    first copy nor anything else is shown."""
    again = record(1, struct.pack("<IIQ", 1, 7, 5) + b"\2" * L.PAGE)
    v2 = (image_header() + domain_header(2)
          + page_data([5], [b"\1" * L.PAGE]) + again
          + record(9, hvm_context([cpu_record(0)])) + record(0, b""))
    plain, file = tmp_path / "plain", tmp_path / "file"
    plain.write_bytes(savefile.build(v2, CONFIG, TAIL, "v2"))
    assert run("convert", "--to=v3", plain, file).returncode == 0
    assert run("verify", file).returncode == 0
    last = {"page": "5", "diff": file, "to-core": tmp_path / "core"}[command]
    result = run(command, file, last)
    assert result.returncode == (2 if command == "diff" else 1)
    assert "single pages of this file cannot be found" in result.stderr
    assert result.stdout == "" and not (tmp_path / "core").exists()
    # It is whole all the same.
    assert run("convert", "--to=v2", file, tmp_path / "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == plain.read_bytes()


def test_two_files_are_needed(tmp_path):
    for arguments in (["a"], ["a", "b", "c"], []):
        result = run("diff", *arguments)
        assert result.returncode == 2
        assert "expected A B" in result.stderr
    result = run("diff", tmp_path / "none", tmp_path / "none")
    assert result.returncode == 2 and result.stderr.count("\n") == 1


def test_info_shows_the_identity(tmp_path):
    v2 = stream(random_batches(3, False))
    start = len(libxl_head())
    file = tmp_path / "file"
    identity = {"name": "web01", "host": "\u202eh\u00f6st"}
    file.write_bytes(head_of(start) + committed(
        encode_v3(v2, start, identity=identity), start)
        + struct.pack("<II", 0, 0))
    shown = run("info", file).stdout
    assert "identity    name=web01\n" in shown
    assert "host=" in shown and "\u202e" not in shown
    found, = json.loads(run("info", "--json", file).stdout)
    assert [list(line) for line in found["v3"]["identity"]] == [
        ["key", "value"]] * 2
    assert found["v3"]["identity"][0] == {"key": "name", "value": "web01"}
    assert found["v3"]["identity"][1]["key"] == "host"
