/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON on stdout, written as it is generated. */
#ifndef XL_CMDS_JSON_H
#define XL_CMDS_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include <yajl/yajl_gen.h>

/* NULL if out of memory. */
yajl_gen json_begin(void);
/* The same on one line; the caller writes the newline. */
yajl_gen json_begin_line(void);
/* Writes the last newline; -1 if writing to stdout failed. */
int json_end(yajl_gen gen);

/* Keys and values of the open map; docs/json.md lists the keys. */
void json_key(yajl_gen gen, const char *key);
/* Any bytes, escaped reversibly (common/text.h); null if `value` is NULL. */
void json_text(yajl_gen gen, const char *key, const char *value);
/* Also null if `value` is "". */
void json_optional_text(yajl_gen gen, const char *key, const char *value);
void json_number(yajl_gen gen, const char *key, uint64_t value);
/* null if negative. */
void json_real(yajl_gen gen, const char *key, double value);
void json_truth(yajl_gen gen, const char *key, bool value);
void json_null(yajl_gen gen, const char *key);
void json_open_map(yajl_gen gen, const char *key);
void json_open_array(yajl_gen gen, const char *key);

#endif /* XL_CMDS_JSON_H */
