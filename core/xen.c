/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The Xen format of core files: spec 2. */
#include <elf.h>

#include "write.h"

#define MAGIC_PV            0xf00febedU
#define MAGIC_TRANSLATED    0xf00febeeU

#define NOTE_NONE           0x2000000U
#define NOTE_HEADER         0x2000001U
#define NOTE_XEN_VERSION    0x2000002U
#define NOTE_FORMAT_VERSION 0x2000003U
#define FORMAT_VERSION      1ULL

#define SECTIONS_MAX        7
#define NAMES_MAX           128

struct note {
    uint32_t name_size, size, type;
    char name[4];
};

struct notes {
    struct note none;
    struct note header_note;
    struct {
        uint64_t magic, vcpus, pages, page_size;
    } header;
    struct note xen_note;
    struct core_xen_version xen;
    struct note format_note;
    uint64_t format;
};

_Static_assert(sizeof(struct notes) == 1384, "spec 2");

struct table {
    uint64_t *entry; /* {pfn, mfn}, or pfn alone */
    uint32_t words;  /* of an entry */
};

struct layout {
    Elf64_Ehdr header;
    Elf64_Shdr section[SECTIONS_MAX];
    uint32_t sections;
    char names[NAMES_MAX];
    uint32_t names_length;
    uint64_t gap; /* zeros before the pages */
};

/* ---- headers ------------------------------------------------------------ */

static Elf64_Shdr *add_section(struct layout *layout, const char *name,
                               uint32_t type)
{
    Elf64_Shdr *section = &layout->section[layout->sections++];

    section->sh_name = layout->names_length;
    section->sh_type = type;
    strcpy(layout->names + layout->names_length, name);
    layout->names_length += strlen(name) + 1;
    return section;
}

static uint64_t place(Elf64_Shdr *section, uint64_t offset, uint64_t size,
                      uint64_t alignment, uint64_t entry)
{
    section->sh_offset = offset;
    section->sh_size = size;
    section->sh_addralign = alignment;
    section->sh_entsize = entry;
    return offset + size;
}

static void lay_out(const struct core_domain *domain, struct layout *layout)
{
    uint32_t entry = domain->translated ? 8 : 16;
    Elf64_Shdr *names, *section;
    uint64_t offset;

    memset(layout, 0, sizeof(*layout));
    layout->sections = 1;
    layout->names_length = 1;
    offset = sizeof(layout->header) +
             (domain->shared_info ? 7 : 6) * sizeof(Elf64_Shdr);

    names = add_section(layout, ".shstrtab", SHT_STRTAB);
    section = add_section(layout, ".note.Xen", SHT_NOTE);
    offset = place(section, offset, sizeof(struct notes), 0, 0);
    section = add_section(layout, ".xen_prstatus", SHT_PROGBITS);
    offset = place(section, offset,
                   (uint64_t)domain->vcpus * CORE_CONTEXT_SIZE, 8,
                   CORE_CONTEXT_SIZE);
    if (domain->shared_info) {
        section = add_section(layout, ".xen_shared_info", SHT_PROGBITS);
        offset = place(section, offset, XENSAVE_V2_PAGE_SIZE, 8,
                       XENSAVE_V2_PAGE_SIZE);
    }
    layout->gap = -offset % XENSAVE_V2_PAGE_SIZE;
    section = add_section(layout, ".xen_pages", SHT_PROGBITS);
    offset = place(section, offset + layout->gap,
                   domain->nr_pages * XENSAVE_V2_PAGE_SIZE,
                   XENSAVE_V2_PAGE_SIZE, XENSAVE_V2_PAGE_SIZE);
    section = add_section(layout, domain->translated ? ".xen_pfn" : ".xen_p2m",
                          SHT_PROGBITS);
    offset = place(section, offset, domain->nr_pages * entry, 8, entry);
    place(names, offset, layout->names_length, 0, 0);

    layout->header = (Elf64_Ehdr){
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                     ELFDATA2LSB, EV_CURRENT, [EI_ABIVERSION] = EV_CURRENT },
        .e_type = ET_CORE,
        .e_machine = domain->width == 8 ? EM_X86_64 : EM_386,
        .e_version = EV_CURRENT,
        .e_shoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_shentsize = sizeof(Elf64_Shdr),
        .e_shnum = layout->sections,
        .e_shstrndx = 1,
    };
}

