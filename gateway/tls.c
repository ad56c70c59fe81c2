/* TLS: see tls.h. */
#include "gateway/tls.h"

#include "common/clock.h"
#include "common/log.h"
#include "gateway/metrics.h"
#include "gateway/tls_key.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdatomic.h>
#include <string.h>

#define LOG_EVERY_MS 1000

/* What 1.2 may use: forward secrecy and authenticated encryption only; 1.3 knows nothing else. */
#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20"
#define CIPHERS_13 "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
#define GROUPS     "X25519:P-256:P-384"

static enum err fail(SSL_CTX *context, const char *file, struct error *error)
{
    char reason[160] = "not what it should be";

    if (ERR_peek_last_error() != 0) {
        ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    }
    ERR_clear_error();
    SSL_CTX_free(context);
    return error_set(error, ERR_INVALID, "%s: %s", file, reason);
}

/* Nobody is there to type a passphrase. */
static int no_passphrase(char *buffer, int size, int writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* Sees every certificate that does not verify; at most one a second is logged. */
static int on_verify(int good, X509_STORE_CTX *verification)
{
    static atomic_llong logged_ms;
    int64_t now = clock_boot_ms();
    long long before = logged_ms;

    if (good != 1) {
        const char *reason = X509_verify_cert_error_string(X509_STORE_CTX_get_error(verification));
        metrics_add(METRIC_CERTIFICATES_REFUSED, reason, NULL, 1);
        if ((before == 0 || now - before >= LOG_EVERY_MS) &&
            atomic_compare_exchange_strong(&logged_ms, &before, (long long)now)) {
            log_warning("a client certificate was refused", "s:s", "reason", reason);
        }
    }
    return good;
}

/* The option at fault, or NULL. */
static const char *use_certificate(SSL_CTX *context, const char *certificate, const char *key)
{
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1) {
        return "certificate";
    }
    return tls_use_key(context, key) && SSL_CTX_check_private_key(context) == 1 ? NULL : "key";
}

static SSL_CTX *new_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context, CIPHERS_12) != 1 ||
        SSL_CTX_set_ciphersuites(context, CIPHERS_13) != 1 ||
        SSL_CTX_set1_groups_list(context, GROUPS) != 1 ||
        SSL_CTX_set_num_tickets(context, 0) != 1) {
        SSL_CTX_free(context);
        return NULL;
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}

/* Adds all lists of a PEM file; how many, or -1 where one cannot be read. expired tells whether one
 * is out of date. store may be NULL. */
static int read_crls(const char *file, X509_STORE *store, bool *ret_expired)
{
    BIO *bio = BIO_new_file(file, "r");
    X509_CRL *crl;
    int count = 0;
    bool good = bio != NULL;

    *ret_expired = false;
    while (good && (crl = PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL)) != NULL) {
        const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
        *ret_expired = *ret_expired || (next != NULL && X509_cmp_current_time(next) < 0);
        good = store == NULL || X509_STORE_add_crl(store, crl) == 1;
        X509_CRL_free(crl);
        count++;
    }
    (void)BIO_free(bio);
    if (good && count > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
        ERR_clear_error(); /* the end of the file */
        return count;
    }
    return -1;
}

bool tls_crl_expired(const char *crl_file)
{
    bool expired;

    (void)read_crls(crl_file, NULL, &expired);
    ERR_clear_error();
    return expired;
}

/* The option at fault, or NULL. */
static const char *ask_for_certificates(SSL_CTX *context, const struct listen_config *listen)
{
    const char *mode = listen->tls.client_certificate;
    bool optional = mode != NULL && strcmp(mode, "optional") == 0;
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(listen->tls.client_ca);
    bool expired;

    if (names == NULL || SSL_CTX_load_verify_file(context, listen->tls.client_ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return "client_ca";
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (optional ? 0 : SSL_VERIFY_FAIL_IF_NO_PEER_CERT),
                       on_verify);
    if (listen->tls.crl_file != NULL) {
        if (read_crls(listen->tls.crl_file, store, &expired) < 0) {
            return "crl_file";
        }
        (void)X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    }
    return NULL;
}

static const char *file_of(const struct listen_config *listen, const char *option)
{
    const struct {
        const char *option;
        const char *file;
    } files[] = {{"certificate", listen->tls.certificate},
                 {"key", listen->tls.key},
                 {"client_ca", listen->tls.client_ca},
                 {"crl_file", listen->tls.crl_file}};
    size_t i = 0;

    while (strcmp(files[i].option, option) != 0) {
        i++;
    }
    return files[i].file;
}

enum err tls_server_context(const struct listen_config *listen, SSL_CTX **ret_context,
                            const char **ret_option, struct error *error)
{
    SSL_CTX *context = new_context();

    *ret_option = "certificate";
    if (context == NULL) {
        return fail(context, "TLS", error);
    }
    *ret_option = use_certificate(context, listen->tls.certificate, listen->tls.key);
    if (*ret_option == NULL && listen->tls.client_ca != NULL) {
        *ret_option = ask_for_certificates(context, listen);
    }
    if (*ret_option != NULL) {
        return fail(context, file_of(listen, *ret_option), error);
    }
    *ret_context = context;
    return OK;
}

enum err tls_client_context(const char *ca_file, const char *certificate, const char *key,
                            SSL_CTX **ret_context, struct error *error)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    const char *option = NULL;

    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
        return fail(context, "TLS", error);
    }
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (ca_file != NULL ? SSL_CTX_load_verify_file(context, ca_file) != 1
                        : SSL_CTX_set_default_verify_paths(context) != 1) {
        return fail(context, ca_file != NULL ? ca_file : "the system's CAs", error);
    }
    if (certificate != NULL) {
        option = use_certificate(context, certificate, key);
    }
    if (option != NULL) {
        return fail(context, strcmp(option, "key") == 0 ? key : certificate, error);
    }
    *ret_context = context;
    return OK;
}
