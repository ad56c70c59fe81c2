/* tollgate audit key new, audit checkpoint: the key that signs, and what it signed last. See
 * command.h. */
#include "gateway/command_audit.h"

#include "common/file.h"
#include "common/json.h"
#include "common/note.h"
#include "common/signing_key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX_BYTES ((size_t)16 << 20)

/* ---- audit key new ---- */

struct new_key {
    char *node; /* NULL: not known */
    char *file;
};

static void new_key_done(struct new_key *new_key)
{
    free(new_key->node);
    free(new_key->file);
}

/* What the configuration says of both. It cannot be loaded as usual: the key it names is missing.
 */
static enum err read_config(const char *path, struct new_key *new_key, struct error *error)
{
    CLEANUP(cleanup_free) char *text = NULL;
    CLEANUP(cleanup_json) json_t *config = NULL;
    const char *slash = strrchr(path, '/');
    CLEANUP(cleanup_free) char *folder = NULL;
    const char *file;
    size_t len;
    enum err err = file_read(path, CONFIG_MAX_BYTES, &text, &len, error);

    if (err == OK) {
        err = json_read(text, len, &config, error);
    }
    if (err != OK) {
        return err;
    }
    if (new_key->node == NULL) {
        new_key->node = xstrdup(json_string_value(json_object_get(config, "node")));
    }
    file = json_string_value(json_object_get(json_object_get(config, "audit"), "signing_key_file"));
    if (new_key->file == NULL && file != NULL) {
        folder = slash == NULL ? xstrdup(".") : xstrndup(path, (size_t)(slash - path) + 1);
        new_key->file = file_join(folder, file);
    }
    return OK;
}

static int read_key_arguments(const struct command *command, struct new_key *new_key, int argc,
                              char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"node", required_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    const char *config = NULL;
    const char *node = NULL;
    struct error error = {0};
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (option == 'c') {
            config = optarg;
        } else if (option == 'n') {
            node = optarg;
        } else {
            return command_usage(command, "'%s' is not an option of it, or lacks its value",
                                 argv[optind - 1]);
        }
    }
    if (optind + 1 < argc) {
        return command_usage(command, "'%s' is one argument too many", argv[optind + 1]);
    }
    new_key->node = xstrdup(node);
    new_key->file = xstrdup(optind < argc ? argv[optind] : NULL);
    if (config != NULL && read_config(config, new_key, &error) != OK) {
        return audit_failed(command, &error);
    }
    if (new_key->file == NULL) {
        return command_usage(command, "needs the name of a FILE, or -c FILE with "
                                      "audit.signing_key_file");
    }
    return EXIT_DONE;
}

/* The public key on standard output, as PEM and, if the node is known, as a vkey. */
static int print_public(const struct command *command, const struct new_key *new_key,
                        const uint8_t public_key[PUBLIC_KEY_BYTES])
{
    CLEANUP(cleanup_free) char *pem = public_key_pem(public_key);
    CLEANUP(cleanup_free) char *vkey = NULL;
    CLEANUP(cleanup_free) char *name = NULL;
    struct note_verifier verifier;
    struct error error = {0};

    (void)fputs(pem, stdout);
    if (new_key->node != NULL) {
        name = xasprintf("tollgate/%s", new_key->node);
        if (note_verifier_init(&verifier, name, public_key, &error) != OK) {
            return audit_failed(command, &error);
        }
        vkey = note_vkey_format(&verifier);
        (void)puts(vkey);
    }
    (void)fprintf(stderr,
                  "The private key is in %s: it signs the audit log, and only the gateway may read "
                  "it.\nGive the public key to those who verify the log, for --public-key.\n",
                  new_key->file);
    return audit_flush(command, EXIT_DONE);
}

int command_audit_key_new(const struct command *command, int argc, char **argv)
{
    CLEANUP(new_key_done) struct new_key new_key = {0};
    int code = read_key_arguments(command, &new_key, argc, argv);
    uint8_t public_key[PUBLIC_KEY_BYTES];
    struct error error = {0};
    struct signing_key *key;
    enum err err;

    if (code != EXIT_DONE) {
        return code;
    }
    key = signing_key_generate();
    err = signing_key_save(key, new_key.file, &error);
    signing_key_public(key, public_key);
    signing_key_free(key);
    return err == OK ? print_public(command, &new_key, public_key) : audit_failed(command, &error);
}

/* ---- audit checkpoint ---- */

struct newest {
    const char *wanted; /* NULL: of the only node that has any */
    struct store_audit *audit;
    char *note;
    size_t nodes; /* that have some */
    enum err err;
    struct error error;
};

static bool on_checkpoint(int64_t size, const char *note, size_t len, void *arg)
{
    struct newest *newest = arg;

    (void)size;
    free(newest->note);
    newest->note = xstrndup(note != NULL ? note : "", note != NULL ? len : 0);
    return true;
}

static bool on_node(const char *node, void *arg)
{
    struct newest *newest = arg;
    char *before;

    if (newest->wanted != NULL && strcmp(newest->wanted, node) != 0) {
        return true;
    }
    before = TAKE(newest->note);
    newest->err =
        store_audit_each_checkpoint(newest->audit, node, on_checkpoint, newest, &newest->error);
    if (newest->note != NULL) {
        newest->nodes++;
        free(before);
    } else {
        newest->note = before;
    }
    return newest->err == OK;
}

static int read_checkpoint_arguments(const struct command *command, struct audit_source *source,
                                     const char **ret_node, int argc, char **argv)
{
    static const struct option options[] = {
        AUDIT_SOURCE_OPTIONS, {"node", required_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, AUDIT_SOURCE_SHORT, options, NULL)) != -1) {
        switch (option) {
        case 'c':
            source->config_path = optarg;
            break;
        case 's':
            source->url = optarg;
            break;
        case 'n':
            *ret_node = optarg;
            break;
        default:
            return command_usage(command, "'%s' is not an option of it, or lacks its value",
                                 argv[optind - 1]);
        }
    }
    if (optind < argc) {
        return command_usage(command, "'%s' is one argument too many", argv[optind]);
    }
    return EXIT_DONE;
}

static int print_newest(const struct command *command, const struct newest *newest)
{
    if (newest->err != OK) {
        return audit_failed(command, &newest->error);
    }
    if (newest->nodes > 1) {
        return command_usage(command, "there are several nodes: say which with --node");
    }
    if (newest->nodes == 0) {
        (void)fprintf(stderr, "tollgate %s: there is no checkpoint\n", command->name);
        return EXIT_REFUSED;
    }
    (void)fputs(newest->note, stdout);
    return audit_flush(command, EXIT_DONE);
}

int command_audit_checkpoint(const struct command *command, int argc, char **argv)
{
    struct audit_source source = {0};
    struct newest newest = {0};
    int code = read_checkpoint_arguments(command, &source, &newest.wanted, argc, argv);
    enum err err;

    if (code == EXIT_DONE) {
        code = audit_source_open(command, &source);
    }
    if (code != EXIT_DONE) {
        return code;
    }
    if (newest.wanted == NULL && source.config != NULL) {
        newest.wanted = source.config->node;
    }
    newest.audit = source.audit;
    err = store_audit_each_node(source.audit, on_node, &newest, &newest.error);
    newest.err = err != OK ? err : newest.err;
    code = print_newest(command, &newest);
    free(newest.note);
    audit_source_close(&source);
    return code;
}
