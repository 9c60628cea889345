# SPDX-License-Identifier: LGPL-2.1-or-later
"""xl-aligned info, verify and convert, against the reference encoder."""
import io
import json
import os
import random
import re
import signal
import stat
import subprocess
import time

import pytest

from commands.program import CONFIG, PROGRAM, run, save_file
from model import layout as L
from model import savefile
from model.audit import audit_file
from model.batch import Batch
from model.encoder import commit, encode
from model.generator import Generator, domain_header, image_header, page_data
from model.header import header_of
from model.mutate import flip
from model.records import page_data as page_shape
from model.records import record, walk

FORMATS = ("v2", "compat", "v3")
DAMAGED, UNCHECKED = 1, 2


def place(folder, data, name="file"):
    file = folder / name
    file.write_bytes(data)
    return file


def head_length(file):
    return savefile.parse_head(file).stream_start


def info(*files):
    result = run("info", "--json", *files)
    assert result.stderr == ""
    return json.loads(result.stdout), result.returncode


def info_of(folder, data):
    (found,), status = info(place(folder, data))
    assert (status, found["error"]) == (0, None)
    return found


def other_head(format_, head, **options):
    """A save file of another toolstack; the head may hold anything."""
    v2 = Generator(11).hvm()
    start = len(head) + 24
    file = (head + savefile.libxl_head()
            + encode(v2, format_, start, **options) + savefile.pv_tail())
    return commit(file, start) if format_ == "v3" else file


def id_of(data, start):
    return header_of(data[start:]).file_id


def like(data, format_, *args, **options):
    """The file that is expected, with the id that was drawn for this one."""
    if format_ == "v3":
        options["file_id"] = id_of(data, head_length(data))
    return save_file(format_, *args, **options)


# ---- info --------------------------------------------------------------


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("seed", range(6))
def test_info_counts_what_is_there(tmp_path, format_, seed):
    data = save_file(format_, seed)
    start = head_length(data)
    found = info_of(tmp_path, data)
    types, stored, on_page, pfns = {}, 0, 0, 0
    stream = data[start:]
    for r in walk(stream):
        count, length = types.get(r.type, (0, 0))
        types[r.type] = count + 1, length + len(r.raw)
        if r.type == L.PAGE_DATA and page_shape(r.body):
            shape = page_shape(r.body)
            pages, at = shape.contents, 8 + shape.pages_offset
            pfns += len(shape.pfns)
        elif r.type == L.ALIGNED_PAGE_DATA:
            batch = Batch.unpack(len(r.body), r.body[:L.BATCH_HEADER.size])
            pages = batch.pages
            at = (8 + L.BATCH_HEADER.size + batch.table_length
                  + batch.pad_length)
            pfns += batch.count
        else:
            continue
        stored += pages
        on_page += pages if (start + r.offset + at) % 4096 == 0 else 0
    assert found["format"] == format_
    assert {r["record_type"]: (r["record_count"], r["length"])
            for r in found["record_types"] if r["layer"] == "libxc"} == types
    assert found["pfns"] == pfns
    assert found["pages_stored"] == stored
    assert found["pages_aligned"] == on_page
    assert found["length"] == len(data)
    assert found["head"]["length"] == found["stream"]["offset"] == start
    end = start + found["stream"]["length"]
    assert found["tail"] == {"offset": end, "length": len(data) - end,
                             "has_end": True}
    if stored:
        percent = 100 * (end - start - 4096 * stored) / (4096 * stored)
        assert abs(found["overhead_percent"] - percent) < 0.001


@pytest.mark.parametrize("format_", FORMATS)
def test_info_of_zero_pages_and_empty_pfns(tmp_path, format_):
    pfns = [1, 2, 0xf << 60 | 3, 4, 0xe << 60 | 5]
    pages = [b"\1" * 4096, bytes(4096), b"\2" * 4096]
    v2 = (image_header() + domain_header(2)
          + page_data(pfns, pages) + page_data([0xd << 60 | 9], [])
          + record(L.END))
    found = info_of(tmp_path, savefile.build(v2, CONFIG, savefile.pv_tail(),
                                             format_))
    zero = 1 if format_ == "v3" else 0
    assert found["pfns"] == 6
    assert found["pages_stored"] == 3 - zero
    assert found["pages_zero"] == zero
    assert found["pages_without_contents"] == 3
    assert found["stream"]["batches"] == 2
    aligned = 0 if format_ == "v2" else 3 - zero
    assert found["pages_aligned"] == aligned


