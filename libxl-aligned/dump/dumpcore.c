/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xc_domain_dumpcore: what libxl_domain_core_dump calls, and so all that
 * dumps a domain.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "dump.h"

static struct xen xen;
static char xen_why[256]; /* "" if everything is there */
static pthread_once_t xen_once = PTHREAD_ONCE_INIT;

/*
 * The program that dumps has loaded Xen's libraries.  This one is not linked
 * with them, because their names change with every release.
 */
static void find(void)
{
    const struct {
        const char *name;
        void **symbol;
    } table[] = {
        { "xc_domain_getinfolist", (void **)&xen.getinfolist },
        { "xc_vcpu_getcontext", (void **)&xen.getcontext },
        { "xc_domain_hvm_getcontext_partial",
          (void **)&xen.hvm_getcontext_partial },
        { "xc_domain_nr_gpfns", (void **)&xen.nr_gpfns },
        { "xc_maximum_ram_page", (void **)&xen.maximum_ram_page },
        { "xc_domain_get_guest_width", (void **)&xen.guest_width },
        { "xc_version", (void **)&xen.version },
        { "xc_map_domain_meminfo", (void **)&xen.map_meminfo },
        { "xc_unmap_domain_meminfo", (void **)&xen.unmap_meminfo },
        { "xc_map_m2p", (void **)&xen.map_m2p },
        { "xc_interface_fmem_handle", (void **)&xen.memory_handle },
        { "xenforeignmemory_map", (void **)&xen.map },
        { "xenforeignmemory_unmap", (void **)&xen.unmap },
    };
    size_t i;

    xen.dumpcore = dlsym(RTLD_NEXT, "xc_domain_dumpcore");
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        *table[i].symbol = dlsym(RTLD_DEFAULT, table[i].name);
        if (*table[i].symbol)
            continue;
        snprintf(xen_why, sizeof(xen_why), "Xen's libraries have no %s",
                 table[i].name);
        return;
    }
}

/* -1 and one line in `why` if a setting has no known value. */
static int yes_or_no(const char *name, const char *value, bool *yes, char *why,
                     size_t size)
{
    if (!value)
        return 0;
    *yes = !strcmp(value, "yes");
    if (*yes || !strcmp(value, "no"))
        return 0;
    snprintf(why, size, "%s: \"%s\" is none of yes or no", name, value);
    return -1;
}

static int dump_options(struct core_options *options, char *why, size_t size)
{
    bool sparse = true;

    memset(options, 0, sizeof(*options));
    if (environment.dump_format &&
        core_format_parse(environment.dump_format, &options->format)) {
        snprintf(why, size,
                 "XL_ALIGNED_DUMP_FORMAT: \"%s\" is none of xen "
                 "or elf",
                 environment.dump_format);
        return -1;
    }
    if (yes_or_no("XL_ALIGNED_DUMP_SPARSE", environment.dump_sparse, &sparse,
                  why, size))
        return -1;
    options->no_sparse = !sparse;
    return 0;
}

static struct xensave_sink *open_sink(const struct output *output,
                                      const struct core_domain *domain,
                                      const struct core_options *options,
                                      struct xensave_error *error)
{
    const xl_aligned_options *settings = &runtime_get()->opts;
    struct xensave_io_options io = {
        .size = sizeof(struct xensave_io_options),
        .io = settings->io,
        .engine = settings->engine,
    };
    struct stat st;

