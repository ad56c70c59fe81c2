/*
 * The command line of tollgate-sim.
 */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "limiter.h"

#define LISTEN_MAX 8

/* The texts point into the argument vector. */
struct options {
    const char *listen[LISTEN_MAX];
    size_t listen_count;
    const char *tls_certificate; /* NULL: plain HTTP */
    const char *tls_key;
    const char *client_id;
    const char *client_secret;
    const char *access_token; /* always valid; NULL: none */
    const char *devices;      /* file; NULL: the built-in table */
    enum limiter_algorithm algorithm;
    int64_t limit;
    int64_t window_us;
    int64_t latency_low_ms;
    int64_t latency_high_ms;
    int64_t token_ttl_s;
    int64_t max_devices;
    uint64_t seed;
};

enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG };

/* Reads the command line. OPTIONS_HELP: the help was written to stdout. OPTIONS_WRONG: what is
 * wrong was written to stderr. */
enum options_result options_read(struct options *ret_options, int argc, char **argv);

#endif
