/* tollgate: the table of commands. */
#include "gateway/command.h"
#include "gateway/command_audit.h"
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
    {"audit verify", "(-c FILE | --store URL --public-key FILE) [options]",
     "whether the audit log holds",
     AUDIT_SOURCE_HELP
     "  --public-key FILE   who signed it: PEM or vkey, also a key of before; may be repeated.\n"
     "                      With -c the key that the gateway has now is known\n"
     "  --checkpoint FILE   checkpoints that you kept, as checkpoint_file has them; may be "
     "repeated\n"
     "  --json              print {\"ok\", \"first\", \"problems\", \"nodes\", ...}\n"
     "\n"
     "Exit 0: every record, sequence, root and signature holds, every call was accepted before, "
     "and\n"
     "no window held more calls than its budget. 1: not so, and the first bad seq and the reason "
     "are\n"
     "told; docs/audit.md explains each. Works while the gateway runs, and without it.\n"
     "\n"
     "  tollgate audit verify --store sqlite:tollgate.db --public-key audit.pub --checkpoint "
     "kept.txt\n",
     command_audit_verify},
    {"audit export", "(-c FILE | --store URL) [options]", "print records of the audit log",
     AUDIT_SOURCE_HELP
     "  --format FORMAT     jsonl (each record exactly as it is stored, the default) or csv\n"
     "  --from T, --to T    recorded from that time on, before that time: 2026-11-24, of which "
     "--to\n"
     "                      has the whole day, or 2026-11-24T22:00:00Z\n"
     "  --team, --client, --action, --action-id, --device, --event, --node VALUE\n"
     "                      only those records; together: those that fit all\n"
     "\n"
     "CSV is that of RFC 4180 with a header. Control characters are escaped as \\u001b, and what "
     "a\n"
     "spreadsheet would take for a formula has an apostrophe in front. Works while the gateway "
     "runs.\n"
     "\n"
     "  tollgate audit export -c gw.json --format csv --from 2026-11-01 --device "
     "00:0c:29:aa:bb:cc\n",
     command_audit_export},
    {"audit show", "(-c FILE | --store URL) (ID | --device DEVICE) [--json]",
     "what happened to an action or a device",
     AUDIT_SOURCE_HELP "  ID                  of an action; also as --action-id ID\n"
                       "  --device DEVICE     an id or a MAC in any spelling\n"
                       "  --json              print the records as a JSON array\n"
                       "\n"
                       "One line for each record, the oldest first.\n"
                       "\n"
                       "  tollgate audit show -c gw.json act_0123456789abcdefghjk\n",
     command_audit_show},
    {"audit checkpoint", "(-c FILE | --store URL) [--node NODE]", "print the newest checkpoint",
     AUDIT_SOURCE_HELP
     "  --node NODE         whose; with -c the gateway's own\n"
     "\n"
     "A C2SP signed note. Keep it where the gateway's operators cannot write: 'audit verify\n"
     "--checkpoint' then finds whatever was changed before it.\n"
     "\n"
     "  tollgate audit checkpoint -c gw.json >>kept.txt; echo >>kept.txt\n",
     command_audit_checkpoint},
    {"audit key new", "[-c FILE] [--node NODE] [FILE]", "make the key that signs the audit log",
     "  -c FILE       the configuration, for the node and audit.signing_key_file\n"
     "  --node NODE   the gateway's name\n"
     "  FILE          where the private key goes, which must not be there yet\n"
     "\n"
     "Prints the public key, as PEM and, if the node is known, as a vkey (C2SP signed-note): a "
     "file\n"
     "with what is printed does for --public-key.\n"
     "\n"
     "  tollgate audit key new --node gw-1 audit.key >audit.pub\n",
     command_audit_key_new},
};

static int list_commands(FILE *out)
{
    (void)fprintf(out, "tollgate %s - a gateway that shares one rate-limited action API\n\n",
                  TOLLGATE_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        (void)fprintf(out, "  tollgate %-16s %s\n", commands[i].name, commands[i].summary);
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
    const char *word = command->name;
    int words = 0;

    while (*word != '\0') {
        size_t len = strcspn(word, " ");
        words++;
        if (words >= argc || strlen(argv[words]) != len || strncmp(argv[words], word, len) != 0) {
            return 0;
        }
        word += len + strspn(word + len, " ");
    }
    return words;
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
