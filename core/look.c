/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a file holds, as far as its ELF headers tell. */
#include <elf.h>
#include <sys/stat.h>

#include "core.h"
#include "stream-v3/internal.h"

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