def test_info_of_the_domain(tmp_path):
    found = info_of(tmp_path, save_file("v3"))
    domain = {
        "domain": "web01", "uuid": "7c0cbb22-8b8f-4a5c-93b7-2b5b2b9b6d10",
        "guest_type": "HVM", "memory_kib": 523264, "max_memory_kib": 524288,
        "vcpus": 2}
    assert domain.items() <= found.items()
    assert found["v3"]["state"] == "complete"
    assert found["whole"] is True


@pytest.mark.parametrize("config", [
    b"", b"name = 'web01'", b'{"c_info": {"name": "x"', b"[" * 100000,
    b'[{"name": "x"}]', b'{"c_info": [{"name": "x"}], "name": "x"}',
    b'{"c_info": {"name": null}, "c_info": ["x"]}',
    b'{"x": {"c_info": {"name": "x"}}}', b'{"c_info": {"name": "\xff"}}',
])
def test_info_of_a_configuration_without_a_name(tmp_path, config):
    found = info_of(tmp_path, save_file("v3", config=config))
    assert found["domain"] is None
    assert found["memory_kib"] is None


def test_info_tells_pvh_by_the_configuration(tmp_path):
    config = json.dumps({"c_info": {"type": "pvh"}}).encode()
    found = info_of(tmp_path, save_file("v2", config=config))
    assert found["guest_type"] == "PVH"


@pytest.mark.parametrize("format_", FORMATS)
def test_info_for_people_fits_80_columns(tmp_path, format_):
    file = place(tmp_path, save_file(format_))
    result = run("info", "--records", file.name, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "file"
    assert any(line.split()[:2] == ["format", format_ + ","
                                    if format_ == "v3" else format_]
               for line in lines)
    assert "web01, HVM, 511 MiB, 2 vCPUs" in result.stdout


def test_info_does_not_steer_the_terminal(tmp_path):
    config = b'{"c_info": {"name": "a\\u001b[31mb"}}'
    result = run("info", place(tmp_path, save_file("v3", config=config)))
    assert "\x1b" not in result.stdout
    assert r"a\x1b[31mb" in result.stdout


def test_info_records(tmp_path):
    data = save_file("v3")
    start = head_length(data)
    result = run("info", "--json", "--records", place(tmp_path, data))
    records = json.loads(result.stdout)[0]["records"]
    stream = [r for r in records if r["layer"] == "libxc"]
    assert [(r["record_type"], r["offset"], r["length"]) for r in stream] == [
        (r.type, start + r.offset, len(r.raw)) for r in walk(data[start:])]
    assert [r["record_name"] for r in records if r["layer"] == "libxl"] == [
        "EMULATOR_XENSTORE_DATA", "EMULATOR_CONTEXT", "END"]


def test_info_of_several(tmp_path):
    good = place(tmp_path, save_file("v3"), "good")
    bad = place(tmp_path, b"something else", "bad")
    found, status = info(good, bad, tmp_path / "missing", tmp_path)
    assert status == 1
    assert [item["error"] is None for item in found] == [True, False, False,
                                                         False]
    assert "No such file" in found[2]["error"]
    assert "neither a regular file nor a block device" in found[3]["error"]


def test_info_of_a_name_that_is_not_utf8(tmp_path):
    name = os.fsencode(tmp_path) + b"/\xff"
    with open(name, "wb") as file:
        file.write(save_file("v2"))
    result = subprocess.run([PROGRAM, "info", "--json", name], check=True,
                            stdout=subprocess.PIPE)
    assert json.loads(result.stdout)[0]["file"].endswith(r"/\xff")


@pytest.mark.parametrize("format_", FORMATS)
def test_info_of_a_cut_file(tmp_path, format_):
    data = save_file(format_)
    (found,), status = info(place(tmp_path, data[:-3000]))
    assert status == 1
    assert "not whole" in found["error"]
    assert found["stream"]["length"] is not None
    assert found["tail"]["has_end"] is False
    said = run("info", place(tmp_path, data[:-3000])).stdout
    state = re.search(r"^ *state +(.*)", said, re.M)[1]
    assert state.startswith("damaged: " if format_ == "v3" else
                            "unknown: "), said
    assert "complete;" not in said
    assert found["whole"] is (False if format_ == "v3" else None)


def test_info_survives_any_bytes(tmp_path):
    """Damage behind the head: an answer, whatever it is; no crash."""
    rng = random.Random(1)
    for format_ in FORMATS:
        data = bytearray(save_file(format_))
        for _ in range(60):
            broken = bytearray(data)
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(data))
                broken[at:at + 4] = rng.randbytes(4)
            result = run("info", "--json", "--records",
                         place(tmp_path, broken))
            assert result.returncode in (0, 1), result.stderr
            json.loads(result.stdout)


