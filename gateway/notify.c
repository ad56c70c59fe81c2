/* Notify: see notify.h. */
#include "gateway/notify.h"

#include "common/log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct notifier {
    int fd; /* -1: nobody wants to know */
    int64_t watchdog_ms;
};

/* A path, or a name in the abstract namespace, which begins with '@'. Returns an errno. */
static int connect_to(const char *name, int *ret_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    int fd;

    if ((name[0] != '/' && name[0] != '@') || len >= sizeof(address.sun_path)) {
        return EINVAL;
    }
    memcpy(address.sun_path, name, len);
    if (name[0] == '@') {
        address.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    len += offsetof(struct sockaddr_un, sun_path) + (name[0] == '/' ? 1 : 0);
    if (connect(fd, (struct sockaddr *)&address, (socklen_t)len) != 0) {
        int failed = errno;
        (void)close(fd);
        return failed;
    }
    *ret_fd = fd;
    return 0;
}

/* The interval, if this process is the one that is watched. */
static int64_t watchdog_ms(void)
{
    const char *interval = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    long long us = interval != NULL ? strtoll(interval, NULL, 10) : 0;

    return us > 0 && (pid == NULL || strtoll(pid, NULL, 10) == getpid()) ? us / 1000 : 0;
}

struct notifier *notifier_new(void)
{
    struct notifier *notifier = xcalloc(1, sizeof(*notifier));
    const char *name = getenv("NOTIFY_SOCKET");

    notifier->fd = -1;
    if (name != NULL) {
        int failed = connect_to(name, &notifier->fd);
        if (failed != 0) {
            log_warning("the service manager cannot be told anything", "s:s, s:s", "socket", name,
                        "error", strerror(failed));
        }
        notifier->watchdog_ms = failed == 0 ? watchdog_ms() : 0;
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    return notifier;
}

void notifier_free(struct notifier *notifier)
{
    if (notifier != NULL) {
        if (notifier->fd >= 0) {
            (void)close(notifier->fd);
        }
        free(notifier);
    }
}

int64_t notifier_watchdog_ms(const struct notifier *notifier)
{
    return notifier->watchdog_ms;
}

/* A manager that does not listen must not hold up the gateway. */
static void tell(const struct notifier *notifier, const char *text)
{
    if (notifier->fd >= 0) {
        (void)send(notifier->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

void notify_ready(const struct notifier *notifier, const char *status)
{
    CLEANUP(cleanup_free) char *text = xasprintf("READY=1\nSTATUS=%s", status);

    tell(notifier, text);
}

void notify_reloading(const struct notifier *notifier)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* the manager compares it with its own */
    CLEANUP(cleanup_free)
    char *text = xasprintf("RELOADING=1\nMONOTONIC_USEC=%lld",
                           (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell(notifier, text);
}

void notify_stopping(const struct notifier *notifier, const char *status)
{
    CLEANUP(cleanup_free) char *text = xasprintf("STOPPING=1\nSTATUS=%s", status);

    tell(notifier, text);
}

void notify_alive(const struct notifier *notifier)
{
    if (notifier->watchdog_ms > 0) {
        tell(notifier, "WATCHDOG=1");
    }
}
