/* Internal functions of the SDK. The files in `wasm/` (in a component) or `native/` (in tests) call it. */
#ifndef MILLSTREAM_ENGINE_H
#define MILLSTREAM_ENGINE_H

#include "millstream.h"

#include <stdarg.h>

/* An arena: its memory is freed at once. */
typedef struct ms_arena {
    struct ms_block *blocks;
    size_t used;
} ms_arena;

/* Memory of the current call, and of the config, which is kept between calls. */
extern ms_arena ms_call_memory;
extern ms_arena ms_config_memory;

void *ms_arena_alloc(ms_arena *arena, size_t size);
/* Grows memory. `memory` is a result of `ms_arena_grow`, or NULL. */
void *ms_arena_grow(ms_arena *arena, void *memory, size_t size);
/* Frees all memory except a little for reuse. */
void ms_arena_reset(ms_arena *arena);
/* Copies a text, with a zero byte after it. */
ms_text ms_arena_copy(ms_arena *arena, ms_text text);
ms_text ms_arena_format(ms_arena *arena, const char *format, va_list arguments);

/* Kind of a call's error, in the order of the interface's `error`. */
typedef enum ms_error_kind { MS_ERROR_CONFIG, MS_ERROR_INPUT, MS_ERROR_INTERNAL } ms_error_kind;

typedef struct ms_failure {
    bool happened;
    ms_error_kind kind;
    ms_text message;
} ms_failure;

/* A rejected row. */
typedef struct ms_rejection {
    uint32_t input;
    uint32_t row;
    ms_text reason;
} ms_rejection;

/* The rows of an input with a null in a field without `ms_opt_`, in order. */
typedef struct ms_missing {
    uint32_t *rows;
    uint32_t count;
    /* Index of the next one; the previous ones are done. */
    uint32_t next;
} ms_missing;

/* The state of a call. */
typedef struct ms_engine {
    ms_failure failure;
    /* The reason for which the function has rejected its row. */
    bool has_refused;
    ms_text reason;
    ms_rejection *rejections;
    size_t rejections_count;
    size_t rejections_capacity;
    ms_missing *missing;
    void *key;
    /* The current group, and the timer changes of its function. */
    uint32_t group;
    struct ms_timer_change *timer_changes;
    void (*set_timers)(struct ms_engine *engine, bool done);
    const uint32_t *due_ends;
    const ms_timestamp *due_times;
    /* Worlds `source` and `sink`: the host's last error message. */
    ms_text net_words;
} ms_engine;

/* Result of a call. */
typedef struct ms_output {
    ms_batch rows;
    /* World `update`: the new states, and a bitmap of those to keep. */
    ms_batch states;
    ms_buffer kept;
    /* Sorted by input, then by row. */
    const ms_rejection *rejections;
    size_t rejections_count;
} ms_output;

