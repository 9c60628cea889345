/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The files for migration over TLS, loaded as migrate and listen load them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "doctor.h"
#include "xl-cmds/migrate/carriers/options.h"
#include "xl-cmds/migrate/carriers/subject.h"

#define DAY       86400
#define SOON_DAYS 30

/*
 * A reader of the key can act as this host; a writer of the list can connect.
 */
static void check_mode(struct doctor *doctor, const char *path, mode_t refused,
                       const char *advice)
{
    struct stat st;

    if (!path)
        return;
    if (stat(path, &st))
        doctor_find(doctor, FINDING_BAD, "tls", "%s: %s", path,
                    strerror(errno));
    else if (!S_ISREG(st.st_mode))
        doctor_find(doctor, FINDING_BAD, "tls", "%s: not a regular file",
                    path);
    else if (st.st_uid && st.st_uid != geteuid())
        doctor_find(doctor, FINDING_BAD, "tls",
                    "%s: belongs to user %u; "
                    "chown root",
                    path, (unsigned)st.st_uid);
    else if (st.st_mode & refused)
        doctor_find(doctor, FINDING_BAD, "tls",
                    "%s: mode %04o: others can "
                    "%s it; chmod %s",
                    path, st.st_mode & 07777,
                    st.st_mode & refused & 044 ? "read" : "write", advice);
}

static void check_lists(struct doctor *doctor, X509_STORE *store)
{
    STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
    int i;

    for (i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        X509_CRL *list = X509_OBJECT_get0_X509_CRL(
            sk_X509_OBJECT_value(objects, i));
        const ASN1_TIME *next = list ? X509_CRL_get0_nextUpdate(list) : NULL;

        if (next && X509_cmp_current_time(next) < 0)
            doctor_find(doctor, FINDING_BAD, "tls",
                        "a list of revoked certificates has expired: all "
                        "certificates of its issuer are refused until it is "
                        "renewed");
    }
}

/* 0 if a peer will accept the certificate in this role. */
static int verify(X509_STORE *store, X509 *cert, STACK_OF(X509) * chain,
                  const char *role)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int error = X509_V_ERR_OUT_OF_MEM;

    if (context && X509_STORE_CTX_init(context, store, cert, chain) == 1 &&
        X509_STORE_CTX_set_default(context, role) == 1) {
        X509_verify_cert(context);
        error = X509_STORE_CTX_get_error(context);
    }
    X509_STORE_CTX_free(context);
    return error;
}

static void check_certificate(struct doctor *doctor, SSL_CTX *context,
                              const char *path)
{
    static const struct {
        const char *role, *verb;
    } roles[] = { { "ssl_client", "send" }, { "ssl_server", "receive" } };
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509 *cert = SSL_CTX_get0_certificate(context);
    STACK_OF(X509) *chain = NULL;
    time_t soon = time(NULL) + SOON_DAYS * DAY;
    char subject[256];
    int error;
    size_t i;

    SSL_CTX_get0_chain_certs(context, &chain);
    subject_print(cert, subject, sizeof(subject));
    for (i = 0; i < 2; i++) {
        error = verify(store, cert, chain, roles[i].role);
        if (!error)
            continue;
        doctor_find(doctor, FINDING_BAD, "tls",
                    "%s (%s): peers will not let it %s domains: %s", path,
                    subject, roles[i].verb,
                    X509_verify_cert_error_string(error));
        return;
    }
    if (X509_cmp_time(X509_get0_notAfter(cert), &soon) < 0)
        doctor_find(doctor, FINDING_NOTE, "tls",
                    "%s (%s) expires within %d "
                    "days",
                    path, subject, SOON_DAYS);
    else
        doctor_find(doctor, FINDING_OK, "tls",
                    "%s (%s) is valid and matches its key and authority", path,
                    subject);
}

void doctor_tls(struct doctor *doctor, const struct carrier_options *given,
                const char *allow)
{
    struct carrier_options options = *given;
    const char *cert = given->cert ?: TLS_DIRECTORY "cert.pem";
    char why[320];

    if (!allow && !access(TLS_DIRECTORY "allow", F_OK))
        allow = TLS_DIRECTORY "allow";
    if (!given->cert && !given->key && !given->authority && !given->revoked &&
        access(cert, F_OK)) {
        doctor_find(doctor, FINDING_NOTE, "tls",
                    "%s: %s; no migration over "
                    "TLS",
                    cert, strerror(errno));
        check_mode(doctor, allow, 022, "go-w");
        return;
    }
    check_mode(doctor, given->key ?: TLS_DIRECTORY "key.pem", 077, "600");
    check_mode(doctor, cert, 022, "go-w");
    check_mode(doctor, given->authority ?: TLS_DIRECTORY "ca.pem", 022,
               "go-w");
    check_mode(doctor, given->revoked, 022, "go-w");
    check_mode(doctor, allow, 022, "go-w");
    if (carrier_tls.prepare(&options, true, why, sizeof(why))) {
        doctor_find(doctor, FINDING_BAD, "tls", "%s", why);
        return;
    }
    check_lists(doctor, SSL_CTX_get_cert_store(options.tls));
    check_certificate(doctor, options.tls, cert);
    SSL_CTX_free(options.tls);
}
