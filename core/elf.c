/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ELF format of core files: spec 3.  The pages come first, behind room
 * for the headers, which are known when the last page has been seen.
 */
#include <elf.h>
#include <sys/stat.h>

#include "write.h"

#define ROOM_HEADERS 16384U
#define HEADERS_STEP 1024U

struct elf {
    Elf64_Phdr *header; /* the first is the PT_NOTE */
    uint64_t headers;
    uint64_t allocated;
    uint64_t pages_offset;
    uint8_t vmcoreinfo[XENSAVE_V2_PAGE_SIZE];
    size_t vmcoreinfo_length;
};

static uint64_t notes_room(const struct core_domain *domain)
{
    return (uint64_t)domain->vcpus * CORE_NOTES_PER_VCPU +
           XENSAVE_V2_PAGE_SIZE;
}

static uint64_t pages_offset(const struct core_domain *domain,
                             uint32_t alignment)
{
    uint64_t length = sizeof(Elf64_Ehdr) + ROOM_HEADERS * sizeof(Elf64_Phdr) +
                      notes_room(domain);

    return round_up(length, alignment);
}

static Elf64_Phdr *add_header(struct core_writer *writer, struct elf *elf)
{
    Elf64_Phdr *header;

    if (elf->headers == elf->allocated) {
        header = realloc(elf->header,
                         (elf->allocated + HEADERS_STEP) * sizeof(*header));
        if (!header) {
            xensave_fail(writer->error, ENOMEM,
                         "no memory for %llu program "
                         "headers",
                         (unsigned long long)elf->headers + 1);
            return NULL;
        }
        elf->header = header;
        elf->allocated += HEADERS_STEP;
    }
    header = &elf->header[elf->headers++];
    memset(header, 0, sizeof(*header));
    return header;
}

static int add_page(struct core_writer *writer, void *context, uint64_t number,
                    uint32_t index, const void *page)
{
    struct elf *elf = context;
    Elf64_Phdr *last = &elf->header[elf->headers - 1];
    uint64_t address = writer->batch.pfn[index] * XENSAVE_V2_PAGE_SIZE;

    if (page && page != CORE_UNREAD && !elf->vmcoreinfo_length &&
        core_find_vmcoreinfo(page)) {
        /* A running guest may write to it: what counts is the copy. */
        memcpy(elf->vmcoreinfo, page, XENSAVE_V2_PAGE_SIZE);
        elf->vmcoreinfo_length = core_find_vmcoreinfo(elf->vmcoreinfo);
    }
    if (last->p_type != PT_LOAD || last->p_paddr + last->p_memsz != address) {
        last = add_header(writer, elf);
        if (!last)
            return -1;
        last->p_type = PT_LOAD;
        last->p_flags = PF_R | PF_W | PF_X;
        last->p_offset = elf->pages_offset + number * XENSAVE_V2_PAGE_SIZE;
        last->p_vaddr = last->p_paddr = address;
        last->p_align = XENSAVE_V2_PAGE_SIZE;
    }
    last->p_filesz = last->p_memsz += XENSAVE_V2_PAGE_SIZE;
    return 0;
}

static Elf64_Ehdr elf_header(const struct core_domain *domain)
{
    bool narrow = !domain->translated && domain->width == 4;

    return (Elf64_Ehdr){
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
                     ELFDATA2LSB, EV_CURRENT },
        .e_type = ET_CORE,
        .e_machine = narrow ? EM_386 : EM_X86_64,
        .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_shentsize = sizeof(Elf64_Shdr),
    };
}

/* ---- the kernel's own addresses ----------------------------------------- */

#define KERNEL_MAP    0xffffffff80000000ULL
#define KERNEL_START  (2ULL << 20) /* what its mapping is made of */
#define KERNEL_LENGTH (128ULL << 20)

/* The value behind KEY= on a line of its own. */
static bool find_value(const struct elf *elf, const char *key, int base,
                       uint64_t *value)
{
    const char *text = (const char *)elf->vmcoreinfo;
    const char *end = text + elf->vmcoreinfo_length, *at = text;
    size_t length = strlen(key);
    char number[32] = "";

    for (; (at = memmem(at, end - at, key, length)); at += length) {
        if (at == text || at[-1] != '\n')
            continue;
        memcpy(number, at + length,
               min_u64(sizeof(number) - 1, end - at - length));
        *value = base == 10 ? (uint64_t)strtoll(number, NULL, base)
                            : strtoull(number, NULL, base);
        return true;
    }
    return false;
}

/*
 * A kernel's page tables are found through the mapping of its image, so that
 * this one is given with its virtual addresses as well.
 */
static int add_kernel(struct core_writer *writer, struct elf *elf)
{
    uint64_t physical_base, start, end, first, last, i, n = elf->headers;
    Elf64_Phdr *load, of;

    if (!find_value(elf, "SYMBOL(_stext)=", 16, &start) ||
        !find_value(elf, "NUMBER(phys_base)=", 10, &physical_base) ||
        start < KERNEL_MAP)
        return 0;
    start = round_down(start, KERNEL_START) - KERNEL_MAP + physical_base;
    end = start + KERNEL_LENGTH;
    for (i = 1; i < n; i++) {
        of = elf->header[i];
        first = of.p_paddr > start ? of.p_paddr : start;
        last = min_u64(of.p_paddr + of.p_memsz, end);
        if (first >= last || first % XENSAVE_V2_PAGE_SIZE)
            continue;
        load = add_header(writer, elf);
        if (!load)
            return -1;
        *load = of;
        load->p_offset += first - of.p_paddr;
        load->p_paddr = first;
        load->p_vaddr = first - physical_base + KERNEL_MAP;
        load->p_filesz = load->p_memsz = last - first;
    }
    return 0;
}

