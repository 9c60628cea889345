/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * As much of Xen's libraries as a dump asks for, over a domain that lives in
 * a file.  A page that is not there is mapped without access: to touch it
 * ends the program.
 *
 * FAKE_MEMORY      file of the domain's pages, one a pfn
 * FAKE_PRESENT     "a-b,c-d,...": pfns that are there, in hexadecimal
 * FAKE_KIND        pv, hvm
 * FAKE_WIDTH       4 or 8
 * FAKE_FRAMES      pfns up to the highest, hexadecimal; default: the memory
 * FAKE_AT          "n:action": what happens at the n-th mapping of many pages:
 *                  shrink, grow, fail, kill, term, gone, sleep; dip, which
 *                  is over at the next
 * FAKE_TABLES      "a-b,...": pfns that are page tables (type L1)
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xenctrl.h>
#include <xenforeignmemory.h>
#include <xenguest.h>

#define PAGE        4096UL
#define SHARED_INFO 0x7fffffUL

static int memory = -1;
static uint64_t pages; /* in the file */
static uint8_t *present;
static uint64_t tot_pages;
static int mappings;
static int gone;

static const char *setting(const char *name, const char *otherwise)
{
    const char *value = getenv(name);

    return value ? value : otherwise;
}

static int is_pv(void)
{
    return !strcmp(setting("FAKE_KIND", "hvm"), "pv");
}

static unsigned width(void)
{
    return atoi(setting("FAKE_WIDTH", "8"));
}

static void mark(const char *ranges, uint8_t *flags)
{
    unsigned long first, last;
    int used;

    while (sscanf(ranges, "%lx-%lx%n", &first, &last, &used) == 2) {
        for (; first <= last && first < pages; first++)
            flags[first] = 1;
        ranges += used + (ranges[used] == ',');
    }
}

static uint64_t count(void)
{
    uint64_t n = 0, i;

    for (i = 0; i < pages; i++)
        n += present[i] && (!is_pv() || i % 50 != 49);
    return n;
}

static void __attribute__((constructor)) start(void)
{
    memory = open(setting("FAKE_MEMORY", ""), O_RDONLY);
    if (memory < 0)
        return;
    pages = lseek(memory, 0, SEEK_END) / PAGE;
    present = calloc(1, pages);
    mark(setting("FAKE_PRESENT", ""), present);
    tot_pages = count();
}

static uint64_t frames(void)
{
    const char *value = getenv("FAKE_FRAMES");

    return value ? strtoull(value, NULL, 16) : pages;
}

/* Machine frames run the other way. */
static uint64_t mfn_of(uint64_t pfn)
{
    return 0x1000 + pages - 1 - pfn;
}

static void happen(void)
{
    int at = -1;
    char what[16] = "";
    uint64_t i;

    sscanf(setting("FAKE_AT", ""), "%d:%15s", &at, what);
    if (++mappings == at + 1 && !strcmp(what, "dip")) {
        memset(present, 0, pages);
        mark(setting("FAKE_PRESENT", ""), present);
        tot_pages = count();
    }
    if (mappings != at)
        return;
    if (!strcmp(what, "kill"))
        raise(SIGKILL);
    if (!strcmp(what, "term"))
        raise(SIGTERM);
    if (!strcmp(what, "sleep"))
        sleep(3);
    if (!strcmp(what, "shrink") || !strcmp(what, "gone") ||
        !strcmp(what, "dip"))
        for (i = 0; i < pages; i++)
            present[i] = present[i] && i % 3 && strcmp(what, "gone");
    if (!strcmp(what, "grow"))
        memset(present, 1, pages);
    gone = !strcmp(what, "gone");
    tot_pages = count();
}

/* ---- what the libraries export ------------------------------------------ */

xc_interface *xc_interface_open(xentoollog_logger *logger,
                                xentoollog_logger *dombuild, unsigned flags)
{
    (void)logger, (void)dombuild, (void)flags;
    return (xc_interface *)&memory;
}

int xc_domain_getinfolist(xc_interface *xch, uint32_t first, unsigned max,
                          xc_domaininfo_t *info)
{
    (void)xch;
    if (first > 7 || gone)
        return 0;
    memset(info, 0, sizeof(*info) * max);
    info->domain = 7;
    info->flags = is_pv() ? 0 : XEN_DOMINF_hvm_guest;
    info->tot_pages = tot_pages;
    info->shared_info_frame = SHARED_INFO;
    info->max_vcpu_id = 3;
    return 1;
}

int xc_vcpu_getcontext(xc_interface *xch, uint32_t domid, uint32_t vcpu,
                       vcpu_guest_context_any_t *context)
{
    (void)xch, (void)domid;
    /* One has not been brought up. */
    if (vcpu == 1) {
        memset(context, 0xee, 100);
        errno = ENODATA;
        return -1;
    }
    memset(context, vcpu + 1, sizeof(*context));
    return 0;
}

int xc_domain_hvm_getcontext_partial(xc_interface *xch, uint32_t domid,
                                     uint16_t type, uint16_t instance,
                                     void *record, uint32_t size)
{
    (void)xch, (void)domid;
    if (type != 2 || size < 1032)
        return -1;
    memset(record, 0x10 + instance, 1032);
    return 0;
}

