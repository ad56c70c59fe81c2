/*
 * One table of options feeds getopt_long, the parsing and the help.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "help.h"
#include "listen.h"
#include "random.h"

#define LATENCY_MS_MAX  3600000
#define TOKEN_TTL_S_MAX 315360000
#define MAX_DEVICES_MAX 100000

static bool read_whole(const char *text, int64_t least, int64_t greatest, int64_t *ret_value)
{
    char *end = NULL;
    long long value = 0;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < least ||
        value > greatest) {
        return false;
    }
    *ret_value = value;
    return true;
}

static bool set_listen(struct options *options, const char *text)
{
    if (options->listen_count == LISTEN_MAX || !listen_address_is_valid(text)) {
        return false;
    }
    options->listen[options->listen_count++] = text;
    return true;
}

static bool set_limit(struct options *options, const char *text)
{
    return read_whole(text, 1, LIMITER_LIMIT_MAX, &options->limit);
}

static bool set_window(struct options *options, const char *text)
{
    char *end = NULL;
    double seconds = strtod(text, &end);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || !(seconds >= 0.001) ||
        seconds > LIMITER_WINDOW_S_MAX) {
        return false;
    }
    options->window_us = llround(seconds * 1e6);
    return true;
}

static bool set_algorithm(struct options *options, const char *text)
{
    static const char *const names[] = {
        [LIMITER_SLIDING] = "sliding", [LIMITER_FIXED] = "fixed", [LIMITER_BUCKET] = "bucket"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            options->algorithm = (enum limiter_algorithm)i;
            return true;
        }
    }
    return false;
}

static bool set_latency(struct options *options, const char *text)
{
    const char *dash = strchr(text, '-');
    size_t low_len = dash ? (size_t)(dash - text) : strlen(text);
    char low[16] = "";

    if (low_len >= sizeof(low)) {
        return false;
    }
    snprintf(low, sizeof(low), "%.*s", (int)low_len, text);
    if (!read_whole(low, 0, LATENCY_MS_MAX, &options->latency_low_ms)) {
        return false;
    }
    options->latency_high_ms = options->latency_low_ms;
    return !dash ||
           read_whole(dash + 1, options->latency_low_ms, LATENCY_MS_MAX, &options->latency_high_ms);
}

static bool set_token_ttl(struct options *options, const char *text)
{
    return read_whole(text, 0, TOKEN_TTL_S_MAX, &options->token_ttl_s);
}

static bool set_max_devices(struct options *options, const char *text)
{
    return read_whole(text, 1, MAX_DEVICES_MAX, &options->max_devices);
}

static bool set_seed(struct options *options, const char *text)
{
    int64_t seed = 0;

    if (!read_whole(text, 0, INT64_MAX, &seed)) {
        return false;
    }
    options->seed = (uint64_t)seed;
    return true;
}

static bool set_text(const char **field, const char *text)
{
    *field = text;
    return text[0] != '\0';
}

static bool set_tls_certificate(struct options *options, const char *text)
{
    return set_text(&options->tls_certificate, text);
}

static bool set_tls_key(struct options *options, const char *text)
{
    return set_text(&options->tls_key, text);
}

static bool set_client_id(struct options *options, const char *text)
{
    return set_text(&options->client_id, text);
}

static bool set_client_secret(struct options *options, const char *text)
{
    return set_text(&options->client_secret, text);
}

static bool set_access_token(struct options *options, const char *text)
{
    return set_text(&options->access_token, text);
}

static bool set_devices(struct options *options, const char *text)
{
    return set_text(&options->devices, text);
}

static const struct option_row {
    struct help_row help;
    const char *wanted; /* what a right value is, for the message about a wrong one */
    bool (*set)(struct options *options, const char *text);
} option_rows[] = {
    {{"listen", "HOST:PORT",
      "address to listen on; port 0 picks a free one;\n"
      "may be given again, up to 8 times (127.0.0.1:9090)"},
     "HOST:PORT, at most 8 times",
     set_listen},
    {{"tls-certificate", "FILE", "certificate chain (PEM): serve HTTPS instead of HTTP"},
     "a file name",
     set_tls_certificate},
    {{"tls-key", "FILE", "its private key (PEM)"}, "a file name", set_tls_key},
    {{"client-id", "ID", "client id that gets tokens (sim-client)"}, "a text", set_client_id},
    {{"client-secret", "SECRET", "and its secret (sim-secret)"}, "a text", set_client_secret},
    {{"access-token", "TOKEN", "a token that is always valid, beside those issued"},
     "a text",
     set_access_token},
    {{"token-ttl-s", "N",
      "seconds a token lives; 0: for ever, and expires_in is\n"
      "left out of the answer (3600)"},
     "a whole number of seconds",
     set_token_ttl},
    {{"limit", "N", "action calls allowed in one window (10)"},
     "a whole number from 1 to 1000000",
     set_limit},
    {{"window-s", "S", "length of the window in seconds, decimals allowed (60)"},
     "a number of seconds from 0.001 to 86400",
     set_window},
    {{"algorithm", "NAME",
      "sliding: at most N in any window\n"
      "fixed: at most N in each window, aligned to the monotonic clock\n"
      "bucket: a bucket of N tokens, refilled with N a window (sliding)"},
     "sliding, fixed or bucket",
     set_algorithm},
    {{"latency-ms", "A[-B]",
      "time between an action call and its answer, a random one\n"
      "from A to B (0)"},
     "milliseconds A or A-B with A <= B",
     set_latency},
    {{"max-devices", "N", "devices allowed in one call; more get 400 (100)"},
     "a whole number from 1 to 100000",
     set_max_devices},
    {{"devices", "FILE",
      "devices instead of the built-in ones: a JSON array of\n"
      "{\"id\",\"mac\",\"state\",\"agent\"}, see below"},
     "a file name",
     set_devices},
    {{"seed", "N", "makes tokens, command ids and latencies repeatable"},
     "a whole number",
     set_seed},
};

