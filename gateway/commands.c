/* The commands that need little: serve, check, key new. See command.h. */
#include "gateway/command.h"

#include "common/json.h"
#include "common/secret.h"
#include "gateway/keys.h"
#include "gateway/process.h"
#include "gateway/server.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_problems(const char *path, const char *kind, const struct problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        (void)fprintf(stderr, "%s: %s%s: %s\n", path, kind,
                      problems->items[i].pointer[0] != '\0' ? problems->items[i].pointer : "/",
                      problems->items[i].detail);
    }
}

struct config *command_load_config(const char *path)
{
    struct problems problems = {0};
    struct config *config = NULL;
    struct error error = {0};
    enum err err = config_load(path, &config, &problems, &error);

    if (err == OK) {
        print_problems(path, "warning: ", &config->warnings);
        return config;
    }
    if (problems.count > 0) {
        print_problems(path, "", &problems);
    } else {
        (void)fprintf(stderr, "%s\n", error.text);
    }
    problems_done(&problems);
    return NULL;
}

/* Commands whose only argument is -c FILE: the file, or NULL after saying what is wrong. */
static const char *config_argument(const struct command *command, int argc, char **argv)
{
    const char *path = NULL;
    int option;

    opterr = 0;
    while ((option = getopt(argc, argv, "c:")) != -1) {
        if (option != 'c') {
            (void)command_usage(command, "'%s' is not an option of it", argv[optind - 1]);
            return NULL;
        }
        path = optarg;
    }
    if (optind < argc) {
        (void)command_usage(command, "'%s' is one argument too many", argv[optind]);
        return NULL;
    }
    if (path == NULL) {
        (void)command_usage(command, "needs a configuration: -c FILE");
    }
    return path;
}

int command_serve(const struct command *command, int argc, char **argv)
{
    const char *path = config_argument(command, argc, argv);
    struct config *config;
    struct error error = {0};
    enum err err;

    if (path == NULL) {
        return EXIT_USAGE;
    }
    process_harden();
    config = command_load_config(path);
    if (config == NULL) {
        return EXIT_REFUSED;
    }
    err = server_run(path, config, &error);
    if (err != OK) {
        (void)fprintf(stderr, "tollgate serve: %s\n", error.text);
        return EXIT_REFUSED;
    }
    return EXIT_DONE;
}

static int print_schema(void)
{
    json_t *schema = options_schema(config_options, "tollgate configuration");
    char *text = json_dumps(schema, JSON_INDENT(2));

    (void)puts(text);
    free(text);
    json_decref(schema);
    return EXIT_DONE;
}

int command_check(const struct command *command, int argc, char **argv)
{
    const char *path;
    struct config *config;

    if (argc == 2 && strcmp(argv[1], "--schema") == 0) {
        return print_schema();
    }
    path = config_argument(command, argc, argv);
    if (path == NULL) {
        return EXIT_USAGE;
    }
    config = command_load_config(path);
    if (config == NULL) {
        return EXIT_REFUSED;
    }
    (void)fprintf(stderr, "%s: good: %zu account%s, %zu team%s, %zu client%s\n", path,
                  config->accounts.count, config->accounts.count == 1 ? "" : "s",
                  config->teams.count, config->teams.count == 1 ? "" : "s", config->clients.count,
                  config->clients.count == 1 ? "" : "s");
    config_free(config);
    return EXIT_DONE;
}

int command_key_new(const struct command *command, int argc, char **argv)
{
    struct minted_key key;
    bool json = argc == 2 && strcmp(argv[1], "--json") == 0;

    if (argc > 1 && !json) {
        return command_usage(command, "'%s' is not an option of it", argv[1]);
    }
    key_mint(&key);
    if (json) {
        (void)printf("{\"id\":\"%s\",\"key\":\"%s\",\"hash\":\"%s\"}\n", key.id, key.text,
                     key.hash);
    } else {
        (void)printf("%s\n", key.text);
        (void)fprintf(stderr,
                      "This key is shown only now: give it to the client's owner.\n"
                      "For the configuration, under /clients/NAME/keys:\n"
                      "  {\"id\": \"%s\", \"hash\": \"%s\"}\n",
                      key.id, key.hash);
    }
    secret_cleanse(&key, sizeof(key));
    return EXIT_DONE;
}
