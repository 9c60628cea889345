/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509.h>

#include "key.h"

/* ---- memory ------------------------------------------------------------- */

static void *take(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(size);
}

static void wipe(void *pointer, const char *file, int line)
{
    (void)file;
    (void)line;
    if (pointer)
        explicit_bzero(pointer, malloc_usable_size(pointer));
    free(pointer);
}

static void *resize(void *pointer, size_t size, const char *file, int line)
{
    size_t old = malloc_usable_size(pointer);
    void *resized = size ? malloc(size) : NULL;

    if (resized && pointer)
        memcpy(resized, pointer, old < size ? old : size);
    if (resized || !size)
        wipe(pointer, file, line);
    return resized;
}

/* What reads a PEM file leaves copies of the key in memory that it frees. */
void key_wipe_freed_memory(void)
{
    CRYPTO_set_mem_functions(take, resize, wipe);
}

/* ---- the key ------------------------------------------------------------ */

/* Beside the context and not in it, from where it could not be removed. */
int key_load(SSL_CTX *context, const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key;

    if (!file)
        return -1;
    /* No buffer with a copy of it. */
    setvbuf(file, NULL, _IONBF, 0);
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    SSL_CTX_set_app_data(context, key);
    return key && X509_check_private_key(SSL_CTX_get0_certificate(context),
                                         key) == 1
               ? 0
               : -1;
}

int key_use(SSL *tls)
{
    EVP_PKEY *key = SSL_CTX_get_app_data(SSL_get_SSL_CTX(tls));

    return SSL_use_PrivateKey(tls, key) == 1 ? 0 : -1;
}

void key_drop(SSL_CTX *context)
{
    if (!context)
        return;
    EVP_PKEY_free(SSL_CTX_get_app_data(context));
    SSL_CTX_set_app_data(context, NULL);
}

/*
 * A receiver signs with it once: what its peer sends after that, a certificate
 * first of all, is read without the key in memory.
 */
void key_forget(const SSL *tls, int where, int ret)
{
    (void)ret;
    if (!(where & SSL_CB_LOOP) || SSL_get_state(tls) != TLS_ST_SW_CERT_VRFY)
        return;
    SSL_certs_clear((SSL *)tls);
    key_drop(SSL_get_SSL_CTX(tls));
}
