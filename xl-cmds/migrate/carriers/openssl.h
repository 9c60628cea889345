/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* OpenSSL 3 as it is; of OpenSSL 1.1 (Debian 11), which has no kTLS, the same
 * names. */
#ifndef XL_CMDS_MIGRATE_CARRIERS_OPENSSL_H
#define XL_CMDS_MIGRATE_CARRIERS_OPENSSL_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#define SSL_OP_ENABLE_KTLS        0U
#define BIO_get_ktls_send(bio)    ((void)(bio), false)
#define SSL_get1_peer_certificate SSL_get_peer_certificate
/* An error of the system there, without a number. */
#define SSL_R_UNEXPECTED_EOF_WHILE_READING (-1)
#endif

#endif /* XL_CMDS_MIGRATE_CARRIERS_OPENSSL_H */
