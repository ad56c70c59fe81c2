/* Notify: tells the service manager how the gateway is: sd_notify(3), protocol of systemd, over the
 * datagram socket that $NOTIFY_SOCKET names. Without one everything here does nothing. Main thread.
 */
#ifndef GATEWAY_NOTIFY_H
#define GATEWAY_NOTIFY_H

#include "common/memory.h"

#include <stdint.h>

struct notifier;

/* Takes $NOTIFY_SOCKET and $WATCHDOG_USEC out of the environment. A socket that cannot be used is
 * logged: the manager will think that the gateway did not start. */
struct notifier *notifier_new(void);
void notifier_free(struct notifier *notifier);

/* How long the manager waits from one notify_alive() to the next; 0: it does not watch. */
int64_t notifier_watchdog_ms(const struct notifier *notifier);

/* Everything works, for the first time or again after notify_reloading(). status is a sentence for
 * people. */
void notify_ready(const struct notifier *notifier, const char *status);
void notify_reloading(const struct notifier *notifier);
void notify_stopping(const struct notifier *notifier, const char *status);
/* Where the manager watches. */
void notify_alive(const struct notifier *notifier);

#endif
