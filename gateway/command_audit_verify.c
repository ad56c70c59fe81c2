/* tollgate audit verify: whether the audit log holds. Reads the store and feeds gateway/verify.h;
 * what it finds is printed, and nothing is changed. See command.h. */
#include "gateway/command_audit.h"

#include "common/clock.h"
#include "common/file.h"
#include "common/note.h"
#include "common/signing_key.h"
#include "gateway/verify.h"
#include "gateway/verify_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECKPOINTS_MAX_BYTES ((size_t)1 << 30)
#define PROGRESS_ROWS         4096
#define PROGRESS_MS           200

struct saved_file {
    const char *name;
    char *text;
    size_t len;
};

struct verifying {
    const struct command *command;
    struct audit_source source;
    bool json;
    struct note_verifier *keys;
    size_t key_count;
    struct saved_file *saved;
    size_t saved_count;
    char **nodes;
    size_t node_count;
    struct verify *verify;
    /* Progress, on a terminal only. */
    bool progress;
    int64_t began_ms;
    int64_t shown_ms;
    uint64_t expected;
    uint64_t read;
};

/* ---- Arguments ---- */

/* A file with a PEM public key and after it its vkey, as 'audit key new' prints them. */
static enum err load_both(const char *path, struct note_verifier *key)
{
    static const char pem_end[] = "-----END PUBLIC KEY-----\n";
    CLEANUP(cleanup_free) char *text = NULL;
    size_t len;
    char *vkey;
    uint8_t public_key[PUBLIC_KEY_BYTES];
    enum err err = file_read(path, KEY_FILE_MAX_BYTES, &text, &len, NULL);

    if (err != OK || (vkey = strstr(text, pem_end)) == NULL) {
        return ERR_MALFORMED;
    }
    vkey += strlen(pem_end);
    err = public_key_from_pem(text, (size_t)(vkey - text), public_key, NULL);
    if (err == OK) {
        err = note_vkey_parse(vkey, strcspn(vkey, "\n"), key, NULL);
    }
    return err == OK && memcmp(public_key, key->public_key, sizeof(public_key)) != 0 ? ERR_MALFORMED
                                                                                     : err;
}

static int add_key_file(struct verifying *verifying, const char *path)
{
    struct note_verifier key;
    struct error error = {0};

    if (note_load_verifier(path, &key, &error) != OK && load_both(path, &key) != OK) {
        return audit_failed(verifying->command, &error);
    }
    verifying->keys = xrealloc(verifying->keys, verifying->key_count + 1, sizeof(*verifying->keys));
    verifying->keys[verifying->key_count++] = key;
    return EXIT_DONE;
}

static int add_checkpoint_file(struct verifying *verifying, const char *path)
{
    struct saved_file file = {.name = path};
    struct error error = {0};

    if (file_read(path, CHECKPOINTS_MAX_BYTES, &file.text, &file.len, &error) != OK) {
        return audit_failed(verifying->command, &error);
    }
    verifying->saved =
        xrealloc(verifying->saved, verifying->saved_count + 1, sizeof(*verifying->saved));
    verifying->saved[verifying->saved_count++] = file;
    return EXIT_DONE;
}

