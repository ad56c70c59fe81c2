/* Tests of option tables: what is read, what is refused and where, what is left out, the schema. */
#include "gateway/options.h"

#include "common/json.h"
#include "policy/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* cmocka needs the headers above first */
#include <cmocka.h>

struct item {
    char *name;
    int64_t size;
};

struct sample {
    bool flag;
    int64_t number;
    char *text;
    char *file;
    struct text_list words;
    struct option_list things;
    bool has_inner;
    struct {
        int64_t depth;
    } inner;
};

static const char *const colours[] = {"red", "blue", NULL};

static const struct option_row item_rows[] = {
    {.name = "size",
     .type = OPTION_INTEGER,
     .offset = offsetof(struct item, size),
     .required = true,
     .min = 1,
     .max = 9,
     .doc = "size of it"},
    {.name = NULL},
};

static const struct option_row inner_rows[] = {
    {.name = "depth",
     .type = OPTION_INTEGER,
     .offset = offsetof(struct sample, inner.depth),
     .max = 5,
     .fallback = 3,
     .doc = "depth"},
    {.name = NULL},
};

static const struct option_row rows[] = {
    {.name = "flag", .type = OPTION_BOOL, .offset = offsetof(struct sample, flag), .doc = "flag"},
    {.name = "number",
     .type = OPTION_INTEGER,
     .offset = offsetof(struct sample, number),
     .min = 10,
     .max = 20,
     .fallback = 12,
     .doc = "number"},
    {.name = "text",
     .type = OPTION_STRING,
     .offset = offsetof(struct sample, text),
     .min = 1,
     .max = 5,
     .fallback_text = "blue",
     .choices = colours,
     .doc = "colour"},
    {.name = "file",
     .type = OPTION_FILE,
     .offset = offsetof(struct sample, file),
     .min = 1,
     .max = 50,
     .doc = "file"},
    {.name = "words",
     .type = OPTION_TEXTS,
     .offset = offsetof(struct sample, words),
     .max = 2,
     .doc = "words"},
    {.name = "things",
     .type = OPTION_MAP,
     .offset = offsetof(struct sample, things),
     .max = 3,
     .members = item_rows,
     .size = sizeof(struct item),
     .doc = "things"},
    {.name = "inner",
     .type = OPTION_OBJECT,
     .offset = 0,
     .members = inner_rows,
     .present = offsetof(struct sample, has_inner) + 1,
     .doc = "inner"},
    {.name = NULL},
};

static void read_text(const char *text, struct sample *sample, struct problems *problems)
{
    CLEANUP(cleanup_json) json_t *json = NULL;
    struct error error;

    assert_int_equal(json_read(text, strlen(text), &json, &error), OK);
    *sample = (struct sample){0};
    options_read(rows, json, "/etc/x", sample, problems);
}

static void test_everything_is_read(void **state)
{
    struct sample sample;
    struct problems problems = {0};
    const struct item *item;

    (void)state;
    read_text(
        "{\"flag\":true,\"number\":20,\"text\":\"red\",\"file\":\"a/b\",\"words\":[\"x\",\"y\"],"
        "\"things\":{\"one\":{\"size\":1},\"two\":{\"size\":2}},\"inner\":{\"depth\":0}}",
        &sample, &problems);
    assert_int_equal(problems.count, 0);
    assert_true(sample.flag);
    assert_int_equal(sample.number, 20);
    assert_string_equal(sample.text, "red");
    assert_string_equal(sample.file, "/etc/x/a/b");
    assert_int_equal(sample.words.count, 2);
    assert_string_equal(sample.words.items[1], "y");
    assert_int_equal(sample.things.count, 2);
    item = (const struct item *)sample.things.items + 1;
    assert_string_equal(item->name, "two");
    assert_int_equal(item->size, 2);
    assert_true(sample.has_inner);
    assert_int_equal(sample.inner.depth, 0);
    options_free(rows, &sample);
}

static void test_what_is_left_out_has_its_default(void **state)
{
    struct sample sample;
    struct problems problems = {0};

    (void)state;
    read_text("{}", &sample, &problems);
    assert_int_equal(problems.count, 0);
    assert_false(sample.flag);
    assert_int_equal(sample.number, 12);
    assert_string_equal(sample.text, "blue");
    assert_null(sample.file);
    assert_false(sample.has_inner);
    assert_int_equal(sample.inner.depth, 3);
    options_free(rows, &sample);
}

static void test_every_problem_is_found(void **state)
{
    static const struct {
        const char *text;
        const char *pointer;
    } cases[] = {
        {"{\"flag\":1}", "/flag"},
        {"{\"number\":9}", "/number"},
        {"{\"number\":21}", "/number"},
        {"{\"number\":12.0}", "/number"},
        {"{\"number\":\"12\"}", "/number"},
        {"{\"text\":\"green\"}", "/text"},
        {"{\"text\":\"\"}", "/text"},
        {"{\"text\":null}", "/text"},
        {"{\"file\":7}", "/file"},
        {"{\"words\":[\"a\",\"b\",\"c\"]}", "/words"},
        {"{\"words\":[\"a\",7]}", "/words/1"},
        {"{\"words\":\"a\"}", "/words"},
        {"{\"things\":{\"a/b\":{\"size\":0}}}", "/things/a~1b/size"},
        {"{\"things\":{\"a\":{}}}", "/things/a/size"},
        {"{\"things\":{\"a\":[]}}", "/things/a"},
        {"{\"things\":[]}", "/things"},
        {"{\"inner\":{\"depth\":6}}", "/inner/depth"},
        {"{\"inner\":{\"width\":6}}", "/inner/width"},
        {"{\"unknown\":6}", "/unknown"},
        {"[]", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sample sample;
        struct problems problems = {0};
        read_text(cases[i].text, &sample, &problems);
        assert_true(problems.count >= 1);
        assert_string_equal(problems.items[0].pointer, cases[i].pointer);
        problems_done(&problems);
        options_free(rows, &sample);
    }
}

static void test_all_problems_come_at_once(void **state)
{
    struct sample sample;
    struct problems problems = {0};

    (void)state;
    read_text("{\"flag\":1,\"number\":1,\"text\":1,\"x\":1}", &sample, &problems);
    assert_int_equal(problems.count, 4);
    problems_done(&problems);
    options_free(rows, &sample);
}

static void test_the_schema_says_the_same(void **state)
{
    CLEANUP(cleanup_json) json_t *schema = options_schema(rows, "sample");
    json_t *properties = json_object_get(schema, "properties");
    json_t *number = json_object_get(properties, "number");
    json_t *things = json_object_get(properties, "things");
    json_t *item = json_object_get(things, "additionalProperties");

    (void)state;
    assert_int_equal(json_object_size(properties), ARRAY_LEN(rows) - 1);
    assert_true(json_is_false(json_object_get(schema, "additionalProperties")));
    assert_int_equal(json_integer_value(json_object_get(number, "minimum")), 10);
    assert_int_equal(json_integer_value(json_object_get(number, "maximum")), 20);
    assert_int_equal(json_integer_value(json_object_get(number, "default")), 12);
    assert_string_equal(json_string_value(json_array_get(json_object_get(item, "required"), 0)),
                        "size");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_read),
        cmocka_unit_test(test_what_is_left_out_has_its_default),
        cmocka_unit_test(test_every_problem_is_found),
        cmocka_unit_test(test_all_problems_come_at_once),
        cmocka_unit_test(test_the_schema_says_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
