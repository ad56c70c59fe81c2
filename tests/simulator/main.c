/*
 * tollgate-sim: a simulator of the upstream, for tests and demonstrations. One thread. It shares
 * no code with the gateway, so that it can judge it.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "options.h"
#include "server.h"

/* Load tests open thousands of connections. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    struct problem problem = {""};
    struct sim *sim = NULL;

    switch (options_read(&options, argc, argv)) {
    case OPTIONS_HELP:
        return 0;
    case OPTIONS_WRONG:
        return 2;
    case OPTIONS_RUN:
        break;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    sim = server_new(&options, &problem);
    if (!sim) {
        fprintf(stderr, "tollgate-sim: %s\n", problem.text);
        return 1;
    }
    server_run(sim);
    server_free(sim);
    return 0;
}
