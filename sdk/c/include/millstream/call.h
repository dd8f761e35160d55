/* The context of a function's call, and what it can do besides returning rows. */
#ifndef MILLSTREAM_CALL_H
#define MILLSTREAM_CALL_H

#include "row.h"

/* What a function returns. */
typedef enum ms_status {
    MS_OK,
    /* World `update`: the key is removed. */
    MS_REMOVE,
    /* The result of `ms_reject`: the row, or the rows of the key, are rejected. */
    MS_REJECTED,
    /* What `ms_fail` returns: the call has failed. */
    MS_FAILED
} ms_status;

/*
 * The information that a call has about its environment. A replay of the batch gives the same. The other fields are
 * internal to the SDK.
 */
typedef struct ms_call {
    /* The batch id: 1, 2, 3 … since the job's first start. */
    uint64_t batch;
    /* The batch time: the end of the batch's interval. The only clock that a plugin has. */
    ms_timestamp time;
    /* Event time up to which input is considered complete. */
    ms_opt_timestamp watermark;
    /* World `update`: whether this is the last call of a key that was idle for the stage's `timeout`. Its state is removed
     * afterwards, whatever the function returns. */
    bool timed_out;
    /* World `update`: whether the key has a state; the state that the function gets is all zeros otherwise. */
    bool known;
    /* The struct that `MS_CONFIG` names; NULL without. */
    const void *config;
    /* The row that `MS_KEY` names: the key; NULL without. */
    const void *key;
    /* The next row that is not passed to the function, and whether it has requested timers. */
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

/* Fails and stops the call immediately if a condition is false. */
#define ms_assert(condition) ((condition) ? (void)0 : ms_stop(__FILE__, __LINE__, __func__, #condition))
void ms_stop(const char *file, int line, const char *function, const char *condition) __attribute__((noreturn));

/* Functions on batches only: rejects one row of the input (in world `cogroup`: of that input). */
void ms_reject_row(ms_call *call, uint32_t input, uint32_t row, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Functions on batches, and sinks: the input or the key is unsuitable, which the job's author can fix. */
ms_status ms_refuse_input(ms_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Worlds `source` and `sink`: lets the call fail for a config that can be read and is wrong, or for a sink that a later start of the
 * job has taken over. The job ends. */
ms_status ms_refuse_config(ms_call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Memory that is freed after the call; at least sixteen bytes are aligned. Never NULL: the call fails without memory. */
void *ms_alloc(size_t size);
/* A string formatted like `printf`; freed after the call. */
ms_text ms_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The shortest text that reads as this number again, for `%s`; freed after the call. */
const char *ms_number(double number);

/*
 * Logs a line for the operator. The host shows it with stage, plugin and batch, and drops lines above its limits. In
 * tests they go to standard error.
 */
void ms_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ms_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ms_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void ms_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Adds to the counter of this name, which begins at 0. Names match `[a-z][a-z0-9_]{0,63}`; others are ignored. */
void ms_count(const char *counter, uint64_t amount);

/* The contents of a file that the job grants, in tests of the file of this name under `testdata/`; freed after the call.
 * Without such a file the call fails, and this returns no data. */
ms_binary ms_file(ms_call *call, const char *name);

/* Returns the columns of an input of the stage: in `describe` all, later those that the description named. */
ms_schema ms_input_schema(ms_call *call, uint32_t input);
/* Returns the stage's key columns; none if it has no key. */
ms_schema ms_key_schema(ms_call *call);
/* The name of a column's type, as job files write it; and a schema as `name text, amount int64`. Freed after the call. */
const char *ms_type_name(const ms_field *field);
const char *ms_schema_text(ms_schema schema);

/*
 * World `update`: timers call a key, with rows or without, at a time that its function has requested. Times are event
 * time if the stage has `time`, otherwise processing time. A key has one timer per time; it waits until it is due or
 * cancelled, even if the key's state is removed.
 */
void ms_timer_set(ms_call *call, ms_timestamp at);
void ms_timer_cancel(ms_call *call, ms_timestamp at);
/* Returns the due times of this key, the earliest first. They are why a key without rows is called. */
const ms_timestamp *ms_timers_due(ms_call *call, uint32_t *count);

#endif
