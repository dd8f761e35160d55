/* What the SDK's own files share. The files in `wasm/` (in a component) or `native/` (in tests) call it. */
#ifndef MILLSTREAM_ENGINE_H
#define MILLSTREAM_ENGINE_H

#include "millstream.h"

#include <stdarg.h>

/* Memory: what is allocated together is freed together. */
typedef struct ms_arena {
    struct ms_block *blocks;
    size_t used;
} ms_arena;

/* Of the call that runs, and of the config that is kept from call to call. */
extern ms_arena ms_call_memory;
extern ms_arena ms_config_memory;

void *ms_arena_alloc(ms_arena *arena, size_t size);
/* Memory that can grow: what `ms_arena_grow` returned, or NULL. */
void *ms_arena_grow(ms_arena *arena, void *memory, size_t size);
/* Frees all, but for a little that will be used again. */
void ms_arena_reset(ms_arena *arena);
/* A copy that ends with a zero byte too. */
ms_text ms_arena_copy(ms_arena *arena, ms_text text);
ms_text ms_arena_format(ms_arena *arena, const char *format, va_list arguments);

/* Why a call fails, in the order of the interface's `error`. */
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

/* The rows of an input that are null where their struct has no `ms_opt_`, in order. */
typedef struct ms_missing {
    uint32_t *rows;
    uint32_t count;
    /* Those before this one are done. */
    uint32_t next;
} ms_missing;

/* The state of a call. */
typedef struct ms_engine {
    ms_failure failure;
    /* The reason with which the running function has rejected its row. */
    bool has_refused;
    ms_text reason;
    ms_rejection *rejections;
    size_t rejections_count;
    size_t rejections_capacity;
    ms_missing *missing;
    void *key;
    /* The group whose function runs, and the timers that it has requested. */
    uint32_t group;
    struct ms_asked *asked;
    void (*set_timers)(struct ms_engine *engine, bool done);
    const uint32_t *due_ends;
    const ms_timestamp *due_times;
    /* Worlds `source` and `sink`: what the host said last of what could not be done. */
    ms_text net_words;
} ms_engine;

/* What a call returns. */
typedef struct ms_output {
    ms_batch rows;
    /* World `update`: the new states, and a bit for each that is kept. */
    ms_batch states;
    ms_buffer kept;
    /* By input, then by row. */
    const ms_rejection *rejections;
    size_t rejections_count;
} ms_output;

/* Records the failure of a call; the first one wins. */
void ms_failed(ms_call *call, ms_error_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Begins a call: reads the config if it is another one than before. False: the call has failed. */
bool ms_engine_begin(ms_call *call, ms_engine *engine, ms_text config);
/* The functions of the worlds. False: the call has failed, as `call->engine->failure` says. */
bool ms_engine_describe(ms_call *call, ms_description *description);
bool ms_engine_process(ms_call *call, const ms_batch *input, ms_output *output);
bool ms_engine_update(ms_call *call, const ms_groups *groups, ms_output *output);
/* World `update-migrating`: `version` made the old states, which have the columns of `schema`. */
bool ms_engine_migrate(ms_call *call, ms_text version, ms_schema schema, const ms_batch *old, ms_output *output);
bool ms_engine_cogroup(ms_call *call, const ms_groups *groups, ms_output *output);
bool ms_engine_lift(ms_call *call, const ms_batch *rows, ms_output *output);
bool ms_engine_combine(ms_call *call, const ms_batch *left, const ms_batch *right, ms_output *output);
bool ms_engine_lower(ms_call *call, const ms_batch *keys, const ms_batch *accumulators, ms_output *output);
bool ms_engine_inverse(ms_call *call, const ms_batch *whole, const ms_batch *part, ms_output *output);

/* Worlds `source` and `sink`: whether a function is done; the config of `open`, which is that of the calls after it; and the beginning of
 * a call of what is open. */
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

/* Finds the rows of an input that are null in a field without `ms_opt_`, and rejects them. */
void ms_find_missing(ms_call *call, uint32_t input, const ms_batch *batch, const ms_row *row, ms_missing *missing);
/* The rejections, by input and row. */
const ms_rejection *ms_sorted_rejections(ms_engine *engine);

/* The schema of a kind of row. */
ms_schema ms_row_schema(const ms_row *row);
/* An empty output with room for rows, and for bytes in each column of text or binary. */
void ms_out_init(ms_out *out, ms_schema schema, bool keyed, uint32_t rows, size_t bytes);
/* The output, with the keys of its groups before it if it is keyed. False: the call has failed. */
bool ms_out_finish(ms_call *call, ms_out *out, const ms_batch *keys, ms_batch *batch);
/* Whether a batch has the columns of this schema, each with buffers that are long enough. */
bool ms_check_batch(ms_call *call, const ms_batch *batch, const ms_row *row);
/* Bytes of values. */
size_t ms_batch_bytes(const ms_batch *batch);

/* Parses JSON. NULL if it is invalid, with the error. `relaxed`: strings may be in single quotes. */
const ms_json *ms_json_parse(ms_arena *arena, ms_text text, bool relaxed, const char **wrong);
/* Reads the config of the plugin; NULL if it is invalid, with the reason. */
const void *ms_config_of(ms_text text, ms_text *wrong);

/* The host: its imports in a component, stand-ins in tests. */
typedef enum ms_level { MS_LEVEL_DEBUG, MS_LEVEL_INFO, MS_LEVEL_WARN, MS_LEVEL_ERROR } ms_level;
void ms_host_log(ms_level level, ms_text line);
void ms_host_count(ms_text counter, uint64_t amount);
/* False: there is no such file, as `wrong` says. */
bool ms_host_file_size(ms_text name, uint64_t *size, ms_text *wrong);
bool ms_host_file_read(ms_text name, uint64_t offset, uint32_t length, ms_binary *bytes, ms_text *wrong);
ms_schema ms_host_input(uint32_t input);
ms_schema ms_host_key(void);
void ms_host_timer_set(uint32_t group, int64_t at);
void ms_host_timer_cancel(uint32_t group, int64_t at);
void ms_host_timers_due(const uint32_t **ends, const ms_timestamp **times);
/* Worlds `source` and `sink`: sockets by number. `wrong` says why, after MS_NET_FAILED. */
ms_net ms_host_connect(ms_text name, uint16_t port, uint32_t timeout_ms, uint32_t *socket, ms_text *wrong);
ms_net ms_host_read(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *wrong);
ms_net ms_host_write(uint32_t socket, ms_binary bytes, uint32_t timeout_ms, ms_text *wrong);
ms_net ms_host_bind(ms_text name, uint16_t port, uint32_t *socket, ms_text *wrong);
ms_net ms_host_receive(uint32_t socket, uint32_t bytes_max, uint32_t timeout_ms, ms_binary *bytes, ms_text *sender,
                       ms_text *wrong);
ms_net ms_host_send(uint32_t socket, ms_text name, uint16_t port, ms_binary bytes, ms_text *wrong);
void ms_host_close(uint32_t socket);

#endif
