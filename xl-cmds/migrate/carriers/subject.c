/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/x509v3.h>

#include "common/text.h"
#include "subject.h"
#include "carrier.h"

/* Flags of X509_NAME_print_ex() in old and new `openssl x509 -subject`. */
#define SUBJECT_NEW (XN_FLAG_ONELINE & ~XN_FLAG_SPC_EQ)
static const unsigned long writings[] = {
    XN_FLAG_RFC2253, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB,
    XN_FLAG_ONELINE, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB,
    SUBJECT_NEW,     SUBJECT_NEW & ~ASN1_STRFLGS_ESC_MSB,
};

/* Whether `out` holds exactly this text. */
static bool holds(BIO *out, const char *text)
{
    char *data;
    long length = BIO_get_mem_data(out, &data);

    return length > 0 && (size_t)length == strlen(text) &&
           !memcmp(data, text, length);
}

static bool is_written(const X509_NAME *name, unsigned long flags,
                       const char *text)
{
    BIO *out = BIO_new(BIO_s_mem());
    bool same = out && X509_NAME_print_ex(out, name, 0, flags) >= 0 &&
                holds(out, text);

    BIO_free(out);
    return same;
}

/*
 * "/O=lab/CN=host".  It does not escape slashes and backslashes: a value with
 * one could pass for another subject, so it never matches.
 */
static bool is_written_with_slashes(const X509_NAME *name, const char *text)
{
    char *line = X509_NAME_oneline(name, NULL, 0);
    int slashes = 0;
    const char *at;
    bool same;

    if (!line)
        return false;
    for (at = line; *at; at++)
        slashes += *at == '/';
    same = slashes == X509_NAME_entry_count(name) && !strchr(line, '\\') &&
           !strcmp(line, text);
    OPENSSL_free(line);
    return same;
}

static bool is_whole_subject(const X509_NAME *name, const char *text)
{
    size_t i;

    if (!strncmp(text, "subject=", 8))
        text += 8;
    while (*text == ' ')
        text++;
    if (*text == '/')
        return is_written_with_slashes(name, text);
    for (i = 0; i < sizeof(writings) / sizeof(writings[0]); i++) {
        if (is_written(name, writings[i], text))
            return true;
    }
    return false;
}

static bool is_allowed(X509 *certificate, const char *entry)
{
    int r;

    if (!strcmp(entry, "*"))
        return true;
    if (!strncmp(entry, ALLOW_UID, strlen(ALLOW_UID)))
        return false;
    if (strchr(entry, '='))
        return is_whole_subject(X509_get_subject_name(certificate), entry);
    /* An address is not compared with names or the CN. */
    r = X509_check_ip_asc(certificate, entry, 0);
    if (r != -2)
        return r == 1;
    return X509_check_host(certificate, entry, 0, X509_CHECK_FLAG_NO_WILDCARDS,
                           NULL) == 1;
}

bool subject_allowed(X509 *certificate, const char *const *allow)
{
    for (; allow && *allow; allow++) {
        if (is_allowed(certificate, *allow))
            return true;
    }
    return false;
}

void subject_print(X509 *certificate, char *text, size_t size)
{
    BIO *out = BIO_new(BIO_s_mem());
    char *data = NULL;
    long length = 0;

    if (out && X509_NAME_print_ex(out, X509_get_subject_name(certificate), 0,
                                  XN_FLAG_RFC2253) >= 0)
        length = BIO_get_mem_data(out, &data);
    text_printable(text, size, length ? data : "?", length ? length : 1);
    BIO_free(out);
}
