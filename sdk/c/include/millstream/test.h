/*
 * Runs the plugin natively, without a host. Rows are JSON; its strings may be in single quotes.
 *
 *     ms_test test = {.config = "{'tax': 25}"};
 *     ms_run run = ms_test_run(&test, "[{'name': 'ann', 'amount': 100}, {'name': 'bob', 'amount': -1}]");
 *     MS_EXPECT_JSON(run.rows, "[{'name': 'ann', 'total': 125}]");
 *     MS_EXPECT_JSON(run.rejected, "[{'row': 1, 'reason': 'the amount -1 is below zero'}]");
 *     return ms_test_end();
 *
 * Timestamps are numbers of microseconds, binaries are hexadecimal strings. `ms_info` and the other log functions write to
 * standard error, `ms_count` does nothing, `ms_file` reads from `testdata/`. An error in the test itself ends the program.
 */
#ifndef MILLSTREAM_TEST_H
#define MILLSTREAM_TEST_H

#include "sink.h"
#include "source.h"

#define MS_TEST_INPUTS_MAX 8

/* A test: the settings of the stage, and the state that it keeps between batches. */
typedef struct ms_test {
    /* The stage's config, or NULL for none. */
    const char *config;
    /* The stage's key columns, for example "user text, day int64", or NULL for none. */
    const char *key;
    /* The columns of each input, in the same format. Only plugins that accept any columns need them. */
    const char *inputs[MS_TEST_INPUTS_MAX];
    /*
     * The watermark of the following calls, which timers then use. Without it, they use the batch time: one second per
     * batch.
     */
    ms_opt_timestamp watermark;
    /* Number of the last batch. */
    uint64_t batch;
    /* Internal to the SDK. World `update`: keys with their states, and timers. */
    struct ms_test_entry *states;
    struct ms_test_entry *timers;
} ms_test;

/* Result of a run. */
typedef struct ms_run {
    /* The output rows: a list of objects, or NULL if the call failed. */
    const char *rows;
    /*
     * The rejected rows: a list of objects with `row` and `reason`. `row` is the index in the input rows, sorted by key if
     * there is one; the rows of a second input are counted after those of the first.
     */
    const char *rejected;
    /* The error if the call failed, for example "config: missing field `tax`", or NULL. */
    const char *error;
} ms_run;

/*
 * Processes one batch: a list of objects, with the key columns if the stage has a key. In world `cogroup`, it is a list of
 * such lists. In world `update`, it also calls keys whose timers are due. An aggregate combines the rows of each key from
 * first to last; if it has an inverse, the run also removes the first row and adds it again.
 */
ms_run ms_test_run(ms_test *test, const char *rows);
/* World `update`: makes the last call for a key, an object, that was idle for the stage's `timeout`. */
ms_run ms_test_time_out(ms_test *test, const char *key);
/*
 * World `update-migrating`: returns the result of the plugin's migration with this index. `states` are the states of another
 * version, a list of objects.
 */
ms_run ms_test_migrate(ms_test *test, uint32_t migration, const char *states);
/* World `update`: returns the states, a list of objects with the key columns. */
const char *ms_test_states(const ms_test *test);
/*
 * Returns the plugin's description as JSON: `input` or `inputs`, `output`, `state`, `key`, for example "user text, amount
 * float64".
 */
ms_run ms_test_describe(ms_test *test);

/* Result of a poll. */
typedef struct ms_polled {
    /* The output rows: a list of objects, or NULL if the call failed. */
    const char *rows;
    /* The rejected data: a list of objects with `data`, as a string, and `reason`. */
    const char *refused;
    /* The position to resume at, as a string; NULL: unchanged. */
    const char *position;
    /* When the host polls again. */
    ms_next next;
    uint32_t pause_ms;
    /* The error if the call failed, or NULL. */
    const char *error;
} ms_polled;

/* World `source`: returns the partitions, a list of strings in `rows`. */
ms_run ms_test_partitions(ms_test *test);
/* World `source`: opens a partition at a position of an earlier poll, or with NULL at its start. A program can have one open
 * partition at a time. */
ms_run ms_test_open(ms_test *test, const char *partition, const char *position);
/* World `source`: polls the open partition. */
ms_polled ms_test_poll(ms_test *test, uint32_t rows_max, uint32_t wait_ms);
/* World `source`: notifies the source that the rows up to a position are durable, or that a checkpoint with it is published. */
ms_run ms_test_durable(ms_test *test, const char *position);
ms_run ms_test_published(ms_test *test, const char *position);

/* A sink's last stored batch, or 0. */
typedef struct ms_last {
    uint64_t batch;
    /* The error if the call failed, or NULL. */
    const char *error;
} ms_last;

/* World `sink`: returns the guarantee with this config. */
ms_promise ms_test_promise(ms_test *test);
/* World `sink`: returns the last stored batch of sink `out` of the job with this ID. */
ms_last ms_test_committed(ms_test *test, const char *job_id);
/*
 * World `sink`: opens sink `out` of the job with this ID and this start number. A program can have one open sink at a
 * time.
 */
ms_last ms_test_take_over(ms_test *test, const char *job_id, uint64_t generation);
/* World `sink`: writes a batch, a list of objects, and commits it. `rejected` has the rejected rows. */
ms_run ms_test_batch(ms_test *test, uint64_t batch, const char *rows);
/* World `sink`: writes a batch without committing it, as before a failure. */
ms_run ms_test_begun(ms_test *test, uint64_t batch, const char *rows);

/* Compares two values. If they differ, prints both and makes `ms_test_end` return 1. */
#define MS_EXPECT_JSON(actual, expected) ms_expect_json(__FILE__, __LINE__, (actual), (expected))
#define MS_EXPECT(condition) ms_expect(__FILE__, __LINE__, (condition), #condition)
void ms_expect_json(const char *file, int line, const char *actual, const char *expected);
void ms_expect(const char *file, int line, bool holds, const char *condition);
/* Returns the exit code for `main`: 0 if all expectations were met. */
int ms_test_end(void);

#endif
