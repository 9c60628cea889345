/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS 1.3 with certificates of the same authority at both ends.  If possible,
 * the kernel encrypts (kTLS): bytes are then spliced to the socket, as with
 * plain TCP.
 */
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xl-cmds/cmds.h"
#include "common/text.h"
#include "openssl.h"
#include "subject.h"
#include "options.h"

#define ENDING_MS 1000 /* for a handshake that is ended */

/* ---- memory that held a key --------------------------------------------- */

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

/* Reading a PEM file leaves copies of the key in freed memory. */
static void key_wipe_freed_memory(void)
{
    CRYPTO_set_mem_functions(take, resize, wipe);
}

/* ---- the key ------------------------------------------------------------ */

/* Not in the context, which cannot drop a key. */
static int key_load(SSL_CTX *context, const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key;

    if (!file)
        return -1;
    /* Unbuffered: no copy of the key. */
    setvbuf(file, NULL, _IONBF, 0);
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    SSL_CTX_set_app_data(context, key);
    return key && X509_check_private_key(SSL_CTX_get0_certificate(context),
                                         key) == 1
               ? 0
               : -1;
}

static int key_use(SSL *tls)
{
    EVP_PKEY *key = SSL_CTX_get_app_data(SSL_get_SSL_CTX(tls));

    return SSL_use_PrivateKey(tls, key) == 1 ? 0 : -1;
}

static void key_drop(SSL_CTX *context)
{
    if (!context)
        return;
    EVP_PKEY_free(SSL_CTX_get_app_data(context));
    SSL_CTX_set_app_data(context, NULL);
}

/*
 * A receiver signs once, before it reads the certificate and everything else
 * of its peer, which it does without the key in memory.
 */
static void key_forget(const SSL *tls, int where, int ret)
{
    (void)ret;
    if (!(where & SSL_CB_LOOP) || SSL_get_state(tls) != TLS_ST_SW_CERT_VRFY)
        return;
    SSL_certs_clear((SSL *)tls);
    key_drop(SSL_get_SSL_CTX(tls));
}

/* ---- errors ------------------------------------------------------------- */

