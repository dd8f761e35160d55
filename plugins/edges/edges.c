/* An edge detector with hysteresis: tells when the signal of a key rises to a threshold, and when it falls below another. */
#include <millstream.h>

#define SAMPLE(COLUMN) COLUMN(ms_opt_double, value)
MS_ROW(sample, SAMPLE);

#define SIGNAL(COLUMN)                                                                                                 \
    COLUMN(bool, is_up)                                                                                                \
    COLUMN(int64_t, edges)
MS_ROW(signal_state, SIGNAL);

#define EDGE(COLUMN)                                                                                                   \
    COLUMN(ms_text, edge)                                                                                              \
    COLUMN(double, value)                                                                                              \
    COLUMN(int64_t, edges)
MS_ROW(edge, EDGE);

typedef struct settings {
    ms_text column;
    double up_at;
    double down_below;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->column = ms_config_text_or(from, "column", MS_TEXT_OF("value"));
    settings->up_at = ms_config_double(from, "up_at");
    settings->down_below = ms_config_double_or(from, "down_below", settings->up_at);
    if (settings->down_below > settings->up_at)
        ms_config_refuse(from, "`down_below` is above `up_at`: between them a signal stays as it was");
}

/* The column that is read has the name that the config says. */
static ms_status name_column(ms_description *description, ms_call *call)
{
    const settings *settings = call->config;
    ms_field *column = ms_alloc(sizeof *column);
    ms_schema *input = ms_alloc(sizeof *input);
    *column = sample_row.fields[0];
    column->name = settings->column;
    *input = (ms_schema){column, 1};
    description->inputs = input;
    return MS_OK;
}

static ms_status edges(ms_rows *samples, signal_state *signal, ms_out *out, ms_call *call)
{
    const settings *settings = call->config;
    sample sample;
    while (sample_next(samples, &sample)) {
        double value = sample.value.value;
        /* Neither holds of a NaN. */
        bool crosses = signal->is_up ? value < settings->down_below : value >= settings->up_at;
        if (!sample.value.is_set || !crosses)
            continue;
        signal->is_up = !signal->is_up;
        signal->edges += 1;
        edge_push(out, (edge){signal->is_up ? MS_TEXT_OF("up") : MS_TEXT_OF("down"), value, signal->edges});
    }
    return MS_OK;
}

MS_UPDATE(sample, signal_state, edge, edges, MS_KEYED, MS_CONFIG(settings, read_settings), .describe = name_column);
