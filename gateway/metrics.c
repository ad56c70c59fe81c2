/* Metrics: see metrics.h. One lock around a small table of series: a look-up costs less than a
 * system call, and scrapes are rare. */
#include "gateway/metrics.h"

#include "common/buffer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_SIZE 4096 /* buckets of the hash table of series, not a bound */
#define MAX_TEXT   (64 * 1024 * 1024)

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const struct {
    const char *name;
    enum kind kind;
    const char *labels;
    const char *help;
} metrics[METRIC_COUNT] = {
#define METRIC_ROW(id, name, kind, labels, help) [METRIC_##id] = {name, kind, labels, help},
    METRICS(METRIC_ROW)
#undef METRIC_ROW
};

static const double second_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                       0.5,   1,      2.5,   5,    10,    30,   60,  120};
static const double count_bounds[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
#define MAX_BOUNDS ARRAY_LEN(second_bounds)

struct series {
    struct series *next;        /* in its bucket */
    struct series *next_listed; /* of the same metric, newest first */
    enum metric metric;
    char *label1;
    char *label2;
    double value; /* HISTOGRAM: the sum */
    uint64_t counts[MAX_BOUNDS + 1];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct series *table[TABLE_SIZE];    /* under lock */
static struct series *listed[METRIC_COUNT]; /* under lock */

static uint32_t hash(enum metric metric, const char *label1, const char *label2)
{
    uint32_t value = 2166136261U ^ (uint32_t)metric;

    for (; label1 != NULL && *label1 != '\0'; label1++) {
        value = (value ^ (uint8_t)*label1) * 16777619U;
    }
    for (value *= 31; label2 != NULL && *label2 != '\0'; label2++) {
        value = (value ^ (uint8_t)*label2) * 16777619U;
    }
    return value % TABLE_SIZE;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static struct series *get(enum metric metric, const char *label1, const char *label2)
{
    struct series **bucket = &table[hash(metric, label1, label2)];
    struct series *series = *bucket;

    while (series != NULL && !(series->metric == metric && same(series->label1, label1) &&
                               same(series->label2, label2))) {
        series = series->next;
    }
    if (series == NULL) {
        series = xcalloc(1, sizeof(*series));
        *series = (struct series){.next = *bucket,
                                  .next_listed = listed[metric],
                                  .metric = metric,
                                  .label1 = xstrdup(label1),
                                  .label2 = xstrdup(label2)};
        *bucket = listed[metric] = series;
    }
    return series;
}

void metrics_add(enum metric metric, const char *label1, const char *label2, double value)
{
    (void)pthread_mutex_lock(&lock);
    get(metric, label1, label2)->value += value;
    (void)pthread_mutex_unlock(&lock);
}

void metrics_set(enum metric metric, const char *label1, const char *label2, double value)
{
    (void)pthread_mutex_lock(&lock);
    get(metric, label1, label2)->value = value;
    (void)pthread_mutex_unlock(&lock);
}

static const double *bounds_of(enum metric metric, size_t *ret_count)
{
    bool counts = metric == METRIC_CALL_REQUESTS || metric == METRIC_CALL_DEVICES;

    *ret_count = counts ? ARRAY_LEN(count_bounds) : ARRAY_LEN(second_bounds);
    return counts ? count_bounds : second_bounds;
}

void metrics_observe(enum metric metric, const char *label1, double value)
{
    size_t count;
    size_t at = 0;
    const double *bounds = bounds_of(metric, &count);
    struct series *series;

    while (at < count && value > bounds[at]) {
        at++;
    }
    (void)pthread_mutex_lock(&lock);
    series = get(metric, label1, NULL);
    series->value += value;
    series->counts[at]++;
    (void)pthread_mutex_unlock(&lock);
}

/* Writes {a="x",b="y"} with an optional le label. Names from the configuration hold no character
 * that needs escaping. */
static void add_labels(struct buffer *out, const struct series *series, const char *le)
{
    const char *names = metrics[series->metric].labels;
    const char *values[] = {series->label1, series->label2};
    const char *separator = "{";

    for (size_t i = 0; i < ARRAY_LEN(values) && *names != '\0'; i++) {
        size_t len = strcspn(names, ",");
        (void)!buffer_printf(out, "%s%.*s=\"%s\"", separator, (int)len, names,
                             values[i] != NULL ? values[i] : "");
        separator = ",";
        names += len + (names[len] == ',' ? 1 : 0);
    }
    if (le != NULL) {
        (void)!buffer_printf(out, "%sle=\"%s\"", separator, le);
        separator = ",";
    }
    (void)!buffer_printf(out, "%s", strcmp(separator, "{") == 0 ? "" : "}");
}

static void add_histogram(struct buffer *out, const struct series *series)
{
    const char *name = metrics[series->metric].name;
    size_t count;
    const double *bounds = bounds_of(series->metric, &count);
    uint64_t total = 0;
    char le[32];

    for (size_t i = 0; i <= count; i++) {
        total += series->counts[i];
        (void)snprintf(le, sizeof(le), "%g", i < count ? bounds[i] : 0);
        (void)!buffer_printf(out, "%s_bucket", name);
        add_labels(out, series, i < count ? le : "+Inf");
        (void)!buffer_printf(out, " %llu\n", (unsigned long long)total);
    }
    (void)!buffer_printf(out, "%s_sum", name);
    add_labels(out, series, NULL);
    (void)!buffer_printf(out, " %.6f\n%s_count", series->value, name);
    add_labels(out, series, NULL);
    (void)!buffer_printf(out, " %llu\n", (unsigned long long)total);
}

char *metrics_text(void)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    struct buffer out;

    buffer_init(&out, MAX_TEXT);
    (void)pthread_mutex_lock(&lock);
    for (size_t metric = 0; metric < METRIC_COUNT; metric++) {
        (void)!buffer_printf(&out, "# HELP %s %s.\n# TYPE %s %s\n", metrics[metric].name,
                             metrics[metric].help, metrics[metric].name,
                             kinds[metrics[metric].kind]);
        for (const struct series *series = listed[metric]; series != NULL;
             series = series->next_listed) {
            if (metrics[metric].kind == HISTOGRAM) {
                add_histogram(&out, series);
            } else {
                (void)!buffer_printf(&out, "%s", metrics[metric].name);
                add_labels(&out, series, NULL);
                (void)!buffer_printf(&out, " %.15g\n", series->value);
            }
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return buffer_take(&out);
}
