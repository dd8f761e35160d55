/* Context of a call, and functions for logs, counters, files, timers and memory. */
#ifndef MILLSTREAM_CALL_H
#define MILLSTREAM_CALL_H

#include "row.h"

/* Return value of a function. */
typedef enum ms_status {
    MS_OK,
    /* World `update`: the key is removed. */
    MS_REMOVE,
    /* The result of `ms_reject`: the row, or the rows of the key, are rejected. */
    MS_REJECTED,
    /* The result of `ms_fail`: the call fails. */
    MS_FAILED
} ms_status;

/*
 * Context of a call. A replay of the batch has the same context. Fields without a comment are internal to the SDK.
 */
typedef struct ms_call {
    /* ID of the batch: 1, 2, 3 … since the job's first start. */
    uint64_t batch;
    /* Time of the batch: the end of its interval. A plugin has no other clock. */
    ms_timestamp time;
    /* Event time up to which input is considered complete. */
    ms_opt_timestamp watermark;
    /* World `update`: whether this is the last call for a key that was idle for the stage's `timeout`. The key's state is
     * removed afterwards, whatever the function returns. */
    bool timed_out;
    /* World `update`: whether the key has a state. Otherwise the function receives a state of zeros. */
    bool known;
    /* The struct of `MS_CONFIG`, or NULL. */
    const void *config;
    /* The key, as the row of `MS_KEY`, or NULL. */
    const void *key;
    /* Internal: the next row that is not passed to the function, and whether it has changed timers. */
    uint32_t skip;
    bool has_asked;
    struct ms_engine *engine;
} ms_call;

/* Rejects the row, or the rows of the key: `return ms_reject(call, "the amount %g is below zero", amount);`. */
ms_status ms_reject(ms_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Fails the call, with the position in the source: `return ms_fail(call, "there is no table");`. */
#define ms_fail(call, ...) ms_fail_at((call), __FILE__, __LINE__, __VA_ARGS__)
ms_status ms_fail_at(ms_call *call, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Traps immediately if a condition is false. */
#define ms_assert(condition) ((condition) ? (void)0 : ms_stop(__FILE__, __LINE__, __func__, #condition))
void ms_stop(const char *file, int line, const char *function, const char *condition) __attribute__((noreturn));

/* Functions on batches only: rejects one row of the input (in world `cogroup`: of that input). */
void ms_reject_row(ms_call *call, uint32_t input, uint32_t row, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Functions on batches, and sinks: fails the call because the input or the key is unsuitable. The job's author can fix this. */
ms_status ms_refuse_input(ms_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Worlds `source` and `sink`: fails the job, because the config could be read but is wrong, or because a later start of the job
 * has taken over the sink. */
ms_status ms_refuse_config(ms_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Allocates memory, aligned to sixteen bytes, that is freed after the call. Never returns NULL: without memory, it traps. */
void *ms_alloc(size_t size);
/* Formats a string like `printf`. It is freed after the call. */
ms_text ms_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Formats a number with as few digits as needed to read it back. The string is freed after the call. */
const char *ms_number(double number);

/*
 * Log a message for the operator. The host adds stage, plugin and batch, and drops messages above its limits. In tests,
 * messages go to standard error.
 */
void ms_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ms_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ms_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ms_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Adds to a counter, which starts at 0. Names match `[a-z][a-z0-9_]{0,63}`; other names are ignored. */
void ms_count(const char *counter, uint64_t amount);

/* Returns the contents of a granted file; they are freed after the call. In tests, it reads the file of this name in `testdata/`.
 * If there is none, the call fails and this returns no data. */
ms_binary ms_file(ms_call *call, const char *name);

/* Returns the columns of an input. In `describe`, these are all columns; later only those that the description selects. */
ms_schema ms_input_schema(ms_call *call, uint32_t input);
/* Returns the stage's key columns. Empty if the stage has no key. */
ms_schema ms_key_schema(ms_call *call);
/* Format a column type as in job files, and a schema as in `name text, amount int64`. The strings are freed after the call. */
const char *ms_type_name(const ms_field *field);
const char *ms_schema_text(ms_schema schema);

/*
 * World `update`: timers call a key, with or without rows, at a given time. In a stage with `time`, a timer's time is event
 * time; otherwise it is processing time. A key has at most one timer per time. A timer stays until it is due or canceled,
 * even if the state is removed.
 */
void ms_timer_set(ms_call *call, ms_timestamp at);
void ms_timer_cancel(ms_call *call, ms_timestamp at);
/* Returns the due times of this key, earliest first. If the key has no rows, these are the reason for the call. */
const ms_timestamp *ms_timers_due(ms_call *call, uint32_t *count);

#endif
