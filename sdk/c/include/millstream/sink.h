/*
 * World `sink`: writes rows to an external system.
 *
 * An instance of the plugin writes the batches of one sink, one after another: `begin`, `write` for each piece of the rows,
 * `commit`. Static variables keep their values between calls; memory of `ms_alloc` does not.
 *
 * The error of a failed call is treated as transient: the host drops the instance. After a delay it opens another one and
 * repeats the batch from its start, unless `open` returns this batch as stored. `ms_refuse_config`, `ms_refuse_input` and a trap,
 * for example of `ms_assert`, fail the job.
 */
#ifndef MILLSTREAM_SINK_H
#define MILLSTREAM_SINK_H

#include "net.h"
#include "plugin.h"

/* Guarantee for a batch if a failure occurs while it is written. */
typedef enum ms_promise {
    /* The rows of a batch and its ID are stored atomically, and `committed` and `open` return the last ID. */
    MS_EXACTLY_ONCE,
    /* A batch may be written again, and its rows duplicated. */
    MS_AT_LEAST_ONCE
} ms_promise;

/* Identifies a sink. It is the same at every start of a job that resumes from its checkpoints, and unique. */
typedef struct ms_identity {
    /* Name of the job, for display. */
    ms_text job;
    /* Unique ID of the job, 32 hexadecimal digits. It differs between jobs of the same name. */
    ms_text job_id;
    /* Name of the sink in the job. */
    ms_text sink;
} ms_identity;

/* The start of a job that writes to the sink. */
typedef struct ms_owner {
    ms_identity identity;
    /*
     * Number of the job's start; later starts have larger numbers. Once a larger one has opened the sink, a smaller one
     * has been replaced and must not commit.
     */
    uint64_t generation;
} ms_owner;

/* Rejects the row that `NAME_next` returned last. Call it once per row. The job decides whether it fails or continues without the row. */
void ms_refuse_row(const ms_rows *rows, ms_call *call, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The functions of a sink. */
typedef struct ms_sink {
    /* May be NULL. Reports errors of a config when a job is loaded. It has no network access. */
    ms_status (*check)(ms_call *call);
    /*
     * May be NULL. Returns the guarantee with this config. By default it is MS_EXACTLY_ONCE if there is `committed`, else
     * MS_AT_LEAST_ONCE.
     */
    ms_promise (*promise)(ms_call *call);
    /*
     * May be NULL. Returns the last stored batch, or 0. Called before a start of the job decides where to resume. It must
     * change nothing, since an earlier start may still be writing.
     */
    ms_status (*committed)(const ms_identity *identity, uint64_t *last, ms_call *call);
    /* Opens the sink and takes it over from all owners of smaller generations. Returns the last stored batch, or 0. */
    ms_status (*open)(const ms_owner *owner, uint64_t *last, ms_call *call);
    /* May be NULL. Starts a batch with its ID and the end of its interval. Batches without rows are skipped. */
    ms_status (*begin)(uint64_t batch, ms_timestamp time, ms_call *call);
    /* Writes more rows of the batch, in order. */
    ms_status (*write)(ms_rows *rows, ms_call *call);
    /* Makes the rows of the batch and its ID visible atomically, after all are written. They are durable when it returns. */
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