int xc_domain_nr_gpfns(xc_interface *xch, uint32_t domid, xen_pfn_t *gpfns)
{
    (void)xch, (void)domid;
    *gpfns = frames();
    return 0;
}

int xc_maximum_ram_page(xc_interface *xch, unsigned long *max_mfn)
{
    (void)xch;
    *max_mfn = 0x1000 + pages;
    return 0;
}

int xc_domain_get_guest_width(xc_interface *xch, uint32_t domid,
                              unsigned int *guest_width)
{
    (void)xch, (void)domid;
    *guest_width = width();
    return 0;
}

int xc_version(xc_interface *xch, int command, void *arg)
{
    (void)xch;
    switch (command) {
    case XENVER_version:
        return 4 << 16 | 17;
    case XENVER_extraversion:
        strcpy(arg, ".fake");
        return 0;
    case XENVER_capabilities:
        strcpy(arg, "xen-3.0-x86_64 ");
        return 0;
    case XENVER_pagesize:
        return PAGE;
    }
    errno = EPERM;
    return -1;
}

#ifndef WITHOUT_MEMINFO
int xc_map_domain_meminfo(xc_interface *xch, uint32_t domid,
                          struct xc_domain_meminfo *info)
{
    uint8_t *tables = calloc(1, pages);
    uint64_t i, mfn;

    (void)xch, (void)domid;
    info->guest_width = width();
    info->p2m_size = pages;
    info->p2m_table = calloc(pages, sizeof(*info->p2m_table));
    info->pfn_type = calloc(pages, sizeof(*info->pfn_type));
    mark(setting("FAKE_TABLES", ""), tables);
    for (i = 0; i < pages; i++) {
        mfn = i % 50 == 49 ? ~0UL : mfn_of(i);
        if (info->guest_width == 8)
            info->p2m_table[i] = mfn;
        else
            ((uint32_t *)info->p2m_table)[i] = mfn;
        info->pfn_type[i] = tables[i] ? XEN_DOMCTL_PFINFO_L1TAB : 0;
    }
    free(tables);
    return 0;
}
#endif

int xc_unmap_domain_meminfo(xc_interface *xch, struct xc_domain_meminfo *info)
{
    (void)xch;
    free(info->p2m_table);
    free(info->pfn_type);
    return 0;
}

xen_pfn_t *xc_map_m2p(xc_interface *xch, unsigned long max_mfn, int prot,
                      unsigned long *mfn0)
{
    size_t length = (max_mfn * 8 + (2UL << 20) - 1) & ~((2UL << 20) - 1);
    xen_pfn_t *table = mmap(NULL, length, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t i;

    (void)xch, (void)prot, (void)mfn0;
    /* Of frames of others, too: they name pfns of ours. */
    for (i = 0; i < max_mfn; i++)
        table[i] = i % pages;
    for (i = 0; i < pages; i++)
        table[mfn_of(i)] = i;
    return table;
}

struct xenforeignmemory_handle *xc_interface_fmem_handle(xc_interface *xch)
{
    (void)xch;
    return (struct xenforeignmemory_handle *)&memory;
}

void *xenforeignmemory_map(xenforeignmemory_handle *handle, uint32_t domid,
                           int prot, size_t number, const xen_pfn_t *frame,
                           int *error)
{
    char *base;
    size_t i;

    (void)handle, (void)domid, (void)prot;
    if (number == 1 && frame[0] == SHARED_INFO) {
        base = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(base, 0x51, PAGE);
        return base;
    }
    happen();
    if (strstr(setting("FAKE_AT", ""), ":fail") &&
        mappings >= atoi(setting("FAKE_AT", ""))) {
        errno = ENOMEM;
        return NULL;
    }
    base = mmap(NULL, number * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                -1, 0);
    for (i = 0; i < number; i++) {
        uint64_t pfn = is_pv() ? 0x1000 + pages - 1 - frame[i] : frame[i];

        error[i] = pfn < pages && present[pfn] ? 0 : EINVAL;
        if (!error[i] &&
            mmap(base + i * PAGE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED,
                 memory, pfn * PAGE) == MAP_FAILED)
            abort();
    }
    return base;
}

int xenforeignmemory_unmap(xenforeignmemory_handle *handle, void *address,
                           size_t number)
{
    (void)handle;
    return munmap(address, number * PAGE);
}

/* Stock's, where the dump engine cannot do its work. */
int xc_domain_dumpcore(xc_interface *xch, uint32_t domid, const char *name)
{
    FILE *file = fopen(name, "w");

    (void)xch, (void)domid;
    if (!file)
        return -errno;
    fputs("stock", file);
    fclose(file);
    return strcmp(setting("FAKE_KIND", ""), "broken") ? 0 : -1;
}

int main(int argc, char **argv)
{
    xc_interface *xch = xc_interface_open(NULL, NULL, 0);
    int r;

    if (argc != 3)
        return 99;
    if (getenv("FAKE_SIGTERM_IGNORED"))
        signal(SIGTERM, SIG_IGN);
    r = xc_domain_dumpcore(xch, atoi(argv[1]), argv[2]);
    if (r < 0)
        printf("%d %s\n", r, strerror(errno));
    return r < 0;
}
