/* Fills a store with audit records, to see what a large one costs at start:
 *   bench_fill STORE-URL NODE COUNT
 * They are refusals such as the gateway records. */
#include "common/memory.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IN_A_WRITE 2000

static void submit(struct store *store, struct store_write *write)
{
    while (store_submit(store, write, NULL, NULL, NULL) != OK) {
        (void)usleep(1000);
    }
}

static void fill(struct store *store, size_t count)
{
    for (size_t at = 0; at < count;) {
        struct store_write *write = store_write_new();
        for (size_t i = 0; i < IN_A_WRITE && at < count; i++, at++) {
            store_write_add_record(
                write, xasprintf("\"event\":\"request.refused\",\"request_id\":\"req_%016zx\","
                                 "\"client\":\"client-%zu\",\"key_id\":\"k\",\"team\":\"ops\","
                                 "\"remote\":\"127.0.0.1\",\"decision\":\"deny\","
                                 "\"problem\":\"invalid-action\"}",
                                 at, at % 100));
        }
        submit(store, write);
    }
}

int main(int argc, char **argv)
{
    struct error error = {0};
    struct store *store;

    if (argc != 4) {
        (void)fprintf(stderr, "usage: bench_fill STORE-URL NODE COUNT\n");
        return 2;
    }
    if (store_open(argv[1], argv[2], &store, &error) != OK) {
        (void)fprintf(stderr, "bench_fill: %s\n", error.text);
        return 1;
    }
    fill(store, strtoul(argv[3], NULL, 10));
    store_close(store);
    return 0;
}
