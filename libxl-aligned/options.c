/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of toolstacks that call this library. */
#include <stdlib.h>

#include "internal.h"

EXPORT int xl_aligned_options_init(xl_aligned_options *opts,
                                   xentoollog_logger *lg)
{
    char why[512];

    if (options_read(opts, NULL, runtime_get()->real.minor, why,
                     sizeof(why))) {
        report(lg, XTL_ERROR, "%s", why);
        options_default(opts);
        opts->lg = lg;
        return ERROR_INVAL;
    }
    opts->lg = lg;
    return 0;
}

EXPORT void xl_aligned_options_dispose(xl_aligned_options *opts)
{
    free(opts->commit_name);
    opts->commit_name = NULL;
}