# ---- verify ------------------------------------------------------------


def verify(folder, data):
    result = run("verify", "--json", place(folder, data))
    assert result.stderr == ""
    verdict = json.loads(result.stdout)[0]
    status = {"whole": 0, "damaged": 1, "unchecked": 2}[verdict["verdict"]]
    assert result.returncode == status
    return status, verdict["reason"]


@pytest.mark.parametrize("seed", range(4))
def test_verify_of_good_files(tmp_path, seed):
    assert verify(tmp_path, save_file("v3", seed))[0] == 0
    assert verify(tmp_path, save_file("compat", seed))[0] == 0
    status, reason = verify(tmp_path, save_file("v2", seed))
    assert (status, "no checksums" in reason) == (UNCHECKED, True)


def test_verify_finds_flipped_bits_in_v3(tmp_path):
    data = save_file("v3", pages=8)
    rng = random.Random(2)
    start = head_length(data)
    # Every kind of place: head, headers, first batches, tail; and anywhere.
    bits = [8 * at for at in range(start, start + 200)]
    bits += [8 * rng.randrange(start) for _ in range(40)]
    bits += [rng.randrange(8 * len(data)) for _ in range(200)]
    for bit in bits:
        assert verify(tmp_path, flip(data, bit))[0] == DAMAGED, bit


def test_verify_finds_damaged_pages_in_compat(tmp_path):
    page = b"\7" * 4096
    v2 = (image_header() + domain_header(2)
          + page_data(list(range(4)), [page] * 4) + record(L.END))
    data = savefile.build(v2, CONFIG, savefile.pv_tail(), "compat")
    at = data.index(page)
    for offset in (0, 1, 4095, 4096, 4 * 4096 - 1):
        status, reason = verify(tmp_path, flip(data, 8 * (at + offset)))
        assert (status, "checksum" in reason) == (DAMAGED, True)


@pytest.mark.parametrize("format_", FORMATS)
def test_verify_finds_cuts(tmp_path, format_):
    data = save_file(format_, pages=8)
    start = head_length(data)
    cuts = {start + r.offset for r in walk(data[start:])}
    cuts |= set(range(len(data) - 60, len(data))) | {0, 1, 47, start}
    cuts |= {random.Random(3).randrange(len(data)) for _ in range(40)}
    for cut in sorted(cuts):
        assert verify(tmp_path, data[:cut])[0] == DAMAGED, cut


def test_verify_of_an_unfinished_file(tmp_path):
    parts = Generator(7).hvm(), CONFIG, savefile.pv_tail()
    v2 = savefile.build(*parts, "v2")
    start = head_length(v2)
    data = v2[:start] + encode(parts[0], "v3", start) + parts[2]
    status, reason = verify(tmp_path, data)
    assert (status, "did not finish" in reason) == (DAMAGED, True)


def test_verify_takes_the_worst(tmp_path):
    whole = place(tmp_path, save_file("v3"), "whole")
    old = place(tmp_path, save_file("v2"), "old")
    bad = place(tmp_path, save_file("v3")[:-1], "bad")
    missing = tmp_path / "missing"
    for files, status in (([whole], 0), ([whole, old], 2), ([missing], 2),
                          ([old, bad, whole], 1), ([missing, bad], 1)):
        result = run("verify", *files)
        assert result.returncode == status
        lines = result.stdout.splitlines()
        assert [line.split(":")[0] for line in lines] == list(map(str,
                                                                  files))


# ---- convert -----------------------------------------------------------


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("to", FORMATS)
def test_convert_files(tmp_path, source, to):
    for seed in range(4):
        out = tmp_path / f"out{seed}"
        result = run("convert", f"--to={to}",
                     place(tmp_path, save_file(source, seed)), out)
        assert (result.returncode, result.stderr) == (0, "")
        data = out.read_bytes()
        assert data == like(data, to, seed)
        assert to != "v3" or data != save_file(to, seed)    # a new id
        assert stat.S_IMODE(out.stat().st_mode) == 0o600


