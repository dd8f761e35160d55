/*
 * Runs the plugin natively, without a host: rows go in and come out as JSON, in which texts may stand in single quotes.
 *
 *     ms_test test = {.config = "{'tax': 25}"};
 *     ms_run run = ms_test_run(&test, "[{'name': 'ann', 'amount': 100}, {'name': 'bob', 'amount': -1}]");
 *     MS_EXPECT_JSON(run.rows, "[{'name': 'ann', 'total': 125}]");
 *     MS_EXPECT_JSON(run.rejected, "[{'row': 1, 'reason': 'the amount -1 is below zero'}]");
 *     return ms_test_end();
 *
 * Timestamps are numbers of microseconds, binary is text of hexadecimal digits. `ms_info` and its like write to standard
 * error, `ms_count` does nothing, `ms_file` reads from `testdata/`. Mistakes in a test itself end the program.
 */
#ifndef MILLSTREAM_TEST_H
#define MILLSTREAM_TEST_H

#include "sink.h"
#include "source.h"

#define MS_TEST_INPUTS_MAX 8

/* How a stage uses the plugin, and what it keeps from batch to batch. */
typedef struct ms_test {
    /* The stage's config; NULL: none. */
    const char *config;
    /* The stage's key columns, for example "user text, day int64"; NULL: none. */
    const char *key;
    /* The columns of each input, written so too; only plugins that work on any columns need them. */
    const char *inputs[MS_TEST_INPUTS_MAX];
    /*
     * The watermark of the following calls. It drives timers; without it, the batch time does, which is one second
     * per batch.
     */
    ms_opt_timestamp watermark;
    /* The batch that ran last. */
    uint64_t batch;
    /* World `update`: keys with their states, and timers. The SDK's own. */
    struct ms_test_entry *states;
    struct ms_test_entry *timers;
} ms_test;

/* What a run gave. */
typedef struct ms_run {
    /* The returned rows: a list of objects; NULL if the call failed. */
    const char *rows;
    /*
     * The rejected rows: a list of objects with `row`, the index in the passed rows (sorted by key if there is one;
     * those of a second input are counted after those of the first), and `reason`.
     */
    const char *rejected;
    /* Why the call failed, for example "config: missing field `tax`"; NULL if it did not. */
    const char *error;
} ms_run;

/*
 * Runs one batch: a list of objects, with the key columns too if the stage has a key; in world `cogroup` a list of
 * such lists. World `update` also calls keys whose timers are due. An aggregate combines the rows of each key from
 * first to last; one with an inverse also removes the first and adds it again.
 */
ms_run ms_test_run(ms_test *test, const char *rows);
/* World `update`: calls the key, an object, a last time, because it was idle for the stage's `timeout`. */
ms_run ms_test_time_out(ms_test *test, const char *key);
/*
 * World `update-migrating`: the result of the plugin's migration with this index for states of another version, a
 * list of objects.
 */
ms_run ms_test_migrate(ms_test *test, uint32_t migration, const char *states);
/* World `update`: the states, a list of objects with the key columns. */
const char *ms_test_states(const ms_test *test);
/*
 * The plugin's description of itself, as JSON: `input` or `inputs`, `output`, `state`, `key`, for example "user text,
 * amount float64".
 */
ms_run ms_test_describe(ms_test *test);

/* What a poll gave. */
typedef struct ms_polled {
    /* The returned rows: a list of objects; NULL if the call failed. */
    const char *rows;
    /* Received data that is not a row: a list of objects with `data`, as text, and `reason`. */
    const char *refused;
    /* The position to resume at, as text; NULL: unchanged. */
    const char *position;
    /* When there may be more. */
    ms_next next;
    uint32_t pause_ms;
    /* Why the call failed; NULL if it did not. */
    const char *error;
} ms_polled;

/* World `source`: the partitions, a list of strings in `rows`. */
ms_run ms_test_partitions(ms_test *test);
/* World `source`: begins to read a partition, at a position of an earlier poll; NULL: at its beginning. A program reads one at
 * a time. */
ms_run ms_test_open(ms_test *test, const char *partition, const char *position);
/* World `source`: takes the next rows of what is open. */
ms_polled ms_test_poll(ms_test *test, uint32_t rows_max, uint32_t wait_ms);
/* World `source`: reports that the rows up to a position are durable, or that a checkpoint with it is published. */
ms_run ms_test_durable(ms_test *test, const char *position);
ms_run ms_test_published(ms_test *test, const char *position);

/* A sink's last stored batch; 0: none. */
typedef struct ms_last {
    uint64_t batch;
    /* Why the call failed; NULL if it did not. */
    const char *error;
} ms_last;

/* World `sink`: what is promised with this config. */
ms_promise ms_test_promise(ms_test *test);
/* World `sink`: the last stored batch of sink `out` of the job with this id. */
ms_last ms_test_committed(ms_test *test, const char *job_id);
/*
 * World `sink`: opens sink `out` of the job with this id, as the start with this number. A program writes one at a
 * time.
 */
ms_last ms_test_take_over(ms_test *test, const char *job_id, uint64_t generation);
/* World `sink`: writes a batch, a list of objects, and commits it; `rejected` are the rejected rows. */
ms_run ms_test_batch(ms_test *test, uint64_t batch, const char *rows);
/* The same without the commit: the part of a batch that exists when something fails. */
ms_run ms_test_begun(ms_test *test, uint64_t batch, const char *rows);

/* Prints where two values differ, and fails the program. */
#define MS_EXPECT_JSON(actual, expected) ms_expect_json(__FILE__, __LINE__, (actual), (expected))
#define MS_EXPECT(condition) ms_expect(__FILE__, __LINE__, (condition), #condition)
void ms_expect_json(const char *file, int line, const char *actual, const char *expected);
void ms_expect(const char *file, int line, bool holds, const char *condition);
/* What `main` returns: 0 where all was as expected. */
int ms_test_end(void);

#endif
