/* Connections: both caps are exact, whatever the addresses and the threads. */
#include "gateway/connections.h"

#include "common/memory.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* needs the ones above */

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

static union address read_address(const char *text)
{
    union address address = {0};

    if (inet_pton(AF_INET, text, &address.in.sin_addr) == 1) {
        address.in.sin_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &address.in6.sin6_addr), 1);
        address.in6.sin6_family = AF_INET6;
    }
    return address;
}

static enum err enter(struct connections *connections, const char *text, struct origin **ret_origin)
{
    union address address = read_address(text);

    return connections_enter(connections, &address.any, 6, 2, ret_origin);
}

static void counts_each_address(void **state)
{
    struct connections *connections = connections_new();
    struct origin *origins[6];
    struct origin *none = NULL;

    (void)state;
    assert_int_equal(enter(connections, "192.0.2.1", &origins[0]), OK);
    assert_int_equal(enter(connections, "192.0.2.1", &origins[1]), OK);
    assert_int_equal(enter(connections, "192.0.2.1", &none), ERR_DENIED);
    assert_int_equal(enter(connections, "::ffff:192.0.2.1", &none), ERR_DENIED);
    assert_int_equal(enter(connections, "192.0.2.2", &origins[2]), OK);
    assert_int_equal(enter(connections, "2001:db8:0:1::1", &origins[3]), OK);
    assert_int_equal(enter(connections, "2001:db8:0:1:ffff::2", &origins[4]), OK);
    assert_int_equal(enter(connections, "2001:db8:0:1::3", &none), ERR_DENIED);
    assert_int_equal(enter(connections, "2001:db8:0:2::1", &origins[5]), OK);
    assert_int_equal(enter(connections, "192.0.2.9", &none), ERR_FULL);
    assert_int_equal(enter(connections, "192.0.2.1", &none), ERR_FULL);
    assert_null(none);
    assert_int_equal(connections_open(connections), 6);
    assert_int_equal(connections_origins(connections), 4);
    connections_leave(connections, origins[0]);
    assert_int_equal(enter(connections, "192.0.2.1", &origins[0]), OK);
    for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
        connections_leave(connections, origins[i]);
    }
    assert_int_equal(connections_open(connections), 0);
    assert_int_equal(connections_origins(connections), 0);
    connections_free(connections);
}

/* What has no address shares one entry, and none of an IPv4 or IPv6 client's. */
static void counts_what_has_no_address(void **state)
{
    struct connections *connections = connections_new();
    struct sockaddr local = {.sa_family = AF_UNIX};
    struct origin *origins[3];
    struct origin *none = NULL;

    (void)state;
    assert_int_equal(connections_enter(connections, NULL, 9, 2, &origins[0]), OK);
    assert_int_equal(connections_enter(connections, &local, 9, 2, &origins[1]), OK);
    assert_int_equal(connections_enter(connections, NULL, 9, 2, &none), ERR_DENIED);
    assert_int_equal(enter(connections, "0.0.0.0", &origins[2]), OK);
    connections_free(connections); /* it ends with the last of them */
    for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
        connections_leave(connections, origins[i]);
    }
}

/* As many entries as there are addresses, and no more than connections. */
static void forgets_who_left(void **state)
{
    struct connections *connections = connections_new();
    static struct origin *origins[5000];

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < ARRAY_LEN(origins); i++) {
            union address address = read_address("10.0.0.0");
            address.in.sin_addr.s_addr = htonl(0x0a000000 + i);
            assert_int_equal(
                connections_enter(connections, &address.any, ARRAY_LEN(origins), 1, &origins[i]),
                OK);
        }
        assert_int_equal(connections_origins(connections), ARRAY_LEN(origins));
        for (size_t i = 0; i < ARRAY_LEN(origins); i++) {
            connections_leave(connections, origins[i]);
        }
        assert_int_equal(connections_origins(connections), 0);
    }
    connections_free(connections);
}

/* ---- Threads ---- */

#define THREADS   4
#define ROUNDS    20000
#define MAX_ALL   9
#define MAX_EACH  3
#define ADDRESSES 4

static atomic_int inside;
static atomic_int inside_each[ADDRESSES];
static atomic_int refused[2]; /* by the whole cap, by that of the address */
static atomic_int too_many;

/* Each thread alone would have more than is allowed, so the caps are met whoever runs when. */
struct visitor {
    struct connections *connections;
    unsigned random;
    struct origin *held[16]; /* each of them from address i % ADDRESSES */
};

static void leave(struct visitor *visitor, size_t i)
{
    atomic_fetch_sub(&inside_each[i % ADDRESSES], 1);
    atomic_fetch_sub(&inside, 1);
    connections_leave(visitor->connections, visitor->held[i]);
    visitor->held[i] = NULL;
}

static void *come_and_go(void *arg)
{
    static const char *const texts[ADDRESSES] = {"192.0.2.1", "192.0.2.2", "2001:db8::1",
                                                 "2001:db8:1::1"};
    struct visitor *visitor = arg;

    for (int round = 0; round < ROUNDS; round++) {
        visitor->random = visitor->random * 1103515245U + 12345U;
        size_t i = visitor->random >> 16 & (ARRAY_LEN(visitor->held) - 1);
        union address address = read_address(texts[i % ADDRESSES]);
        if (visitor->held[i] != NULL) {
            leave(visitor, i);
            continue;
        }
        enum err err = connections_enter(visitor->connections, &address.any, MAX_ALL, MAX_EACH,
                                         &visitor->held[i]);
        if (err == OK) {
            too_many += atomic_fetch_add(&inside, 1) >= MAX_ALL;
            too_many += atomic_fetch_add(&inside_each[i % ADDRESSES], 1) >= MAX_EACH;
        } else {
            atomic_fetch_add(&refused[err == ERR_FULL ? 0 : 1], 1);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(visitor->held); i++) {
        if (visitor->held[i] != NULL) {
            leave(visitor, i);
        }
    }
    return NULL;
}

static void is_exact_between_threads(void **state)
{
    struct connections *connections = connections_new();
    struct visitor visitors[THREADS] = {0};
    pthread_t threads[THREADS];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        visitors[i].connections = connections;
        visitors[i].random = (unsigned)i;
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &visitors[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(too_many, 0);
    assert_true(atomic_load(&refused[0]) > 0 && atomic_load(&refused[1]) > 0);
    assert_int_equal(connections_open(connections), 0);
    connections_free(connections);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_each_address),
        cmocka_unit_test(counts_what_has_no_address),
        cmocka_unit_test(forgets_who_left),
        cmocka_unit_test(is_exact_between_threads),
    };

    return cmocka_run_group_tests_name("connections", tests, NULL, NULL);
}