@pytest.mark.parametrize("spare", range(8))
@pytest.mark.parametrize("to", ("compat", "v3"))
def test_convert_with_every_head_length(tmp_path, spare, to):
    """And the padding that compat adds goes away again, pipe or file."""
    config = CONFIG + b" " * spare
    stock = save_file("v2", config=config)
    new, old = tmp_path / "new", tmp_path / "old"
    assert run("convert", f"--to={to}", place(tmp_path, stock),
               new).returncode == 0
    data = new.read_bytes()
    assert data == like(data, to, config=config)
    assert run("convert", "--to=v2", new, old).returncode == 0
    assert old.read_bytes() == stock
    piped = run("convert", "--to=v2", "-", "-", text=False, input=data)
    assert piped.stdout == stock


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("to", FORMATS)
def test_convert_through_pipes(tmp_path, source, to):
    result = run("convert", f"--to={to}", "-", "-", text=False,
                 input=save_file(source))
    assert (result.returncode, result.stderr) == (0, b"")
    assert savefile.to_v2(result.stdout) == save_file("v2")
    assert verify(tmp_path, result.stdout)[0] == (2 if to == "v2" else 0)
    again = tmp_path / "again"
    assert run("convert", "--to=v3", place(tmp_path, result.stdout),
               again).returncode == 0
    data = again.read_bytes()
    assert data == like(data, "v3")


@pytest.mark.parametrize("to", FORMATS)
def test_convert_from_standard_input_that_is_a_file(tmp_path, to):
    with open(place(tmp_path, save_file("compat")), "rb") as file:
        result = run("convert", f"--to={to}", "-", tmp_path / "out",
                     stdin=file)
    assert (result.returncode, result.stderr) == (0, "")
    data = (tmp_path / "out").read_bytes()
    assert data == like(data, to)


@pytest.mark.parametrize("length", (0, 1, 23, 24, 25, 5000, 1 << 20))
def test_heads_of_other_toolstacks(tmp_path, length):
    head = bytes(random.Random(length).randbytes(length))
    if length == 5000:              # almost a libxl header, several times
        head = (savefile.libxl_head()[:23] * 300)[:length]
    stock, new = other_head("v2", head), other_head("v3", head)
    out, back = tmp_path / "out", tmp_path / "back"
    assert info_of(tmp_path, new)["head"]["toolstack"] == "other"
    assert verify(tmp_path, new)[0] == 0
    assert run("convert", "--to=v3", place(tmp_path, stock),
               out).returncode == 0
    data = out.read_bytes()
    assert data == other_head("v3", head, file_id=id_of(data, length + 24))
    assert run("convert", "--to=v2", out, back).returncode == 0
    assert back.read_bytes() == stock
    piped = run("convert", "--to=v2", "-", "-", text=False, input=new)
    assert piped.stdout == stock


def test_convert_to_compat_needs_a_start_on_8(tmp_path):
    result = run("convert", "--to=compat",
                 place(tmp_path, other_head("v2", b"12345")),
                 tmp_path / "out")
    assert result.returncode == 1
    assert "multiple of 8" in result.stderr
    assert os.listdir(tmp_path) == ["file"]


def test_convert_in_place(tmp_path):
    file = place(tmp_path, save_file("v2"))
    assert run("convert", "--to=v3", file, file).returncode == 0
    data = file.read_bytes()
    assert data == like(data, "v3")
    assert os.listdir(tmp_path) == ["file"]


def test_converted_files_hold_for_the_auditor(tmp_path):
    """Every page on 4096, by the checker that shares no code with this."""
    out = tmp_path / "out"
    page = random.Random(5).randbytes(4096)
    v2 = (image_header() + domain_header(2) + b"".join(
        page_data(list(range(n, n + 9)), [page] * 9)
        for n in range(0, 90, 9)) + record(L.END))
    stock = place(tmp_path, savefile.build(v2, CONFIG + b" ",
                                           savefile.pv_tail(), "v2"))
    for to in ("v3", "compat"):
        assert run("convert", f"--to={to}", stock, out).returncode == 0
        with open(out, "rb") as file:
            report = audit_file(io.BytesIO(file.read()))[0]
        assert report.faults == [] and report.pages == 90
        assert info_of(tmp_path, out.read_bytes())["pages_aligned"] == 90


