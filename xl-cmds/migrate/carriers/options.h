/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of the commands that connect and listen. */
#ifndef XL_CMDS_CARRIER_OPTIONS_H
#define XL_CMDS_CARRIER_OPTIONS_H

#include "xl-cmds/plugin.h"
#include "carrier.h"

enum {
    OPTION_INSECURE = OPTION_LONG + 32,
    OPTION_STOCK,
    OPTION_SSH,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_AUTHORITY,
    OPTION_REVOKED,
    OPTION_PEER_NAME,
    OPTION_BOARD,
    OPTION_JSON,
    OPTION_ALLOW,
    OPTION_ALLOW_FILE,
    OPTION_SYSTEMD,
    OPTION_CONNECTIONS,
    OPTION_DOMAINS,
    OPTION_DOMAINS_EACH,
    OPTION_STALL,
    OPTION_TIMEOUT,
    OPTION_USER,
    OPTION_PROGRESS,
    OPTION_XL_DEBUG,
    OPTION_XL_LIVE,
    OPTION_NO_LIVE,
};

#define TLS_OPTIONS                                          \
    { "cert", required_argument, NULL, OPTION_CERT },        \
        { "key", required_argument, NULL, OPTION_KEY },      \
        { "ca", required_argument, NULL, OPTION_AUTHORITY }, \
    {                                                        \
        "crl", required_argument, NULL, OPTION_REVOKED       \
    }
#define CONNECT_OPTIONS                                             \
    { "insecure", no_argument, NULL, OPTION_INSECURE },             \
        { "stock", no_argument, NULL, OPTION_STOCK },               \
        { "ssh", required_argument, NULL, OPTION_SSH },             \
        { "peer-name", required_argument, NULL, OPTION_PEER_NAME }, \
        TLS_OPTIONS

#define TLS_HELP                                                      \
    "  --cert=FILE            certificate of this host, PEM, and\n"   \
    "  --key=FILE             its private key (" TLS_DIRECTORY "\n"   \
    "                         cert.pem, key.pem)\n"                   \
    "  --ca=FILE              authority of both ends' certificates\n" \
    "                         (ca.pem there)\n"                       \
    "  --crl=FILE             certificates it has revoked\n"
#define TLS_DIRECTORY "/etc/xen/xl-aligned/"

/* True if `opt` was one of these. */
bool carrier_option(int opt, const char *value,
                    struct carrier_options *options);
/* The same options for `xl-aligned transport`. */
void carrier_options_words(const struct carrier_options *options,
                           struct arguments *words);

#endif /* XL_CMDS_CARRIER_OPTIONS_H */