/* ---- headers ------------------------------------------------------------ */

/*
 * The program headers go before the notes if there is room, else behind the
 * pages; a number that the header cannot hold goes into a section header.
 */
static int put_far_headers(struct core_writer *writer, struct elf *elf,
                           Elf64_Ehdr *header)
{
    Elf64_Shdr section = { .sh_info = elf->headers };

    header->e_phoff = xensave_sink_offset(writer->sink) +
                      writer->pending_zeros;
    if (core_put(writer, elf->header, elf->headers * sizeof(*elf->header)))
        return -1;
    if (elf->headers < PN_XNUM)
        return 0;
    header->e_phnum = PN_XNUM;
    header->e_shnum = 1;
    header->e_shoff = xensave_sink_offset(writer->sink);
    return core_put(writer, &section, sizeof(section));
}

static int put_headers(struct core_writer *writer, struct elf *elf)
{
    const struct core_domain *domain = writer->domain;
    Elf64_Ehdr header = elf_header(domain);
    uint64_t near = elf->headers, length;
    uint8_t *notes = malloc(notes_room(domain));
    int r = -1;

    if (!notes)
        return xensave_fail(writer->error, ENOMEM, "no memory for notes");
    if (near > ROOM_HEADERS)
        near = 0;
    length = core_elf_notes(domain, elf->vmcoreinfo, elf->vmcoreinfo_length,
                            notes);
    elf->header[0].p_type = PT_NOTE;
    elf->header[0].p_offset = sizeof(header) + near * sizeof(*elf->header);
    elf->header[0].p_filesz = length;
    elf->header[0].p_align = 4;

    header.e_phnum = elf->headers;
    if (!near && put_far_headers(writer, elf, &header))
        goto out;
    if (core_finish(writer) ||
        xensave_sink_rewrite(writer->sink, elf->header[0].p_offset, notes,
                             length) ||
        xensave_sink_rewrite(writer->sink, sizeof(header), elf->header,
                             near * sizeof(*elf->header)) ||
        xensave_sink_rewrite(writer->sink, 0, &header, sizeof(header)))
        goto out;
    r = 0;

out:
    free(notes);
    return r;
}

static int elf_write(struct core_writer *writer)
{
    const struct core_domain *domain = writer->domain;
    struct elf *elf;
    int r = -1;

    if (!xensave_sink_can_rewrite(writer->sink))
        return xensave_fail(writer->error, ESPIPE,
                            "the ELF format needs a file: "
                            "its headers are written last");
    elf = calloc(1, sizeof(*elf));
    if (!elf)
        return xensave_fail(writer->error, ENOMEM, "cannot allocate a core");
    elf->pages_offset = pages_offset(domain, writer->sink->alignment);
    if (!add_header(writer, elf) ||
        core_put_zeros(writer, elf->pages_offset) ||
        core_put_pages(writer, UINT64_MAX, add_page, elf))
        goto out;
    if (domain->vmcoreinfo &&
        domain->vmcoreinfo_length <= sizeof(elf->vmcoreinfo)) {
        elf->vmcoreinfo_length = domain->vmcoreinfo_length;
        memcpy(elf->vmcoreinfo, domain->vmcoreinfo, domain->vmcoreinfo_length);
    }
    if (add_kernel(writer, elf) || put_headers(writer, elf))
        goto out;
    writer->result->segments = elf->headers - 1;
    writer->result->vmcoreinfo = elf->vmcoreinfo_length;
    r = 0;

out:
    free(elf->header);
    free(elf);
    return r;
}

static uint64_t elf_size(const struct core_domain *domain)
{
    return pages_offset(domain, XENSAVE_ALIGNMENT_MIN) +
           domain->nr_pages * XENSAVE_V2_PAGE_SIZE;
}

const struct core_format_ops core_elf = {
    .format = CORE_ELF,
    .size = elf_size,
    .write = elf_write,
};

/* ---- what a file holds, as far as its ELF headers tell ------------------ */

static uint64_t table_end(uint64_t offset, uint16_t number, uint16_t size)
{
    return number ? offset + (uint64_t)number * size : 0;
}

/* The names of the sections are the last thing that is written. */
static bool has_names(int fd, const Elf64_Ehdr *header)
{
    Elf64_Shdr section;
    char names[2];

    return !pread_exact(fd, &section, sizeof(section),
                        header->e_shoff +
                            header->e_shstrndx * sizeof(section)) &&
           !pread_exact(fd, names, sizeof(names), section.sh_offset) &&
           names[1];
}

enum partial_contents core_look(int fd)
{
    Elf64_Ehdr header;
    struct stat st;
    uint64_t size;

    if (fstat(fd, &st) || pread_exact(fd, &header, sizeof(header), 0) ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_type != ET_CORE)
        return PARTIAL_FOREIGN;
    size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
    if (table_end(header.e_phoff, header.e_phnum, sizeof(Elf64_Phdr)) > size ||
        table_end(header.e_shoff, header.e_shnum, sizeof(Elf64_Shdr)) > size ||
        (header.e_shstrndx && !has_names(fd, &header)))
        return PARTIAL_UNFINISHED;
    return PARTIAL_USABLE;
}
