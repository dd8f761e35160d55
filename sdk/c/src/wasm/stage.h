/* Common code of the worlds with a stage. Included by their files. */
#ifndef MILLSTREAM_STAGE_H
#define MILLSTREAM_STAGE_H

#include "convert.h"

typedef struct ms_rejections {
    millstream_plugin_types_rejection_t *ptr;
    size_t len;
} ms_rejections;

MS_UNUSED static ms_rejections ms_to_rejections(const ms_rejection *rejections, size_t count)
{
    millstream_plugin_types_rejection_t *wire = ms_alloc(count * sizeof *wire);
    for (size_t i = 0; i < count; i++)
        wire[i] = (millstream_plugin_types_rejection_t){rejections[i].row, ms_to_string(rejections[i].reason)};
    return (ms_rejections){wire, count};
}

/* Linked from the C library if a plugin uses `rand`. */
extern void srand(unsigned seed) __attribute__((weak));

/* Starts a call. Returns false if it has failed. */
MS_UNUSED static bool ms_begin(ms_call *call, ms_engine *engine, const millstream_plugin_types_context_t *context)
{
    memset(call, 0, sizeof *call);
    call->batch = context->batch;
    call->time.us = context->time;
    call->watermark = (ms_opt_timestamp){context->watermark.is_some, {context->watermark.val}};
    /* A replayed batch gets the same random numbers in another instance. */
    if (srand)
        srand((unsigned)(context->batch * 2654435761u ^ (uint64_t)context->time));
    return ms_engine_begin(call, engine, ms_from_string(&context->config));
}

ms_schema ms_host_input(uint32_t input)
{
    millstream_plugin_stage_list_schema_t schemas;
    millstream_plugin_stage_inputs(&schemas);
    /* A missing input has no columns, for example if a plugin is described without a job. */
    return input < schemas.len ? ms_from_schema(&schemas.ptr[input]) : (ms_schema){NULL, 0};
}

ms_schema ms_host_key(void)
{
    millstream_plugin_stage_schema_t schema;
    millstream_plugin_stage_key(&schema);
    return ms_from_schema(&schema);
}

#endif
