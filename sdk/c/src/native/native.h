/* What the files of the test runner share. */
#ifndef MILLSTREAM_NATIVE_H
#define MILLSTREAM_NATIVE_H

#include "../engine.h"
#include "millstream/test.h"

/* The stage, as the plugin may query it. */
typedef struct ms_test_stage {
    ms_schema inputs[MS_TEST_INPUTS_MAX];
    uint32_t inputs_count;
    ms_schema key;
    /* The timers that are due in a call, and its requests: called with each. */
    const uint32_t *due_ends;
    const ms_timestamp *due_times;
    void (*asked)(uint32_t group, int64_t at, bool is_set);
} ms_test_stage;

extern ms_test_stage ms_stage;
/* Memory that lives until the program ends: what tests hold in their hands. */
extern ms_arena ms_test_memory;

/* Ends the program: the test itself is wrong. */
void ms_test_wrong(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* What a call gave that has failed. */
ms_run ms_test_failed(const ms_engine *engine);

/* Worlds `source` and `sink`: a text, the config of a test as a host writes it, the beginning of a call that is told the config, which the
 * plugin must take, and that of a call of what is open. */
ms_text ms_test_text(const char *text);
ms_text ms_test_config(const ms_test *test);
bool ms_test_begin(const ms_test *test, ms_world world, ms_call *call, ms_engine *engine);
void ms_test_goes_on(ms_call *call, ms_engine *engine);

/* A text that grows. */
typedef struct ms_writer {
    char *text;
    size_t length;
    size_t capacity;
} ms_writer;

void ms_write(ms_writer *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* JSON of a test, which must be some. */
const ms_json *ms_test_json(const char *text);
bool ms_json_equal(const ms_json *left, const ms_json *right);
const ms_json *ms_json_get(const ms_json *object, ms_text name);
/* Items of a list as an array. */
const ms_json **ms_json_items(const ms_json *list, uint32_t *count);
void ms_write_json(ms_writer *to, const ms_json *json);
/* A schema of "user text, amount int64", all with nulls; and the other way round. */
ms_schema ms_test_schema(const char *columns);
void ms_write_schema(ms_writer *to, ms_schema schema);
/* The columns of this schema, out of objects. */
ms_batch ms_batch_of_test(ms_call *call, ms_schema schema, const ms_json *const *rows, uint32_t count);
/* A row as `"name": value, …`. */
void ms_write_row(ms_writer *to, ms_schema schema, const ms_batch *batch, uint32_t row);
/* A batch as a list of objects. */
const char *ms_test_rows(ms_schema schema, const ms_batch *batch);

#endif
