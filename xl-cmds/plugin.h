/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Running xl under the plugin: the environment that the plugin reads. */
#ifndef XL_CMDS_PLUGIN_H
#define XL_CMDS_PLUGIN_H

#include "operation/settings.h"
#include "xl.h"

/* Long options that set them. */
enum {
    OPTION_FORMAT = OPTION_LONG + SETTING_FORMAT,
    OPTION_IO = OPTION_LONG + SETTING_IO,
    OPTION_ENGINE = OPTION_LONG + SETTING_ENGINE,
    OPTION_RESTORE_IO = OPTION_LONG + SETTING_RESTORE_IO,
    OPTION_COMPRESS = OPTION_LONG + SETTING_COMPRESS,
};
#define FORMAT_OPTION                                    \
    {                                                    \
        "format", required_argument, NULL, OPTION_FORMAT \
    }
#define IO_OPTION                                \
    {                                            \
        "io", required_argument, NULL, OPTION_IO \
    }
#define ENGINE_OPTION                                    \
    {                                                    \
        "engine", required_argument, NULL, OPTION_ENGINE \
    }
#define COMPRESS_OPTION                                      \
    {                                                        \
        "compress", required_argument, NULL, OPTION_COMPRESS \
    }
#define RESTORE_IO_OPTION(name)                          \
    {                                                    \
        name, required_argument, NULL, OPTION_RESTORE_IO \
    }

/*
 * Handles one of these options: 1 if `opt` is one and its value is valid, 0 if
 * it is another option, -1 after a usage error.
 */
int plugin_option(const struct command *self, int opt, const char *value,
                  struct environment *env);

/* After the last option: rejects --compress for formats other than v3. */
int plugin_options_check(const struct command *self,
                         const struct environment *env);

/*
 * Sets the environment for the xl that this process starts or executes.
 * Without a plugin it warns and returns false: xl then runs without it.
 */
bool plugin_environment(const struct environment *env);

/* The plugin's path, whether it exists or not. */
const char *plugin_path(void);

#endif /* XL_CMDS_PLUGIN_H */
