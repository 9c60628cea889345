# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cores as docs/spec/core-dump.md has them, read without the C code."""
import struct
from dataclasses import dataclass, field

PAGE = 4096
INVALID = (1 << 64) - 1
EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
SHDR = struct.Struct("<IIQQQQIIQQ")
PHDR = struct.Struct("<IIQQQQQQ")
MAGIC = {0xf00febed: False, 0xf00febee: True}


@dataclass
class Section:
    name: str
    type: int
    offset: int
    size: int
    align: int
    entry: int


@dataclass
class Core:
    machine: int
    vcpus: int = 0
    translated: bool = False
    contexts: list = field(default_factory=list)
    pages: dict = field(default_factory=dict)       # pfn → contents
    mfns: dict = field(default_factory=dict)        # PV: pfn → mfn
    table: list = field(default_factory=list)
    sections: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)       # (name, type, contents)
    loads: list = field(default_factory=list)       # (address, bytes)
    kernel: list = field(default_factory=list)      # (virtual, address, …)


def note_list(data: bytes) -> list:
    notes, at = [], 0
    while at < len(data):
        name_size, size, type_ = struct.unpack_from("<III", data, at)
        at += 12
        name = data[at:at + name_size].rstrip(b"\0").decode()
        at += -(-name_size // 4) * 4
        notes.append((name, type_, data[at:at + size]))
        at += -(-size // 4) * 4
    assert at == len(data)
    return notes


def header(data: bytes) -> tuple:
    fields = EHDR.unpack_from(data)
    assert fields[0][:7] == b"\x7fELF\2\1\1"
    assert fields[1] == 4 and fields[3] == 1 and fields[8] == 64
    return fields


def read_xen(path) -> Core:
    data = path.read_bytes()
    fields = header(data)
    assert fields[0][7:] == b"\0\1" + bytes(7)
    assert (fields[5], fields[6], fields[10]) == (0, 64, 0)
    core = Core(machine=fields[2])
    raw = [SHDR.unpack_from(data, 64 + 64 * i) for i in range(fields[12])]
    assert raw[0] == (0,) * 10
    names = data[raw[fields[13]][4]:][:raw[fields[13]][5]]
    assert raw[fields[13]][4] + raw[fields[13]][5] == len(data)
    for name, type_, flags, address, offset, size, link, info, align, entry \
            in raw[1:]:
        assert not (flags or address or link or info)
        text = names[name:names.index(b"\0", name)].decode()
        core.sections[text] = Section(text, type_, offset, size, align, entry)

    def section(name: str) -> bytes:
        section = core.sections[name]
        return data[section.offset:section.offset + section.size]

    core.notes = note_list(section(".note.Xen"))
    assert [(n, t) for n, t, _ in core.notes] == [
        ("Xen", 0x2000000 + i) for i in range(4)]
    assert core.notes[0][2] == b"" and len(core.notes[2][2]) == 1280
    assert core.notes[3][2] == struct.pack("<Q", 1)
    magic, core.vcpus, pages, size = struct.unpack("<4Q", core.notes[1][2])
    assert size == PAGE
    core.translated = MAGIC[magic]
    status = section(".xen_prstatus")
    assert len(status) == 5168 * core.vcpus
    core.contexts = [status[i:i + 5168] for i in range(0, len(status), 5168)]
    contents = section(".xen_pages")
    assert len(contents) == pages * PAGE
    assert core.sections[".xen_pages"].offset % PAGE == 0
    table = section(".xen_pfn" if core.translated else ".xen_p2m")
    width = 1 if core.translated else 2
    assert len(table) == pages * 8 * width
    words = struct.unpack(f"<{pages * width}Q", table)
    core.table = [words[i:i + width] for i in range(0, len(words), width)]
    for number, entry in enumerate(core.table):
        page = contents[number * PAGE:(number + 1) * PAGE]
        if entry[0] == INVALID:
            assert page == bytes(PAGE)
            continue
        assert not core.pages or entry[0] > max(core.pages)
        core.pages[entry[0]] = page
        if width == 2:
            core.mfns[entry[0]] = entry[1]
    return core


def read_elf(path, pages: bool = True) -> Core:
    data = path.read_bytes()
    fields = header(data)
    assert fields[0][7:] == bytes(9) and fields[9] == 56
    core = Core(machine=fields[2])
    count = fields[10]
    if count == 0xffff:
        assert fields[12] == 1
        count = SHDR.unpack_from(data, fields[6])[7]
        assert count >= 0xffff
    else:
        assert fields[6] == 0 and fields[12] == 0
    for i in range(count):
        type_, flags, offset, virtual, physical, size, memory, align = \
            PHDR.unpack_from(data, fields[5] + 56 * i)
        if type_ == 4:
            assert i == 0
            core.notes = note_list(data[offset:offset + size])
            continue
        assert (type_, flags, align) == (1, 7, PAGE)
        assert size == memory and size
        if virtual != physical:
            core.kernel.append((virtual, physical, size))
            for at in range(0, size if pages else 0, PAGE):
                assert core.pages[(physical + at) // PAGE] == \
                    data[offset + at:offset + at + PAGE]
            continue
        assert not core.kernel
        assert offset % PAGE == 0 and offset + size <= len(data)
        assert not core.loads or physical > sum(core.loads[-1])
        core.loads.append((physical, size))
        for at in range(0, size if pages else 0, PAGE):
            core.pages[(physical + at) // PAGE] = \
                data[offset + at:offset + at + PAGE]
    return core
