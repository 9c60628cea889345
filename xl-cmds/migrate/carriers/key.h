/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The private key of this host: in memory no longer than it is needed. */
#ifndef XL_CMDS_TRANSPORT_KEY_H
#define XL_CMDS_TRANSPORT_KEY_H

#include <openssl/ssl.h>

/* To be called before anything else of OpenSSL. */
void key_wipe_freed_memory(void);
/* For connections of a context that has its certificate; -1: see ERR_*. */
int key_load(SSL_CTX *context, const char *path);
int key_use(SSL *tls);
/* Of a context that is not used any more, or NULL. */
void key_drop(SSL_CTX *context);
/* The info callback of a receiver's context. */
void key_forget(const SSL *tls, int where, int ret);

#endif /* XL_CMDS_TRANSPORT_KEY_H */
