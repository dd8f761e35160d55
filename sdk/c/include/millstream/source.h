/*
 * World `source`: reads rows from an external system.
 *
 * The host stores the rows of a poll and the position after them atomically. So each row arrives exactly once if the source
 * can resume at a position. An instance of the plugin reads one partition. Static variables keep their values between calls;
 * memory of `ms_alloc` does not.
 *
 * The error of a failed call is treated as transient: the host drops the instance and after a delay opens another one at the
 * position of the last poll. `ms_refuse_config` and a trap, for example of `ms_assert`, fail the job.
 */
#ifndef MILLSTREAM_SOURCE_H
#define MILLSTREAM_SOURCE_H

#include "net.h"
#include "plugin.h"

/* When the host polls again. */
typedef enum ms_next {
    /* Immediately. Return this also after a poll that waited and had no rows: the next one waits again. */
    MS_READY,
    /* There are no rows now. The host polls again after `pause_ms` milliseconds or earlier. */
    MS_PAUSE,
    /* Never: the partition has ended. */
    MS_ENDED
} ms_next;

/* Rejected data: received data that is not a row. */
typedef struct ms_refusal {
    ms_binary data;
    ms_text reason;
} ms_refusal;

/* A poll: its request, and its result besides the rows. */
typedef struct ms_poll {
    /* Maximum number of rows, including rejected data. */
    uint32_t rows_max;
    /* Maximum time to wait for rows, in milliseconds. */
    uint32_t wait_ms;
    /* When the host polls again; MS_READY by default. */
    ms_next next;
    uint32_t pause_ms;
    /* Internal to the SDK. */
    ms_out *rows;
    bool has_position;
    ms_binary position;
    ms_refusal *refused;
    uint32_t refused_count;
    uint32_t refused_capacity;
} ms_poll;

/* Sets the position after all rows of the poll, in a format of the plugin. Without this call, the position is unchanged. */
void ms_position(ms_poll *poll, ms_binary position);
/* Sets the position to a string, formatted like `printf`. */
void ms_position_text(ms_poll *poll, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Rejects received data that is not a row. It goes to the source's rejected rows and counts as a row. */
void ms_refuse(ms_poll *poll, ms_binary data, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Return the number of rows and rejected data so far, and the number that this poll may still add. */
static inline uint32_t ms_came(const ms_poll *poll)
{
    return poll->rows->rows + poll->refused_count;
}

static inline uint32_t ms_left(const ms_poll *poll)
{
    return ms_came(poll) < poll->rows_max ? poll->rows_max - ms_came(poll) : 0;
}

/* A list of partitions. */
typedef struct ms_partitions {
    ms_text *names;
    uint32_t count;
    uint32_t capacity;
} ms_partitions;

/* Adds a partition. */
void ms_partition(ms_partitions *partitions, ms_text name);

/* The functions of a source. */
typedef struct ms_source {
    /* May be NULL. Reports errors of a config when a job is loaded. It has no network access. */
    ms_status (*check)(ms_call *call);
    /*
     * May be NULL, for one partition without a name. Returns the names of the partitions, which must be stable. Called
     * when the job starts, and periodically. Each partition is read in order, independently, and has its own position.
     */
    ms_status (*partitions)(ms_partitions *partitions, ms_call *call);
    /* Opens a partition at the position of an earlier poll, or with NULL at its start. */
    ms_status (*open)(ms_text partition, const ms_binary *position, ms_call *call);
    /* Reads the next rows. Calls come one after another, and only when the job can process more rows. */
    ms_status (*poll)(ms_poll *poll, ms_out *rows, ms_call *call);
    /*
     * May be NULL. Notifies the source that the rows up to this position are durable and may be acknowledged. Later
     * positions include earlier ones. After `open`, the host repeats the last call, which may have been lost.
     */
    ms_status (*durable)(ms_binary position, ms_call *call);
    /* May be NULL. Notifies the source that a checkpoint with this position is published. No earlier one is ever opened again. */
    ms_status (*published)(ms_binary position, ms_call *call);
} ms_source;

/*
 * The plugin of a source:
 *     MS_SOURCE(line, MS_READS(.open = begin, .poll = next), MS_CONFIG(settings, read_settings));
 */
#define MS_READS(...) ((const ms_source[]){{__VA_ARGS__}})
#define MS_SOURCE(output_row, reads, ...)                                                                              \
    MS_PLUGIN(.world = MS_WORLD_SOURCE, .output = &output_row##_row, .source = reads, __VA_ARGS__)

#endif
