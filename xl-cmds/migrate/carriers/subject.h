/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the subject of a certificate is on a list of those allowed. */
#ifndef XL_CMDS_TRANSPORT_SUBJECT_H
#define XL_CMDS_TRANSPORT_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/x509.h>

/* `allow` ends with NULL; xl-aligned-listen(8) has the rules. */
bool subject_allowed(X509 *certificate, const char *const *allow);
/* As RFC 2253 writes it, cut at `size`; for messages. */
void subject_print(X509 *certificate, char *text, size_t size);

#endif /* XL_CMDS_TRANSPORT_SUBJECT_H */
