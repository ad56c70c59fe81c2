/* Keeper: the program that gets each checkpoint, on its standard input, to put it where the
 * gateway's operator cannot change it. Run without a shell, one at a time; while one runs, newer
 * checkpoints are skipped, since each covers all before it. */
#include "gateway/keeper_priv.h"

#include "common/clock.h"
#include "common/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define POLL_MS    100
#define TIME_MS    60000 /* a command that runs longer is killed */
#define NO_FILE_FD 3     /* the first descriptor that it does not get */

static void look_again(struct keeper *keeper)
{
    static const struct timeval interval = {.tv_usec = POLL_MS * 1000};

    (void)evtimer_add(keeper->command_timer, &interval);
}

static void report(int status)
{
    if (WIFSIGNALED(status)) {
        log_warning("the checkpoint command was killed", "s:i", "signal", WTERMSIG(status));
    } else if (WEXITSTATUS(status) != 0) {
        log_warning("the checkpoint command failed", "s:i", "exit", WEXITSTATUS(status));
    }
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    struct keeper *keeper = arg;
    int status = 0;
    pid_t ended = waitpid(keeper->command, &status, WNOHANG);

    (void)fd;
    (void)what;
    if (ended == keeper->command || (ended < 0 && errno == ECHILD)) {
        /* Whoever started us may ignore SIGCHLD: then nobody hears how it ended. */
        if (ended > 0) {
            report(status);
        }
        keeper->command = 0;
        if (keeper->unshipped) {
            keeper_command_start(keeper);
        }
        keeper_end(keeper);
        return;
    }
    if (clock_boot_ms() > keeper->command_until_ms) {
        (void)kill(keeper->command, SIGKILL);
    }
    look_again(keeper);
}

/* Signals as a new program expects them: all let through, none ignored. */
static void set_signals(posix_spawnattr_t *attributes)
{
    sigset_t none;
    sigset_t defaults;

    (void)sigemptyset(&none);
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE);
    (void)sigaddset(&defaults, SIGCHLD);
    (void)posix_spawnattr_setsigmask(attributes, &none);
    (void)posix_spawnattr_setsigdefault(attributes, &defaults);
    (void)posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

/* Starts it with `input` as its standard input. Returns an errno. */
static int start(struct keeper *keeper, int input)
{
    const struct text_list *words = &keeper->config->audit.checkpoint_command;
    char **argv = xcalloc(words->count + 1, sizeof(*argv));
    char *environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int failed;

    for (size_t i = 0; i < words->count; i++) {
        argv[i] = words->items[i];
    }
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    (void)posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    (void)posix_spawn_file_actions_addclosefrom_np(&files, NO_FILE_FD);
    (void)posix_spawnattr_init(&attributes);
    set_signals(&attributes);
    failed = posix_spawnp(&keeper->command, argv[0], &files, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    free(argv);
    return failed;
}

void keeper_command_start(struct keeper *keeper)
{
    ssize_t len = (ssize_t)strlen(keeper->note);
    int ends[2];
    int failed;

    keeper->unshipped = keeper->command != 0;
    if (keeper->config->audit.checkpoint_command.count == 0 || keeper->command != 0) {
        return;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        log_warning("the checkpoint command could not be started", "s:s", "error", strerror(errno));
        return;
    }
    /* A note is smaller than any pipe, so this does not wait. */
    failed = write(ends[1], keeper->note, (size_t)len) == len ? start(keeper, ends[0]) : EPIPE;
    (void)close(ends[0]);
    (void)close(ends[1]);
    if (failed != 0) {
        keeper->command = 0;
        log_warning("the checkpoint command could not be started", "s:s", "error",
                    strerror(failed));
        return;
    }
    keeper->command_until_ms = clock_boot_ms() + TIME_MS;
    look_again(keeper);
}

void keeper_command_init(struct keeper *keeper)
{
    keeper->command_timer = evtimer_new(keeper->base, on_look, keeper);
    assert(keeper->command_timer != NULL);
}

/* One that still runs had its time. */
void keeper_command_done(struct keeper *keeper)
{
    if (keeper->command != 0) {
        log_warning("the checkpoint command was killed: it took too long at the end", "");
        (void)kill(keeper->command, SIGKILL);
        (void)waitpid(keeper->command, NULL, 0);
    }
    event_free(keeper->command_timer);
}
