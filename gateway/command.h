/* Command: what `tollgate COMMAND` can be. Every command has a row in main.c; data goes to stdout,
 * everything else to stderr. Main thread. */
#ifndef GATEWAY_COMMAND_H
#define GATEWAY_COMMAND_H

#include "gateway/config.h"

enum command_exit { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

struct command {
    const char *name; /* one to three words: "key new" */
    const char *arguments;
    const char *summary;
    const char *help; /* the rest of --help: options and examples */
    int (*run)(const struct command *command, int argc, char **argv);
};

int command_serve(const struct command *command, int argc, char **argv);
int command_check(const struct command *command, int argc, char **argv);
int command_key_new(const struct command *command, int argc, char **argv);
int command_explain(const struct command *command, int argc, char **argv);
int command_audit_verify(const struct command *command, int argc, char **argv);
int command_audit_export(const struct command *command, int argc, char **argv);
int command_audit_show(const struct command *command, int argc, char **argv);
int command_audit_checkpoint(const struct command *command, int argc, char **argv);
int command_audit_key_new(const struct command *command, int argc, char **argv);

/* Prints the help of a command on stdout; the exit code is EXIT_DONE. */
int command_help(const struct command *command);

/* Says on stderr what is wrong with the call; the exit code is EXIT_USAGE. */
int command_usage(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Loads a configuration, or prints every problem on stderr (one a line: pointer, detail) and
 * returns NULL. Warnings are printed too. The caller frees. */
struct config *command_load_config(const char *path);

#endif
