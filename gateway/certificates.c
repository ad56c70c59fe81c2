/* Certificates: the table of those that are configured. See certificates.h. */
#include "gateway/certificates.h"

#include "common/crypto.h"

#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

struct name_entry {
    int type; /* GEN_URI, GEN_EMAIL or GEN_DNS */
    const char *text;
    size_t len;
    const struct client_config *client;
};

struct fingerprint_entry {
    uint8_t digest[SHA256_BYTES];
    const struct client_config *client;
};

struct certificate_table {
    struct name_entry *names;
    size_t name_count;
    struct fingerprint_entry *fingerprints;
    size_t fingerprint_count;
};

static int type_of(const char *san)
{
    return strchr(san, ':') != NULL ? GEN_URI : strchr(san, '@') != NULL ? GEN_EMAIL : GEN_DNS;
}

static int compare_names(const void *a, const void *b)
{
    const struct name_entry *one = a;
    const struct name_entry *other = b;

    if (one->type != other->type) {
        return one->type < other->type ? -1 : 1;
    }
    if (one->len != other->len) {
        return one->len < other->len ? -1 : 1;
    }
    return memcmp(one->text, other->text, one->len);
}

static int compare_fingerprints(const void *a, const void *b)
{
    return memcmp(((const struct fingerprint_entry *)a)->digest,
                  ((const struct fingerprint_entry *)b)->digest, SHA256_BYTES);
}

static void add_client(struct certificate_table *table, const struct client_config *client)
{
    const char *san = client->certificate.san;

    if (san != NULL) {
        table->names[table->name_count++] = (struct name_entry){
            .type = type_of(san), .text = san, .len = strlen(san), .client = client};
    }
    if (client->certificate.fingerprint != NULL) {
        struct fingerprint_entry *entry = &table->fingerprints[table->fingerprint_count++];
        entry->client = client;
        /* Its form was checked when the configuration was read. */
        if (crypto_unhex(client->certificate.fingerprint, entry->digest, sizeof(entry->digest)) !=
            OK) {
            abort();
        }
    }
}

struct certificate_table *certificate_table_new(const struct config *config)
{
    struct certificate_table *table = xcalloc(1, sizeof(*table));

    table->names = xcalloc(config->clients.count, sizeof(*table->names));
    table->fingerprints = xcalloc(config->clients.count, sizeof(*table->fingerprints));
    for (size_t i = 0; i < config->clients.count; i++) {
        add_client(table, config_client(config, i));
    }
    qsort(table->names, table->name_count, sizeof(*table->names), compare_names);
    qsort(table->fingerprints, table->fingerprint_count, sizeof(*table->fingerprints),
          compare_fingerprints);
    return table;
}

void certificate_table_free(struct certificate_table *table)
{
    if (table != NULL) {
        free(table->names);
        free(table->fingerprints);
        free(table);
    }
}

static const struct client_config *find_fingerprint(const struct certificate_table *table,
                                                    X509 *certificate)
{
    struct fingerprint_entry wanted;
    const struct fingerprint_entry *found;
    unsigned len = 0;

    if (X509_digest(certificate, EVP_sha256(), wanted.digest, &len) != 1) {
        return NULL;
    }
    found = bsearch(&wanted, table->fingerprints, table->fingerprint_count,
                    sizeof(*table->fingerprints), compare_fingerprints);
    return found != NULL ? found->client : NULL;
}

static const struct client_config *find_name(const struct certificate_table *table,
                                             const GENERAL_NAME *name)
{
    struct name_entry wanted = {.type = name->type};
    const struct name_entry *found;

    if (name->type != GEN_URI && name->type != GEN_EMAIL && name->type != GEN_DNS) {
        return NULL;
    }
    wanted.text = (const char *)ASN1_STRING_get0_data(name->d.ia5);
    wanted.len = (size_t)ASN1_STRING_length(name->d.ia5);
    found = bsearch(&wanted, table->names, table->name_count, sizeof(*table->names), compare_names);
    return found != NULL ? found->client : NULL;
}

enum err certificate_table_find(const struct certificate_table *table, X509 *certificate,
                                const struct client_config **ret_client)
{
    const struct client_config *client = find_fingerprint(table, certificate);
    GENERAL_NAMES *names;
    bool several = false;

    if (client == NULL) {
        names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
        for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
            const struct client_config *found = find_name(table, sk_GENERAL_NAME_value(names, i));
            several = several || (found != NULL && client != NULL && found != client);
            client = found != NULL ? found : client;
        }
        GENERAL_NAMES_free(names);
    }
    if (client == NULL || several) {
        return ERR_DENIED;
    }
    *ret_client = client;
    return OK;
}

void certificate_id(X509 *certificate, char ret_id[static CERTIFICATE_ID_SIZE])
{
    uint8_t digest[SHA256_BYTES] = {0};
    unsigned len = 0;

    (void)X509_digest(certificate, EVP_sha256(), digest, &len);
    memcpy(ret_id, "cert:", 5);
    crypto_hex(digest, sizeof(digest), ret_id + 5);
}