/* OpenSSL's errors in plain words. */
static const struct {
    int reason;
    const char *meaning;
} meanings[] = {
    { SSL_R_UNSUPPORTED_PROTOCOL, "the peer does not speak TLS 1.3" },
    { SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS" },
    { SSL_R_HTTP_REQUEST, "the peer speaks HTTP, not TLS" },
    { SSL_R_HTTPS_PROXY_REQUEST, "the peer speaks HTTP, not TLS" },
    { SSL_R_PACKET_LENGTH_TOO_LONG, "the peer does not speak TLS" },
    { SSL_R_BAD_RECORD_TYPE, "the peer does not speak TLS" },
    { SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
      "the peer sent no certificate" },
    { SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the peer does not speak TLS 1.3" },
    { SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not trust the authority "
                                    "of this end's certificate" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
      "the peer refused this end's certificate as expired" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
      "the peer refused this end's certificate, or its issuer's, as revoked" },
    { SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
      "the peer refused this end's certificate" },
    { SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
      "the peer refused this end's certificate" },
    { SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
      "the peer requires a certificate" },
    { SSL_R_TLSV1_ALERT_INTERNAL_ERROR,
      "the peer is busy, shutting down, or cannot check certificates; see "
      "its log" },
    { SSL_R_TLSV1_ALERT_ACCESS_DENIED,
      "the peer does not allow this end's certificate" },
    { SSL_R_UNEXPECTED_EOF_WHILE_READING,
      "the peer closed the connection unexpectedly" },
};

static void describe_error(char *text, size_t size, int errnum)
{
    unsigned long error = ERR_peek_error();
    const char *reason = ERR_reason_error_string(error);
    size_t i;

    if (!error) {
        snprintf(text, size, "%s",
                 errnum ? strerror(errnum) : "the peer closed the connection");
        return;
    }
    for (i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        if (ERR_GET_LIB(error) == ERR_LIB_SSL &&
            ERR_GET_REASON(error) == meanings[i].reason) {
            snprintf(text, size, "%s (%s)", meanings[i].meaning, reason);
            return;
        }
    }
    if (ERR_GET_LIB(error) == ERR_LIB_SYS)
        snprintf(text, size, "%s", strerror(ERR_GET_REASON(error)));
    else if (reason)
        snprintf(text, size, "%s", reason);
    else
        ERR_error_string_n(error, text, size);
}

static int tls_fail(struct link *link, const char *doing)
{
    int errnum = errno;
    char text[200];

    describe_error(text, sizeof(text), errnum);
    ERR_clear_error();
    return link_fail(link, EPROTO, "%s: %s", doing, text);
}

/*
 * What a failed call of OpenSSL means: -1 with errno EAGAIN, and what to wait
 * for in *events, or EPROTO.
 */
static int tls_wants(struct link *link, int r, short *events,
                     const char *doing)
{
    switch (SSL_get_error(link->tls, r)) {
    case SSL_ERROR_WANT_READ:
        *events = POLLIN;
        errno = EAGAIN;
        return -1;
    case SSL_ERROR_WANT_WRITE:
        *events = POLLOUT;
        errno = EAGAIN;
        return -1;
    default:
        return tls_fail(link, doing);
    }
}

/* ---- link --------------------------------------------------------------- */

static ssize_t tls_read(struct link *link, void *data, size_t length)
{
    int r;

    ERR_clear_error();
    errno = 0;
    r = SSL_read(link->tls, data, length > INT32_MAX ? INT32_MAX : length);
    if (r > 0)
        return r;
    if (SSL_get_error(link->tls, r) == SSL_ERROR_ZERO_RETURN)
        return 0;
    return tls_wants(link, r, &link->read_events, "reading");
}

static ssize_t tls_write(struct link *link, const void *data, size_t length)
{
    int r;

    ERR_clear_error();
    errno = 0;
    r = SSL_write(link->tls, data, length > INT32_MAX ? INT32_MAX : length);
    return r > 0 ? r : tls_wants(link, r, &link->write_events, "writing");
}

static int tls_finish(struct link *link)
{
    int r;

    ERR_clear_error();
    errno = 0;
    /* After an error of the connection the peer cannot be notified. */
    if (link->error[0] || (SSL_get_shutdown(link->tls) & SSL_SENT_SHUTDOWN))
        return 0;
    r = SSL_shutdown(link->tls);
    return r >= 0 ? 0 : tls_wants(link, r, &link->write_events, "closing");
}

static void tls_stop(struct link *link)
{
    (void)link;
}

static void tls_close(struct link *link)
{
    SSL_free(link->tls);
    link->tls = NULL;
    if (link->in >= 0)
        close(link->in);
    link->in = link->out = -1;
}

static const struct link_ops tls_ops = {
    .read = tls_read,
    .write = tls_write,
    .finish = tls_finish,
    .stop = tls_stop,
    .close = tls_close,
};

/* ---- preparing ---------------------------------------------------------- */

/* Now, not only when a peer is refused. */
static void warn_of_expired(X509_STORE *store, const char *path)
{
    const STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
    const X509_CRL *crl;
    int i;

    for (i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
        if (crl && X509_CRL_get0_nextUpdate(crl) &&
            X509_cmp_current_time(X509_CRL_get0_nextUpdate(crl)) < 0)
            report("warning: %s: a list in it has expired: all certificates "
                   "of its issuer are refused until it is renewed",
                   path);
    }
}

/* Each certificate of a chain needs a list of its issuer. */
static int load_revoked(SSL_CTX *context, const char *path)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

    if (!lookup || X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) <= 0)
        return -1;
    warn_of_expired(store, path);
    return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK |
                                           X509_V_FLAG_CRL_CHECK_ALL) == 1
               ? 0
               : -1;
}