    if (fstat(output->file.fd, &st)) {
        error->errnum = errno;
        return NULL;
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return xensave_sink_open_stream(output->file.fd, error);
    if (options->no_sparse && S_ISREG(st.st_mode))
        io.reserve = core_size(domain, options->format);
    return xensave_sink_open_file(output->file.fd, &io, error);
}

/*
 * A translated domain always has pages where a dump does not look, so that
 * a shortfall alone says nothing of it.
 */
static void report_change(xc_interface *xch, uint32_t domid,
                          const struct core_domain *domain,
                          const struct core_memory *memory,
                          const struct core_result *result)
{
    uint64_t pages = dump_domain_pages(&xen, xch, domid);

    if ((!result->missing && !result->lost) ||
        (domain->translated && pages == domain->nr_pages &&
         !dump_memory_changed(memory)))
        return;
    report(NULL, XTL_WARN,
           "domain %u had %llu pages when the dump began and "
           "has %llu now: %llu were not found and are zeros at the end of the "
           "file, %llu more were found and left out",
           domid, (unsigned long long)domain->nr_pages,
           (unsigned long long)pages, (unsigned long long)result->missing,
           (unsigned long long)result->lost);
}

static void tell_progress(void *context, uint64_t pages, uint64_t of)
{
    (void)of;
    operation_done(context, pages * PAGE_OCTETS);
}

static int dump(xc_interface *xch, uint32_t domid, const struct output *output,
                const struct operation *operation,
                const struct core_options *options)
{
    struct core_memory *memory = NULL;
    struct core_domain domain;
    struct core_result result;
    struct xensave_error sink_error = { 0 }, error = { 0 };
    struct xensave_sink *sink = NULL;
    char why[256];
    int r = -1;

    if (dump_domain(&xen, xch, domid, &domain, why, sizeof(why))) {
        report(NULL, XTL_ERROR, "no dump of domain %u: %s", domid, why);
        return -1;
    }
    memory = dump_memory(&xen, xch, domid, &domain, options->format, operation,
                         why, sizeof(why));
    if (!memory) {
        report(NULL, XTL_ERROR, "no dump of domain %u: %s", domid, why);
        goto out;
    }
    sink = open_sink(output, &domain, options, &sink_error);
    if (!sink) {
        error = sink_error;
        goto failed;
    }
    if (core_write(sink, &domain, memory, options, &result, &error))
        goto failed;
    /* What was reserved and then not needed. */
    if (options->no_sparse && !output->file.in_place &&
        ftruncate(output->file.fd, xensave_sink_offset(sink))) {
        error.errnum = errno;
        snprintf(error.text, sizeof(error.text), "truncate: %s",
                 strerror(errno));
        goto failed;
    }
    report_change(xch, domid, &domain, memory, &result);
    r = 0;
    goto out;

failed:
    report(NULL, XTL_ERROR, "no dump of domain %u in %s: %s", domid,
           output->name, error.text);
    errno = error.errnum;

out : {
    int errnum = errno;

    xensave_sink_free(sink);
    errno = errnum;
}
    dump_memory_free(memory);
    dump_domain_free(&domain);
    return r;
}

/* Stock's engine, but nothing of a failure stays. */
static int dump_by_stock(xc_interface *xch, uint32_t domid,
                         const struct output *output)
{
    char path[FD_PATH];

    report(NULL, XTL_WARN, "%s; using stock dump-core", xen_why);
    if (!xen.dumpcore) {
        errno = ENOSYS;
        return -1;
    }
    fd_path(output->file.fd, path);
    return xen.dumpcore(xch, domid, path);
}

static struct operation *publish(xc_interface *xch, uint32_t domid,
                                 const struct output *output,
                                 const struct core_options *options)
{
    struct operation *operation = operation_new(-1, false);
    char name[PARTIAL_PATH];
    struct operation_info info = {
        .kind = "dump-core",
        .domid = domid,
        .format = xen_why[0] ? "stock" : core_format_name(options->format),
        .file = output_name(output, name) ? name : NULL,
    };

    if (!xen_why[0])
        info.total = dump_domain_pages(&xen, xch, domid) * PAGE_OCTETS;
    operation_publish(operation, &info);
    return operation;
}

EXPORT int xc_domain_dumpcore(xc_interface *xch, uint32_t domid,
                              const char *corename)
{
    struct core_options options;
    struct operation *operation;
    struct output output;
    char why[256];
    int errnum, r;

    environment_take();
    pthread_once(&xen_once, find);
    if (dump_options(&options, why, sizeof(why))) {
        report(NULL, XTL_ERROR, "no dump in %s: %s", corename, why);
        errno = EINVAL;
        return -EINVAL;
    }
    if (output_open(&output, corename))
        return -errno;
    operation = publish(xch, domid, &output, &options);
    options.progress = tell_progress;
    options.progress_context = operation;
    r = xen_why[0] ? dump_by_stock(xch, domid, &output)
                   : dump(xch, domid, &output, operation, &options);
    if (!r) {
        operation_phase(operation, PROGRESS_COMMIT);
        r = output_commit(&output);
    }
    output_close(&output);
    errnum = errno;
    operation_end(operation, r, NULL);
    errno = errnum;
    return r < 0 ? r : 0;
}
