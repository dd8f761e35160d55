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
    /* All of its rows are there together with its id, or none is, and `committed` and `open` tell the last id. */
    MS_EXACTLY_ONCE,
    /* Nobody can tell: it is handed over again, and rows may be there twice. */
    MS_AT_LEAST_ONCE
} ms_promise;

/* Whose rows they are: the same at every start of a job that goes on from its checkpoints, and of nobody else. */
typedef struct ms_identity {
    /* The job's name, for people. */
    ms_text job;
    /* What tells this job from all others, those of the same name as well: 32 hexadecimal digits. */
    ms_text job_id;
    /* The sink's name in the job. */
    ms_text sink;
} ms_identity;

/* Who writes. */
typedef struct ms_owner {
    ms_identity identity;
    /* Which start of the job it is: later ones have larger numbers. Once a larger one has opened the sink, whoever has a
     * smaller one has lost the job, and must not commit any more. */
    uint64_t generation;
} ms_owner;

/* Refuses the row that `NAME_next` took last, once; whether the job ends then or goes on without it is for the job to say. */
void ms_refuse_row(const ms_rows *rows, ms_call *call, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The functions of a sink. */
typedef struct ms_sink {
    /* May be NULL: says what is wrong with a config, when a job is loaded. There is no network yet. */
    ms_status (*check)(ms_call *call);
    /* May be NULL: what is promised with this config. Without it MS_EXACTLY_ONCE where there is `committed`, else
     * MS_AT_LEAST_ONCE. */
    ms_promise (*promise)(ms_call *call);
    /* May be NULL: tells the last batch of these rows that is there; 0: none. Asked before a start of the job decides where to
     * go on. Changes nothing: an earlier start may still be writing. */
    ms_status (*committed)(const ms_identity *identity, uint64_t *last, ms_call *call);
    /* Begins to write, takes the sink over from all owners of smaller generations, and tells the last batch as well. */
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