#define OPTION_ROWS (sizeof(option_rows) / sizeof(option_rows[0]))

static void write_help(void)
{
    help_write_start();
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        help_write_row(&option_rows[i].help);
    }
    help_write_end();
}

static enum options_result options_wrong(const char *message)
{
    fprintf(stderr, "tollgate-sim: %s\nTry 'tollgate-sim --help'.\n", message);
    return OPTIONS_WRONG;
}

static enum options_result options_check(struct options *options, int argc, char **argv)
{
    struct problem problem = {""};

    if (optind < argc) {
        problem_set(&problem, "unexpected argument '%s'", argv[optind]);
        return options_wrong(problem.text);
    }
    if (!options->tls_certificate != !options->tls_key) {
        return options_wrong("--tls-certificate and --tls-key go together");
    }
    if (options->listen_count == 0) {
        set_listen(options, "127.0.0.1:9090");
    }
    return OPTIONS_RUN;
}

enum options_result options_read(struct options *ret_options, int argc, char **argv)
{
    struct option known[OPTION_ROWS + 2] = {{"help", no_argument, NULL, 'h'}};
    struct problem problem = {""};
    int found = 0;
    int row = 0;

    *ret_options = (struct options){
        .client_id = "sim-client",
        .client_secret = "sim-secret",
        .limit = 10,
        .window_us = INT64_C(60) * 1000000,
        .token_ttl_s = 3600,
        .max_devices = 100,
        .seed = random_kernel_seed(),
    };
    for (size_t i = 0; i < OPTION_ROWS; i++) {
        known[i + 1] = (struct option){option_rows[i].help.name, required_argument, NULL, 0};
    }
    while ((found = getopt_long(argc, argv, "h", known, &row)) != -1) {
        if (found == 'h') {
            write_help();
            return OPTIONS_HELP;
        }
        if (found != 0) {
            fputs("Try 'tollgate-sim --help'.\n", stderr);
            return OPTIONS_WRONG;
        }
        if (!option_rows[row - 1].set(ret_options, optarg)) {
            problem_set(&problem, "--%s '%.64s': must be %s", known[row].name, optarg,
                        option_rows[row - 1].wanted);
            return options_wrong(problem.text);
        }
    }
    return options_check(ret_options, argc, argv);
}