/* The step that failed, or NULL. */
static const char *load(SSL_CTX *context,
                        const struct carrier_options *options)
{
    const char *cert = options->cert ?: TLS_DIRECTORY "cert.pem";
    const char *key = options->key ?: TLS_DIRECTORY "key.pem";
    const char *authority = options->authority ?: TLS_DIRECTORY "ca.pem";

    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1)
        return "TLS 1.3";
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        return cert;
    if (key_load(context, key) < 0)
        return key;
    if (SSL_CTX_load_verify_locations(context, authority, NULL) != 1)
        return authority;
    if (options->revoked && load_revoked(context, options->revoked))
        return options->revoked;
    return NULL;
}

/* Errors of --crl, not of the peer. */
static const struct {
    int error;
    const char *meaning;
} crl_errors[] = {
    { X509_V_ERR_UNABLE_TO_GET_CRL, "--crl has no list of its issuer" },
    { X509_V_ERR_CRL_HAS_EXPIRED, "the list of its issuer in --crl has "
                                  "expired" },
    { X509_V_ERR_CRL_NOT_YET_VALID, "the list of its issuer in --crl is not "
                                    "valid yet: is the clock right?" },
};

static const char *describe_verify(X509_STORE_CTX *store)
{
    int error = X509_STORE_CTX_get_error(store);
    size_t i;

    for (i = 0; i < sizeof(crl_errors) / sizeof(crl_errors[0]); i++) {
        if (crl_errors[i].error != error)
            continue;
        /* Else the peer is notified that its certificate has expired. */
        X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
        return crl_errors[i].meaning;
    }
    return X509_verify_cert_error_string(error);
}

/* Records which certificate failed and why; refuses as OpenSSL would. */
static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *tls = X509_STORE_CTX_get_ex_data(
        store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct link *link = tls ? SSL_get_app_data(tls) : NULL;
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    char subject[160] = "?", shown[200];

    if (ok || !link)
        return ok;
    if (certificate)
        X509_NAME_oneline(X509_get_subject_name(certificate), subject,
                          sizeof(subject));
    text_printable(shown, sizeof(shown), subject, strlen(subject));
    link_fail(link, EPERM, "certificate %s: %s", shown,
              describe_verify(store));
    return 0;
}

static int tls_prepare(struct carrier_options *options, bool receiver,
                       char *why, size_t size)
{
    SSL_CTX *context;
    const char *failed;
    char text[200];

    key_wipe_freed_memory();
    context = SSL_CTX_new(receiver ? TLS_server_method()
                                   : TLS_client_method());
    failed = context ? load(context, options) : "TLS";
    if (failed) {
        describe_error(text, sizeof(text), errno);
        ERR_clear_error();
        snprintf(why, size, "%s: %s", failed, text);
        key_drop(context);
        SSL_CTX_free(context);
        return -1;
    }
    SSL_CTX_set_verify(context,
                       SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                       on_verify);
    if (receiver)
        SSL_CTX_set_info_callback(context, key_forget);
    SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS | SSL_OP_NO_RENEGOTIATION);
    /* One connection per session; kTLS needs the stream free of messages. */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Sessions must not inherit a key that is no longer needed. */
    key_drop(options->tls);
    SSL_CTX_free(options->tls);
    options->tls = context;
    return 0;
}

/* ---- who it is ---------------------------------------------------------- */

static int check_subject(struct link *link,
                         const struct carrier_options *options)
{
    X509 *certificate = SSL_get1_peer_certificate(link->tls);
    size_t used;
    bool allowed;

    if (!certificate)
        return link_fail(link, EPERM, "no certificate");
    subject_print(certificate, link->subject, sizeof(link->subject));
    allowed = subject_allowed(certificate, options->allow);
    X509_free(certificate);
    if (!allowed)
        return link_fail(link, EPERM,
                         "certificate %s is not allowed to connect",
                         link->subject);
    used = strlen(link->peer);
    snprintf(link->peer + used, sizeof(link->peer) - used, " (%s)",
             link->subject);
    return 0;
}