static int read_arguments(struct verifying *verifying, int argc, char **argv)
{
    static const struct option options[] = {AUDIT_SOURCE_OPTIONS,
                                            {"public-key", required_argument, NULL, 'k'},
                                            {"checkpoint", required_argument, NULL, 'p'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    int code = EXIT_DONE;
    int option;

    opterr = 0;
    while (code == EXIT_DONE &&
           (option = getopt_long(argc, argv, AUDIT_SOURCE_SHORT, options, NULL)) != -1) {
        switch (option) {
        case 'c':
            verifying->source.config_path = optarg;
            break;
        case 's':
            verifying->source.url = optarg;
            break;
        case 'k':
            code = add_key_file(verifying, optarg);
            break;
        case 'p':
            code = add_checkpoint_file(verifying, optarg);
            break;
        case 'j':
            verifying->json = true;
            break;
        default:
            return command_usage(verifying->command,
                                 "'%s' is not an option of it, or lacks its value",
                                 argv[optind - 1]);
        }
    }
    if (code == EXIT_DONE && optind < argc) {
        return command_usage(verifying->command, "'%s' is one argument too many", argv[optind]);
    }
    return code;
}

/* ---- What the configuration says ---- */

/* The key that this gateway signs with, and the budgets. */
static int use_config(struct verifying *verifying)
{
    const struct config *config = verifying->source.config;
    CLEANUP(cleanup_free) char *name = NULL;
    struct signing_key *key = NULL;
    struct note_verifier verifier;
    uint8_t public_key[PUBLIC_KEY_BYTES];
    struct error error = {0};

    if (config == NULL) {
        return EXIT_DONE;
    }
    for (size_t i = 0; i < config->accounts.count; i++) {
        const struct account_config *account = config_account(config, i);
        verify_set_budget(verifying->verify, account->name, account->budget.requests,
                          account->budget.window_s);
    }
    if (config->audit.signing_key_file == NULL) {
        return EXIT_DONE;
    }
    if (signing_key_load(config->audit.signing_key_file, &key, &error) != OK) {
        return audit_failed(verifying->command, &error);
    }
    signing_key_public(key, public_key);
    signing_key_free(key);
    name = xasprintf("tollgate/%s", config->node);
    if (note_verifier_init(&verifier, name, public_key, &error) != OK) {
        return audit_failed(verifying->command, &error);
    }
    verify_add_key(verifying->verify, &verifier);
    return EXIT_DONE;
}

/* ---- Reading ---- */

static void show_progress(struct verifying *verifying)
{
    int64_t now = clock_boot_ms();
    double seconds = (double)(now - verifying->began_ms) / 1000;
    double rate = seconds > 0 ? (double)verifying->read / seconds : 0;
    double left = (double)verifying->expected - (double)verifying->read;

    if (now - verifying->shown_ms < PROGRESS_MS) {
        return;
    }
    verifying->shown_ms = now;
    (void)fprintf(
        stderr, "\r%3.0f %%, %.0f records/s, %.0f s left \x1b[K",
        verifying->expected > 0 ? 100 * (double)verifying->read / (double)verifying->expected : 100,
        rate, rate > 0 && left > 0 ? left / rate : 0);
    (void)fflush(stderr);
}

static bool on_hash(int64_t level, int64_t number, const uint8_t *hash, size_t len, void *arg)
{
    verify_add_hash(((struct verifying *)arg)->verify, level, number, hash, len);
    return true;
}

static bool on_checkpoint(int64_t size, const char *note, size_t len, void *arg)
{
    verify_add_checkpoint(((struct verifying *)arg)->verify, size, note, len);
    return true;
}

static bool on_record(const struct store_record *record, void *arg)
{
    struct verifying *verifying = arg;

    verify_add_record(verifying->verify, record);
    verifying->read++;
    if (verifying->progress && verifying->read % PROGRESS_ROWS == 0) {
        show_progress(verifying);
    }
    return true;
}

/* In the order that verify.h asks for. */
static enum err read_node(struct verifying *verifying, const char *node, struct error *error)
{
    struct store_audit *audit = verifying->source.audit;
    CLEANUP(cleanup_free) char *note = NULL;
    CLEANUP(cleanup_free) char *note_after = NULL;
    int64_t pruned = 0;
    int64_t pruned_after = 0;
    int64_t end = 0;
    uint64_t before = verify_findings(verifying->verify)->total;
    enum err err = store_audit_pruned(audit, node, &pruned, &note, error);

    if (err == OK) {
        err = store_audit_end(audit, node, &end, error);
    }
    if (err == OK && verify_begin_node(verifying->verify, node, end, pruned, note) != OK) {
        return error_set(error, ERR_FULL, "there are records of more than %d nodes",
                         VERIFY_NODES_MAX);
    }
    if (err == OK) {
        err = store_audit_each_hash(audit, node, on_hash, verifying, error);
    }
    if (err == OK) {
        err = store_audit_each_checkpoint(audit, node, on_checkpoint, verifying, error);
    }
    if (err == OK) {
        err = store_audit_end(audit, node, &end, error);
    }
    if (err == OK) {
        err = store_audit_each_record(audit, node, INT64_MIN, end, on_record, verifying, error);
    }
    if (err == OK) {
        err = store_audit_pruned(audit, node, &pruned_after, &note_after, error);
    }
    if (err == OK) {
        verify_end_node(verifying->verify);
        /* Records that were dropped before they were read look like damage; others do no harm. */
        if (pruned_after != pruned && verify_findings(verifying->verify)->total > before) {
            err = error_set(error, ERR_UNAVAILABLE,
                            "records were dropped while they were read: run it again");
        }
    }
    return err;
}

static bool on_node(const char *node, void *arg)
{
    struct verifying *verifying = arg;

    verifying->nodes =
        xrealloc(verifying->nodes, verifying->node_count + 1, sizeof(*verifying->nodes));
    verifying->nodes[verifying->node_count++] = xstrdup(node);
    return verifying->node_count <= VERIFY_NODES_MAX;
}

static enum err read_all(struct verifying *verifying, struct error *error)
{
    struct store_audit *audit = verifying->source.audit;
    enum err err = OK;

    verifying->progress = isatty(STDERR_FILENO) != 0;
    verifying->began_ms = verifying->shown_ms = clock_boot_ms();
    for (size_t i = 0; err == OK && i < verifying->node_count; i++) {
        CLEANUP(cleanup_free) char *note = NULL;
        int64_t pruned = 0;
        int64_t end = 0;
        err = store_audit_pruned(audit, verifying->nodes[i], &pruned, &note, error);
        if (err == OK) {
            err = store_audit_end(audit, verifying->nodes[i], &end, error);
        }
        verifying->expected += end > pruned ? (uint64_t)end - (uint64_t)pruned : 0;
    }
    for (size_t i = 0; err == OK && i < verifying->node_count; i++) {
        err = read_node(verifying, verifying->nodes[i], error);
    }
    if (verifying->progress) {
        (void)fputs("\r\x1b[K", stderr);
    }
    return err;
}

/* ---- The command ---- */

static int run(struct verifying *verifying)
{
    struct error error = {0};
    int code = audit_source_open(verifying->command, &verifying->source);
    enum err err;

    if (code != EXIT_DONE) {
        return code;
    }
    err = store_audit_each_node(verifying->source.audit, on_node, verifying, &error);
    if (err != OK) {
        return audit_failed(verifying->command, &error);
    }
    verifying->verify = verify_new(verifying->node_count);
    for (size_t i = 0; i < verifying->key_count; i++) {
        verify_add_key(verifying->verify, &verifying->keys[i]);
    }
    for (size_t i = 0; i < verifying->saved_count; i++) {
        const struct saved_file *file = &verifying->saved[i];
        verify_add_saved(verifying->verify, file->name, file->text, file->len);
    }
    code = use_config(verifying);
    if (code != EXIT_DONE) {
        return code;
    }
    err = read_all(verifying, &error);
    if (err != OK) {
        return audit_failed(verifying->command, &error);
    }
    verify_finish(verifying->verify,
                  verifying->source.config != NULL ? verifying->source.config->node : NULL);
    if (verifying->json) {
        verify_print_json(verifying->verify);
    } else {
        verify_print_text(verifying->verify);
    }
    return audit_flush(verifying->command,
                       verify_findings(verifying->verify)->total == 0 ? EXIT_DONE : EXIT_REFUSED);
}

int command_audit_verify(const struct command *command, int argc, char **argv)
{
    struct verifying verifying = {.command = command};
    int code = read_arguments(&verifying, argc, argv);

    if (code == EXIT_DONE) {
        code = run(&verifying);
    }
    verify_free(verifying.verify);
    audit_source_close(&verifying.source);
    for (size_t i = 0; i < verifying.saved_count; i++) {
        free(verifying.saved[i].text);
    }
    for (size_t i = 0; i < verifying.node_count; i++) {
        free(verifying.nodes[i]);
    }
    free(verifying.saved);
    free(verifying.nodes);
    free(verifying.keys);
    return code;
}
