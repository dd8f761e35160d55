/* Internal functions of the test runner. */
#ifndef MILLSTREAM_NATIVE_H
#define MILLSTREAM_NATIVE_H

#include "../engine.h"
#include "millstream/test.h"

/* The stage, as the plugin can query it. */
typedef struct ms_test_stage {
    ms_schema inputs[MS_TEST_INPUTS_MAX];
    uint32_t inputs_count;
    ms_schema key;
    /* The due timers of a call, and a function that receives its timer changes. */
    const uint32_t *due_ends;
    const ms_timestamp *due_times;
    void (*change_timer)(uint32_t group, int64_t at, bool is_set);
} ms_test_stage;

extern ms_test_stage ms_stage;
/* Memory for results of tests, which is never freed. */
extern ms_arena ms_test_memory;

/* Ends the program because of an error in the test itself. */
void ms_test_wrong(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Returns the result of a failed call. */
ms_run ms_test_failed(const ms_engine *engine);

/* Worlds `source` and `sink`: convert a string, format the config of a test, start a call with the config, which the plugin must
 * accept, and start a call of the open instance. */
ms_text ms_test_text(const char *text);
ms_text ms_test_config(const ms_test *test);
bool ms_test_begin(const ms_test *test, ms_world world, ms_call *call, ms_engine *engine);
void ms_test_goes_on(ms_call *call, ms_engine *engine);

/* A growing string. */
typedef struct ms_writer {
    char *text;
    size_t length;
    size_t capacity;
} ms_writer;

void ms_write(ms_writer *to, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Parses the JSON of a test. Ends the program if it is invalid. */
const ms_json *ms_test_json(const char *text);
bool ms_json_equal(const ms_json *left, const ms_json *right);
const ms_json *ms_json_get(const ms_json *object, ms_text name);
/* Returns the items of a list as an array. */
const ms_json **ms_json_items(const ms_json *list, uint32_t *count);
void ms_write_json(ms_writer *to, const ms_json *json);
/* Convert "user text, amount int64" to a schema of nullable columns, and back. */
ms_schema ms_test_schema(const char *columns);
void ms_write_schema(ms_writer *to, ms_schema schema);
/* Converts objects to a batch with this schema. */
ms_batch ms_batch_of_test(ms_call *call, ms_schema schema, const ms_json *const *rows, uint32_t count);
/* Writes a row as `"name": value, …`. */
void ms_write_row(ms_writer *to, ms_schema schema, const ms_batch *batch, uint32_t row);
/* Converts a batch to a list of objects. */
const char *ms_test_rows(ms_schema schema, const ms_batch *batch);

#endif
