/* Runs a source like a host. */
#include "native.h"

static ms_run done(const ms_engine *engine, bool is_done, const char *rows)
{
    return is_done ? (ms_run){rows, "[]", NULL} : ms_test_failed(engine);
}

static void write_text(ms_writer *to, ms_text text)
{
    ms_json json = {.kind = MS_JSON_TEXT, .text = text};
    ms_write_json(to, &json);
}

ms_run ms_test_partitions(ms_test *test)
{
    ms_call call;
    ms_engine engine;
    ms_partitions partitions;
    ms_writer to = {NULL, 0, 0};
    if (!ms_test_begin(test, MS_WORLD_SOURCE, &call, &engine) || !ms_engine_partitions(&call, &partitions))
        return ms_test_failed(&engine);
    ms_write(&to, "[");
    for (uint32_t i = 0; i < partitions.count; i++) {
        ms_write(&to, i ? ", " : "");
        write_text(&to, partitions.names[i]);
    }
    ms_write(&to, "]");
    return done(&engine, true, to.text);
}

ms_run ms_test_open(ms_test *test, const char *partition, const char *position)
{
    ms_call call;
    ms_engine engine;
    ms_text text = ms_test_text(position);
    ms_binary at = {(const uint8_t *)text.data, text.length};
    bool is_open = ms_test_begin(test, MS_WORLD_SOURCE, &call, &engine) &&
                   ms_engine_open(&call, ms_test_config(test), ms_test_text(partition), position ? &at : NULL);
    return done(&engine, is_open, "[]");
}

ms_polled ms_test_poll(ms_test *test, uint32_t rows_max, uint32_t wait_ms)
{
    ms_call call;
    ms_engine engine;
    ms_poll poll = {.rows_max = rows_max, .wait_ms = wait_ms};
    ms_batch rows;
    ms_writer refused = {NULL, 0, 0}, position = {NULL, 0, 0};
    (void)test;
    ms_test_goes_on(&call, &engine);
    if (!ms_engine_poll(&call, &poll, &rows))
        return (ms_polled){.error = ms_test_failed(&engine).error};
    if (ms_came(&poll) > rows_max)
        ms_test_wrong("%u rows, including rejected ones, but at most %u were requested", (unsigned)ms_came(&poll),
                      (unsigned)rows_max);
    ms_write(&refused, "[");
    for (uint32_t i = 0; i < poll.refused_count; i++) {
        const ms_refusal *refusal = &poll.refused[i];
        ms_write(&refused, i ? ", {\"data\": " : "{\"data\": ");
        write_text(&refused, (ms_text){(const char *)refusal->data.data, refusal->data.length});
        ms_write(&refused, ", \"reason\": ");
        write_text(&refused, refusal->reason);
        ms_write(&refused, "}");
    }
    ms_write(&refused, "]");
    ms_write(&position, "%.*s", (int)poll.position.length, (const char *)poll.position.data);
    return (ms_polled){
        .rows = ms_test_rows(ms_row_schema(ms_the_plugin.output), &rows),
        .refused = refused.text,
        .position = poll.has_position ? position.text : NULL,
        .next = poll.next,
        .pause_ms = poll.pause_ms,
    };
}

static ms_run notify(const char *position, bool (*function)(ms_call *call, ms_binary position))
{
    ms_call call;
    ms_engine engine;
    ms_text text = ms_test_text(position);
    ms_test_goes_on(&call, &engine);
    return done(&engine, function(&call, (ms_binary){(const uint8_t *)text.data, text.length}), "[]");
}

ms_run ms_test_durable(ms_test *test, const char *position)
{
    (void)test;
    return notify(position, ms_engine_durable);
}

ms_run ms_test_published(ms_test *test, const char *position)
{
    (void)test;
    return notify(position, ms_engine_published);
}
