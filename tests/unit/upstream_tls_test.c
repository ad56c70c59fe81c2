/* Tests of upstream/: over TLS, with the right certificate and with a wrong one. */
#include "upstream_fixture.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A certificate for 127.0.0.1 that is its own CA, written to path; NULL or its server side. */
static SSL_CTX *make_tls(const char *path, const char *address)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_EXTENSION *name = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, address);
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "CA:TRUE");
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(X509_set_version(certificate, 2));
    assert_true(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1));
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -60));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600));
    assert_true(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                           (const unsigned char *)"tollgate test", -1, -1, 0));
    assert_true(X509_set_issuer_name(certificate, X509_get_subject_name(certificate)));
    assert_true(X509_add_ext(certificate, name, -1));
    assert_true(X509_add_ext(certificate, ca, -1));
    assert_true(X509_set_pubkey(certificate, key));
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    assert_int_equal(SSL_CTX_use_certificate(tls, certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fclose(file), 0);
    X509_EXTENSION_free(name);
    X509_EXTENSION_free(ca);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return tls;
}

static struct fixture *tls_fixture(const char *address)
{
    char path[] = "/tmp/upstream_test.ca.XXXXXX";
    int fd = mkstemp(path);
    struct fixture *fixture;

    assert_true(fd >= 0);
    (void)close(fd);
    fixture = fixture_prepare(make_tls(path, address));
    assert_int_equal(rename(path, fixture->ca_file), 0);
    fixture->options.ca_file = fixture->ca_file;
    return fixture;
}

static void test_tls_with_its_ca(void **state)
{
    struct fixture *fixture = tls_fixture("IP:127.0.0.1");

    (void)state;
    fixture_start(fixture);
    assert_int_equal(fixture->refreshed, 1);
    assert_int_equal(call(fixture, (struct step){ANSWER, KEEP})->result, UPSTREAM_OK);
    assert_int_equal(call(fixture, (struct step){RESET, NULL})->result, UPSTREAM_UNKNOWN);
    assert_int_equal(fixture->server->actions, 2);
    fixture_free(fixture);
}

/* OpenSSL goes on writing where plain sockets know better: SIGPIPE must not end the process. */
static void test_tls_with_a_long_body(void **state)
{
    struct fixture *fixture = tls_fixture("IP:127.0.0.1");

    (void)state;
    fixture_start(fixture);
    check_long_body(fixture);
    fixture_free(fixture);
}

static void test_tls_of_somebody_else_gets_nothing(void **state)
{
    struct fixture *plain = fixture_prepare(NULL); /* gives the token */
    char token_url[96];

    (void)state;
    (void)snprintf(token_url, sizeof(token_url), "%so/oauth/token", plain->url);
    for (int round = 0; round < 2; round++) {
        /* First a foreign CA, then the right CA with another name. */
        struct fixture *fixture = tls_fixture(round == 0 ? "IP:127.0.0.1" : "IP:127.0.0.2");
        const struct upstream_outcome *outcome;

        if (round == 0) {
            SSL_CTX_free(make_tls(fixture->ca_file, "IP:127.0.0.1"));
        }
        fixture->options.token_url = token_url;
        assert_int_equal(fixture_try(fixture, NULL), OK);
        while (!upstream_ready(fixture->upstream)) {
            assert_int_not_equal(event_base_loop(plain->base, EVLOOP_NONBLOCK), -1);
            assert_int_not_equal(event_base_loop(fixture->base, EVLOOP_NONBLOCK), -1);
        }
        outcome = call(fixture, (struct step){ANSWER, KEEP});
        assert_int_equal(outcome->result, UPSTREAM_FAILED);
        assert_true(outcome->nothing_sent);
        assert_int_equal(fixture->server->actions, 0);
        fixture_free(fixture);
    }
    fixture_free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_with_its_ca),
        cmocka_unit_test(test_tls_with_a_long_body),
        cmocka_unit_test(test_tls_of_somebody_else_gets_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