static struct note note(uint32_t type, uint32_t size)
{
    return (struct note){ 4, size, type, "Xen" };
}

static void fill_notes(const struct core_domain *domain, struct notes *notes)
{
    memset(notes, 0, sizeof(*notes));
    notes->none = note(NOTE_NONE, 0);
    notes->header_note = note(NOTE_HEADER, sizeof(notes->header));
    notes->header.magic = domain->translated ? MAGIC_TRANSLATED : MAGIC_PV;
    notes->header.vcpus = domain->vcpus;
    notes->header.pages = domain->nr_pages;
    notes->header.page_size = XENSAVE_V2_PAGE_SIZE;
    notes->xen_note = note(NOTE_XEN_VERSION, sizeof(notes->xen));
    notes->xen = domain->xen;
    /* The structure of a 32-bit guest has a word less before it. */
    if (domain->width < 8)
        memmove((char *)&notes->xen.page_size - 4, &domain->xen.page_size,
                sizeof(domain->xen.page_size));
    notes->format_note = note(NOTE_FORMAT_VERSION, sizeof(notes->format));
    notes->format = FORMAT_VERSION;
}

static int put_headers(struct core_writer *writer, const struct layout *layout)
{
    const struct core_domain *domain = writer->domain;
    struct notes notes;
    uint32_t i;

    fill_notes(domain, &notes);
    if (core_put(writer, &layout->header, sizeof(layout->header)) ||
        core_put(writer, layout->section,
                 layout->sections * sizeof(layout->section[0])) ||
        core_put(writer, &notes, sizeof(notes)))
        return -1;
    for (i = 0; i < domain->vcpus; i++)
        if (core_put(writer, domain->vcpu[i].context, CORE_CONTEXT_SIZE))
            return -1;
    if (domain->shared_info &&
        core_put(writer, domain->shared_info, XENSAVE_V2_PAGE_SIZE))
        return -1;
    return core_put_zeros(writer, layout->gap);
}

/* ---- pages -------------------------------------------------------------- */

static int add_entry(struct core_writer *writer, void *context,
                     uint64_t number, uint32_t index, const void *page)
{
    struct table *table = context;
    uint64_t *entry = table->entry + number * table->words;

    (void)page;
    entry[0] = writer->batch.pfn[index];
    if (table->words > 1)
        entry[1] = writer->batch.mfn[index];
    return 0;
}

/* What was promised and is not there: zeros, and frames that are none. */
static int put_shortfall(struct core_writer *writer, struct table *table)
{
    struct core_result *result = writer->result;
    uint64_t missing = writer->domain->nr_pages - result->pages;

    result->missing = missing;
    memset(table->entry + result->pages * table->words, 0xff,
           missing * table->words * sizeof(uint64_t));
    return core_put_zeros(writer, missing * XENSAVE_V2_PAGE_SIZE);
}

static int xen_write(struct core_writer *writer)
{
    const struct core_domain *domain = writer->domain;
    struct table table = { .words = domain->translated ? 1 : 2 };
    uint64_t length = domain->nr_pages * table.words * sizeof(uint64_t);
    struct layout layout;
    int r = -1;

    table.entry = malloc(length + !length);
    if (!table.entry)
        return xensave_fail(writer->error, ENOMEM,
                            "no memory for the table of "
                            "%llu pages",
                            (unsigned long long)domain->nr_pages);
    lay_out(domain, &layout);
    if (put_headers(writer, &layout) ||
        core_put_pages(writer, domain->nr_pages, add_entry, &table) ||
        put_shortfall(writer, &table) ||
        core_put(writer, table.entry, length) ||
        core_put(writer, layout.names, layout.names_length) ||
        core_finish(writer))
        goto out;
    r = 0;

out:
    free(table.entry);
    return r;
}

static uint64_t xen_size(const struct core_domain *domain)
{
    struct layout layout;

    lay_out(domain, &layout);
    return layout.section[1].sh_offset + layout.section[1].sh_size;
}

const struct core_format_ops core_xen = {
    .format = CORE_XEN,
    .size = xen_size,
    .write = xen_write,
};
