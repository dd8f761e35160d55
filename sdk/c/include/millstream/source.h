/*
 * World `source`: rows from elsewhere.
 *
 * The host keeps the rows of a poll and the position behind them together, so that each row comes exactly once where the source can
 * go on at a position. An instance of the plugin reads one partition, so what it knows stays in its static variables from
 * call to call; memory of `ms_alloc` does not.
 *
 * A call that fails is taken for something that passes: the instance is thrown away, and after a while another one opens the
 * partition where the last poll left off. After `ms_refuse_config`, and after a trap, as of `ms_assert`, the job ends.
 */
#ifndef MILLSTREAM_SOURCE_H
#define MILLSTREAM_SOURCE_H

#include "net.h"
#include "plugin.h"

/* When there may be more after a poll. */
typedef enum ms_next {
    /* Immediately. Also return this after a poll that waited without a row: the next one waits again. */
    MS_READY,
    /* There is nothing for now: in `pause_ms`, or sooner. */
    MS_PAUSE,
    /* Never: the partition has come to its end. */
    MS_ENDED
} ms_next;

/* Received data that is not a row. */
typedef struct ms_refusal {
    ms_binary data;
    ms_text reason;
} ms_refusal;

/* A poll: the request, and the function's result besides its rows. */
typedef struct ms_poll {
    /* The maximum number of rows, including rejected ones. */
    uint32_t rows_max;
    /* How long to wait for them at most. */
    uint32_t wait_ms;
    /* When there may be more; MS_READY if the function does not say. */
    ms_next next;
    uint32_t pause_ms;
    /* The SDK's own. */
    ms_out *rows;
    bool has_position;
    ms_binary position;
    ms_refusal *refused;
    uint32_t refused_count;
    uint32_t refused_capacity;
} ms_poll;

/* Sets the position after all rows of the poll, in a format of your own; without it, the position is unchanged. */
void ms_position(ms_poll *poll, ms_binary position);
/* The same with a string, formatted like `printf`. */
void ms_position_text(ms_poll *poll, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Rejects data that is not a row: it goes to the source's rejected rows. It counts like a row. */
void ms_refuse(ms_poll *poll, ms_binary data, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* How many came so far, and how many more may come in this poll. */
static inline uint32_t ms_came(const ms_poll *poll)
{
    return poll->rows->rows + poll->refused_count;
}

static inline uint32_t ms_left(const ms_poll *poll)
{
    return ms_came(poll) < poll->rows_max ? poll->rows_max - ms_came(poll) : 0;
}

/* The partitions that there are. */
typedef struct ms_partitions {
    ms_text *names;
    uint32_t count;
    uint32_t capacity;
} ms_partitions;

/* Adds one. */
void ms_partition(ms_partitions *partitions, ms_text name);

/* The functions of a source. */
typedef struct ms_source {
    /* May be NULL: reports errors of a config when a job is loaded. There is no network yet. */
    ms_status (*check)(ms_call *call);
    /*
     * May be NULL, for one partition without a name: returns the partitions, by stable names; called when the job
     * starts, and periodically. Each is read in order, independently, and keeps its own position.
     */
    ms_status (*partitions)(ms_partitions *partitions, ms_call *call);
    /* Opens a partition at the position of an earlier poll; NULL: at its beginning. */
    ms_status (*open)(ms_text partition, const ms_binary *position, ms_call *call);
    /* Takes the next rows. Calls come one after the other, and none while there is nothing to be done with more rows. */
    ms_status (*poll)(ms_poll *poll, ms_out *rows, ms_call *call);
    /*
     * May be NULL. The rows up to this position are durable and may be acknowledged. Later positions include earlier
     * ones. After `open` the last call is repeated, as it may not have been received.
     */
    ms_status (*durable)(ms_binary position, ms_call *call);
    /* May be NULL. A checkpoint with this position is published: no earlier one is ever opened again. */
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
