/*
 * World `sink`: rows that leave for elsewhere.
 *
 * An instance of the plugin writes the batches of one sink, one after the other: `begin`, `write` for each piece of the rows, `commit`. What
 * it knows stays in its static variables from call to call; memory of `ms_alloc` does not.
 *
 * A call that fails is taken for something that passes: the instance is thrown away, and after a while another one is opened and gets
 * the batch from its beginning, unless `open` says that it is there. After `ms_refuse_config`, after `ms_refuse_input`, and after a
 * trap, as of `ms_assert`, the job ends.
 */
#ifndef MILLSTREAM_SINK_H
#define MILLSTREAM_SINK_H

#include "net.h"
#include "plugin.h"

/* What becomes of a batch that was handed over when something failed. */
typedef enum ms_promise {
    /* The rows of a batch are stored atomically together with its id, and `committed` and `open` return the last id. */
    MS_EXACTLY_ONCE,
    /* No such guarantee: a batch may be handed over again, and its rows duplicated. */
    MS_AT_LEAST_ONCE
} ms_promise;

/* Identifies the rows: the same at every start of a job that resumes from its checkpoints, and unique to it. */
typedef struct ms_identity {
    /* The job's name, for people. */
    ms_text job;
    /* Identifies this job, also among those with the same name: 32 hexadecimal digits. */
    ms_text job_id;
    /* The sink's name in the job. */
    ms_text sink;
} ms_identity;

/* The writing start of a job. */
typedef struct ms_owner {
    ms_identity identity;
    /*
     * The number of the job's start: later starts have larger numbers. Once a larger one has opened the sink, a start
     * with a smaller one has lost the job, and must not commit any more.
     */
    uint64_t generation;
} ms_owner;

/* Rejects the row that `NAME_next` returned last, once; the job decides whether it ends or continues without it. */
void ms_refuse_row(const ms_rows *rows, ms_call *call, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The functions of a sink. */
typedef struct ms_sink {
    /* May be NULL: reports errors of a config when a job is loaded. There is no network yet. */
    ms_status (*check)(ms_call *call);
    /*
     * May be NULL: the guarantee with this config. Without it MS_EXACTLY_ONCE if there is `committed`, else
     * MS_AT_LEAST_ONCE.
     */
    ms_promise (*promise)(ms_call *call);
    /*
     * May be NULL: returns the last stored batch of these rows; 0: none. Called before a start of the job decides
     * where to resume. Must change nothing: an earlier start may still be writing.
     */
    ms_status (*committed)(const ms_identity *identity, uint64_t *last, ms_call *call);
    /* Opens the sink, takes it over from all owners of smaller generations, and also returns the last batch. */
    ms_status (*open)(const ms_owner *owner, uint64_t *last, ms_call *call);
    /* May be NULL. A batch begins: its id, and the end of its interval. Batches without rows do not come. */
    ms_status (*begin)(uint64_t batch, ms_timestamp time, ms_call *call);
    /* More rows of the batch, in order. */
    ms_status (*write)(ms_rows *rows, ms_call *call);
    /* All rows of the batch were written: makes them visible together with its id. They are durable when it returns. */
    ms_status (*commit)(uint64_t batch, ms_call *call);
} ms_sink;

/*
 * The plugin of a sink:
 *     MS_SINK(entry, MS_WRITES(.open = take_over, .write = send, .commit = commit), MS_CONFIG(settings, read_settings));
 */
#define MS_WRITES(...) ((const ms_sink[]){{__VA_ARGS__}})
#define MS_SINK(input_row, writes, ...)                                                                                \
    MS_PLUGIN(.world = MS_WORLD_SINK, .input = &input_row##_row, .sink = writes, __VA_ARGS__)

#endif