/* Records the failure of a call. The first one wins. */
void ms_failed(ms_call *call, ms_error_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Starts a call: reads the config if it has changed. Returns false if the call has failed. */
bool ms_engine_begin(ms_call *call, ms_engine *engine, ms_text config);
/* Functions of the worlds. They return false if the call has failed; `call->engine->failure` is the error. */
bool ms_engine_describe(ms_call *call, ms_description *description);
bool ms_engine_process(ms_call *call, const ms_batch *input, ms_output *output);
bool ms_engine_update(ms_call *call, const ms_groups *groups, ms_output *output);
/* World `update-migrating`. `version` created the old states, which have the columns of `schema`. */
bool ms_engine_migrate(ms_call *call, ms_text version, ms_schema schema, const ms_batch *old, ms_output *output);
bool ms_engine_cogroup(ms_call *call, const ms_groups *groups, ms_output *output);
bool ms_engine_lift(ms_call *call, const ms_batch *rows, ms_output *output);
bool ms_engine_combine(ms_call *call, const ms_batch *left, const ms_batch *right, ms_output *output);
bool ms_engine_lower(ms_call *call, const ms_batch *keys, const ms_batch *accumulators, ms_output *output);
bool ms_engine_inverse(ms_call *call, const ms_batch *whole, const ms_batch *part, ms_output *output);

/* Worlds `source` and `sink`: return whether a function succeeded, keep the config of `open` for later calls, and start a call of
 * the open instance. */
bool ms_is_done(ms_call *call, ms_status status, const char *function);
void ms_engine_keep(ms_text config);
bool ms_engine_opened(ms_call *call, ms_engine *engine);

/* World `source`. */
bool ms_engine_partitions(ms_call *call, ms_partitions *partitions);
bool ms_engine_open(ms_call *call, ms_text config, ms_text partition, const ms_binary *position);
bool ms_engine_poll(ms_call *call, ms_poll *poll, ms_batch *rows);
bool ms_engine_durable(ms_call *call, ms_binary position);
bool ms_engine_published(ms_call *call, ms_binary position);

/* World `sink`. The last batch is 0 if there is none. */
bool ms_engine_promise(ms_call *call, ms_promise *promise);
bool ms_engine_committed(ms_call *call, const ms_identity *identity, uint64_t *last);
bool ms_engine_take_over(ms_call *call, ms_text config, const ms_owner *owner, uint64_t *last);
bool ms_engine_begin_batch(ms_call *call, uint64_t batch, ms_timestamp time);
bool ms_engine_write(ms_call *call, const ms_batch *batch, const ms_rejection **refused, size_t *count);
bool ms_engine_commit(ms_call *call, uint64_t batch);

/* Finds the rows of an input with a null in a field without `ms_opt_`, and rejects them. */
void ms_find_missing(ms_call *call, uint32_t input, const ms_batch *batch, const ms_row *row, ms_missing *missing);
/* Returns the rejections, sorted by input and row. */
const ms_rejection *ms_sorted_rejections(ms_engine *engine);

/* Returns the schema of a kind of row. */
ms_schema ms_row_schema(const ms_row *row);
/* Creates an empty output with memory for rows, and for bytes in each text or binary column. */
void ms_out_init(ms_out *out, ms_schema schema, bool keyed, uint32_t rows, size_t bytes);
/* Finishes the output, with the keys of its groups if it is keyed. Returns false if the call has failed. */
bool ms_out_finish(ms_call *call, ms_out *out, const ms_batch *keys, ms_batch *batch);
/* Returns whether a batch has the columns of this schema, each with buffers that are long enough. */
bool ms_check_batch(ms_call *call, const ms_batch *batch, const ms_row *row);
/* Returns the size of the values in bytes. */
size_t ms_batch_bytes(const ms_batch *batch);

/* Parses JSON. If it is invalid, returns NULL and sets the error. `relaxed`: strings may be in single quotes. */
const ms_json *ms_json_parse(ms_arena *arena, ms_text text, bool relaxed, const char **wrong);
/* Reads the config of the plugin. If it is invalid, returns NULL and sets the reason. */
const void *ms_config_of(ms_text text, ms_text *wrong);

/* The host: its imports in a component, stand-ins in tests. */
typedef enum ms_level { MS_LEVEL_DEBUG, MS_LEVEL_INFO, MS_LEVEL_WARN, MS_LEVEL_ERROR } ms_level;
void ms_host_log(ms_level level, ms_text line);
void ms_host_count(ms_text counter, uint64_t amount);
/* Returns false if there is no such file; `wrong` is the message. */
bool ms_host_file_size(ms_text name, uint64_t *size, ms_text *wrong);
bool ms_host_file_read(ms_text name, uint64_t offset, uint32_t length, ms_binary *bytes, ms_text *wrong);
ms_schema ms_host_input(uint32_t input);
ms_schema ms_host_key(void);
void ms_host_timer_set(uint32_t group, int64_t at);
void ms_host_timer_cancel(uint32_t group, int64_t at);
void ms_host_timers_due(const uint32_t **ends, const ms_timestamp **times);
/* Worlds `source` and `sink`: sockets by number. `wrong` is the message after MS_NET_FAILED. */
ms_net ms_host_connect(ms_text name, uint16_t port, uint32_t timeout_ms, uint32_t *socket, ms_text *wrong);
ms_net ms_host_read(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *wrong);
ms_net ms_host_write(uint32_t socket, ms_binary bytes, uint32_t timeout_ms, ms_text *wrong);
ms_net ms_host_bind(ms_text name, uint16_t port, uint32_t *socket, ms_text *wrong);
ms_net ms_host_receive(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *sender,
                       ms_text *wrong);
ms_net ms_host_send(uint32_t socket, ms_text name, uint16_t port, ms_binary bytes, ms_text *wrong);
void ms_host_close(uint32_t socket);

#endif
