/* Process: see process.h. */
#include "gateway/process.h"

#include "common/log.h"
#include "common/secret.h"
#include "common/wipe.h"
#include "gateway/seccomp.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* OpenSSL keeps the private half of a TLS 1.3 handshake's key for as long as the connection lives:
 * 64 bytes of the secure heap, in the groups of tls.c. Four times that, because a full heap would
 * fail handshakes. */
#define HEAP_FOR_CONNECTION 256
#define HEAP_FOR_THE_REST   ((size_t)512 * 1024)

void process_harden(void)
{
    static const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    wipe_libraries();
}

enum err process_confine(const struct config *config, struct error *error)
{
    size_t bytes = HEAP_FOR_THE_REST + (size_t)config->limits.max_connections * HEAP_FOR_CONNECTION;
    struct error trouble;

    if (geteuid() == 0) {
        log_warning("runs as root, which it never needs: give it a user of its own", "");
    }
    if (secret_heap_init(bytes, &trouble) != OK) {
        log_warning("secrets are not kept as well as they could be", "s:s", "detail", trouble.text);
    }
    return config->seccomp ? seccomp_confine(config->audit.checkpoint_command.count > 0, error)
                           : OK;
}
