/* tollgate: the table of commands. */
#include "gateway/command.h"
#include "gateway/version.h"

#include "common/memory.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command commands[] = {
    {"serve", "-c FILE", "run the gateway",
     "  -c FILE   the configuration\n"
     "\n"
     "Runs in the foreground and logs JSON lines to stderr; the line with \"msg\":\"listening\"\n"
     "gives the addresses. SIGHUP reloads the configuration; SIGTERM or SIGINT drains and ends "
     "it.\n",
     command_serve},
    {"check", "-c FILE", "validate a configuration",
     "  -c FILE   the configuration\n"
     "  --schema  print the JSON Schema of the configuration instead\n"
     "\n"
     "Prints every error with its JSON pointer. Nothing is started or changed.\n",
     command_check},
    {"key new", "[--json]", "mint a client key",
     "  --json    print {\"id\", \"key\", \"hash\"}\n"
     "\n"
     "The key is shown once and kept nowhere: give it to the client's owner. The id and the hash\n"
     "go into the configuration, under /clients/NAME/keys.\n",
     command_key_new},
    {"explain", "-c FILE --team TEAM [options] [BODY]", "what policy says of a request body",
     "  -c FILE          the configuration\n"
     "  --team TEAM      the team that asks\n"
     "  --reason TEXT    as if sent as Action-Reason\n"
     "  --json           print {\"decision\", \"rule\", \"errors\", \"violations\"}\n"
     "  BODY             the request's JSON; left out or '-': read from standard input\n"
     "\n"
     "Works offline. Exit 0: allowed; 1: refused, with the reasons.\n"
     "\n"
     "  tollgate explain -c gw.json --team helpdesk '{\"types\":\"delete\",\"ids\":[\"dev-1\"]}'\n",
     command_explain},
    {"audit export", "-c FILE", "print the audit log as JSON lines",
     "  -c FILE   the configuration, for its store\n"
     "\n"
     "Prints every record exactly as it is stored, in order. Works while the gateway runs.\n",
     command_audit_export},
};

static int list_commands(FILE *out)
{
    (void)fprintf(out, "tollgate %s - a gateway that shares one rate-limited action API\n\n",
                  TOLLGATE_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        (void)fprintf(out, "  tollgate %-14s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fprintf(out, "\n'tollgate COMMAND --help' says more.\n");
    return out == stdout ? EXIT_DONE : EXIT_USAGE;
}

int command_help(const struct command *command)
{
    (void)printf("usage: tollgate %s %s\n\n%c%s.\n\n%s", command->name, command->arguments,
                 command->summary[0] - 'a' + 'A', command->summary + 1, command->help);
    return EXIT_DONE;
}

int command_usage(const struct command *command, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fprintf(stderr, "tollgate %s: ", command->name);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\nusage: tollgate %s %s ('--help' says more)\n", command->name,
                  command->arguments);
    va_end(args);
    return EXIT_USAGE;
}

/* How many words of argv the command's name takes; 0 when it is another. */
static int match(const struct command *command, int argc, char **argv)
{
    const char *space = strchr(command->name, ' ');
    size_t len = space != NULL ? (size_t)(space - command->name) : strlen(command->name);

    if (argc < 2 || strlen(argv[1]) != len || strncmp(argv[1], command->name, len) != 0) {
        return 0;
    }
    if (space == NULL) {
        return 1;
    }
    return argc >= 3 && strcmp(argv[2], space + 1) == 0 ? 2 : 0;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        int words = match(&commands[i], argc, argv);
        if (words == 0) {
            continue;
        }
        for (int k = words + 1; k < argc; k++) {
            if (strcmp(argv[k], "--help") == 0 || strcmp(argv[k], "-h") == 0) {
                return command_help(&commands[i]);
            }
        }
        return commands[i].run(&commands[i], argc - words, argv + words);
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
                      strcmp(argv[1], "help") == 0)) {
        return list_commands(stdout);
    }
    if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
        (void)printf("tollgate %s\n", TOLLGATE_VERSION);
        return EXIT_DONE;
    }
    if (argc >= 2) {
        (void)fprintf(stderr, "tollgate: there is no command '%s'.\n\n", argv[1]);
    }
    return list_commands(stderr);
}
