/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs when the library is loaded: acts only in the save helper of a stream
 * that the toolstack side asked for.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxl-aligned/report.h"
#include "stream.h"

#define OWN_NAME "libxl-aligned-stream.so"

/* The entry that made the dynamic linker load this library. */
static void leave_preload(void)
{
    char *preload = getenv("LD_PRELOAD"), *end;
    size_t length;

    if (!preload)
        return;
    length = strcspn(preload, " :");
    end = preload + length;
    if (!memmem(preload, length, OWN_NAME, strlen(OWN_NAME)))
        return;
    if (*end)
        setenv("LD_PRELOAD", end + 1, 1);
    else
        unsetenv("LD_PRELOAD");
}

static void tune_malloc(void)
{
    /*
     * libxenguest allocates and frees each record of 4 MiB: keep it on the
     * heap, where it does not cost a fresh mapping and its page faults.
     */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
}

/* The plugin probes whether this library is loaded. */
static void answer_probe(int argc, char *argv[], const char *text)
{
    if (argc == 2 && !strcmp(argv[1], PROBE_MODE) &&
        !strcmp(text, PROBE_STREAM))
        _exit(write(STDOUT_FILENO, "1", 1) != 1);
}

static void __attribute__((constructor))
setup(int argc, char *argv[], char *envp[])
{
    const char *text = secure_getenv(STREAM_VARIABLE);
    const struct helper_mode *mode = text ? helper_mode(argc, argv) : NULL;
    struct stream_plan plan;
    char why[512];
    int r;

    (void)envp;
    if (text)
        answer_probe(argc, argv, text);
    /* Perhaps a wrapper around the helper: keep the environment. */
    if (!mode)
        return;
    r = stream_plan_parse(&plan, text, why, sizeof(why));
    unsetenv(STREAM_VARIABLE);
    /* The text itself stays where execve put it. */
    text = secure_getenv(IDENTITY_VARIABLE);
    unsetenv(IDENTITY_VARIABLE);
    leave_preload();

    /* Remus and COLO share the fd between helper and libxl. */
    if (!helper_is_plain(argc, argv))
        return;
    if (!r &&
        (plan.restore != mode->restore || plan.fd != atoi(argv[HELPER_FD]))) {
        snprintf(why, sizeof(why),
                 STREAM_VARIABLE " describes another stream");
        r = -1;
    }
    if (r) {
        report(NULL, XTL_WARN, "%s; using the stock stream", why);
        return;
    }
    tune_malloc();
    plan.identity = text ? strdup(text) : NULL;
    stream_activate(&plan);
}