OLD = b"what was there before"


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("piped", (False, True))
def test_damaged_input_leaves_the_output_alone(tmp_path, to, piped):
    out = place(tmp_path, OLD, "out")
    data = save_file("v3")
    start = head_length(data)
    broken = [data[:-8], data[:start], data[:20], b"", b"something else",
              flip(data, 8 * (start + 700))]
    if not piped:
        broken += [data + b"more", flip(data, 8 * 60)]
    for content in broken:
        if piped:
            result = run("convert", f"--to={to}", "-", out, text=False,
                         input=content)
        else:
            result = run("convert", f"--to={to}", place(tmp_path, content),
                         out, text=False)
        assert result.returncode == 1
        assert result.stderr.count(b"\n") == 1
        assert out.read_bytes() == OLD
        assert not (tmp_path / "out.partial").exists()


def test_convert_refuses_what_is_not_there(tmp_path):
    missing = run("convert", "--to=v2", tmp_path / "missing",
                  tmp_path / "out")
    assert (missing.returncode, os.listdir(tmp_path)) == (1, [])
    assert "No such file" in missing.stderr
    file = place(tmp_path, save_file("v2"))
    result = run("convert", "--to=v3", file, tmp_path / "no" / "out")
    assert result.returncode == 1
    assert "No such file" in result.stderr


@pytest.mark.parametrize("signum", (signal.SIGINT, signal.SIGTERM))
def test_interrupted_convert_leaves_nothing(tmp_path, signum):
    data = save_file("v2")
    process = subprocess.Popen(
        [PROGRAM, "convert", "--to=v3", "-", tmp_path / "out"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(data[:-100])
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while os.listdir(tmp_path) != ["out.partial"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signum)
    process.communicate(timeout=30)
    assert process.returncode == -signum
    assert os.listdir(tmp_path) == []


def test_convert_to_a_closed_pipe(tmp_path):
    file = place(tmp_path, save_file("v2"))
    reader, writer = os.pipe()
    os.close(reader)
    result = run("convert", "--to=v3", file, "-", stdout=writer)
    os.close(writer)
    assert result.returncode in (1, -signal.SIGPIPE)


def test_convert_to_a_full_disk(tmp_path):
    result = run("convert", "--to=v2", place(tmp_path, save_file("v2")),
                 "/dev/full")
    assert result.returncode == 1
    assert "No space left" in result.stderr


# -- long tails ---------------------------------------------------------------

def cached(file) -> int:
    """MiB of the file in the page cache."""
    done = subprocess.run(["fincore", "-b", "-n", "-o", "RES", file],
                          capture_output=True, text=True, check=True)
    return int(done.stdout) >> 20


TO_READ = {"verify": (), "convert": ("--to=v2", "/dev/null")}


def long_tail(folder, format_, mib):
    data = save_file(format_)
    file = place(folder, data[:-8])
    with open(file, "r+b") as out:
        out.seek(0, os.SEEK_END)
        body = bytes([7]) * (mib << 20)
        out.write(L.RECORD_HEADER.pack(3, len(body)) + body + record(0))
        os.fsync(out.fileno())
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return file


@pytest.mark.parametrize("command", TO_READ)
def test_a_long_tail_is_not_left_in_the_page_cache(tmp_path, command):
    file = long_tail(tmp_path, "v2", 64)
    assert cached(file) == 0
    done = run(command, *TO_READ[command][:1], file, *TO_READ[command][1:])
    assert done.returncode == (0 if command == "convert" else UNCHECKED)
    assert cached(file) < 8


@pytest.mark.parametrize("command", TO_READ)
def test_a_tail_has_a_limit(tmp_path, command):
    """A record of 3 GiB, which the file does have, as a hole."""
    data = save_file("v2")[:-8] + L.RECORD_HEADER.pack(3, 3 << 30)
    file = place(tmp_path, data)
    os.truncate(file, len(data) + (3 << 30) + 8)
    done = run(command, *TO_READ[command][:1], file, *TO_READ[command][1:])
    assert done.returncode == DAMAGED
    assert "more than 1 GiB" in done.stdout + done.stderr
    assert cached(file) < 8