/* The certificate must be for the name or address connected to. */
static int expect_host(SSL *tls, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(tls);

    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1) {
        ERR_clear_error();
        return 0;
    }
    ERR_clear_error();
    SSL_set_hostflags(tls, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(tls, host) == 1 &&
                   SSL_set_tlsext_host_name(tls, host) == 1
               ? 0
               : -1;
}

/* ---- connecting --------------------------------------------------------- */

/* The alert internal_error: nothing else can be sent before TLS is up. */
static void tls_turn_away(int fd, const char *why)
{
    static const uint8_t alert[] = { 21, 3, 3, 0, 2, 2, 80 };

    (void)why;
    send(fd, alert, sizeof(alert), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int shake_hands(struct link *link, int (*method)(SSL *),
                       int64_t deadline)
{
    short events = POLLIN;
    int r;

    for (;;) {
        ERR_clear_error();
        errno = 0;
        r = method(link->tls);
        if (r == 1)
            break;
        if (tls_wants(link, r, &events, "TLS handshake") && errno != EAGAIN)
            return -1;
        if (!wait_for(link->in, events, deadline))
            continue;
        if (SSL_is_server(link->tls) &&
            (SSL_get_state(link->tls) == TLS_ST_BEFORE ||
             SSL_get_state(link->tls) == TLS_ST_SR_CLNT_HELLO)) {
            tls_turn_away(link->out, "");
        } else if (errno == EINTR && deadline > now_ms() + ENDING_MS) {
            /* Past the hello: wait a little, to send the peer the reason. */
            deadline = now_ms() + ENDING_MS;
            continue;
        }
        return link_fail(link, errno, "TLS handshake timed out");
    }
    link->open = true;
    /* The kernel encrypts what is written to the socket. */
    link->splice_out = BIO_get_ktls_send(SSL_get_wbio(link->tls));
    return 0;
}

static int tls_open(struct link *link, SSL_CTX *context)
{
    link->splice_in = link->splice_out = link->open = false;
    link->tls = SSL_new(context);
    link->ops = &tls_ops;
    if (!link->tls || SSL_set_fd(link->tls, link->in) != 1 ||
        key_use(link->tls) < 0)
        return tls_fail(link, "TLS");
    SSL_set_app_data(link->tls, link);
    return 0;
}

static int tls_connect(struct link *link, const char *address, char *const *xl,
                       const struct carrier_options *options)
{
    char host[256];
    const char *name;

    (void)xl;
    if (tcp_connect(link, address, false, host, sizeof(host)) < 0)
        return -1;
    name = options->peer_name ? options->peer_name : host;
    if (tls_open(link, options->tls) < 0)
        return -1;
    if (expect_host(link->tls, name))
        return tls_fail(link, name);
    return shake_hands(link, SSL_connect, now_ms() + 30000);
}

static int tls_listen(const char *address,
                      const struct carrier_options *options, char *why,
                      size_t size)
{
    (void)options;
    return tcp_listen(address, false, why, size);
}

static int tls_accept(struct link *link, int fd, int64_t deadline,
                      const struct carrier_options *options)
{
    if (link_open_fds(link, fd, fd, "tls") < 0 || tcp_name_peer(link, fd) < 0)
        return -1;
    if (tls_open(link, options->tls) < 0 ||
        shake_hands(link, SSL_accept, deadline) < 0)
        return -1;
    return check_subject(link, options);
}

const struct carrier carrier_tls = {
    .name = "tls",
    .sender_first = true,
    .trusted = true,
    .connect = tls_connect,
    .listen = tls_listen,
    .prepare = tls_prepare,
    .accept = tls_accept,
    .turn_away = tls_turn_away,
};
