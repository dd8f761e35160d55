/* A typed config, the context of a call, and rejected rows. */
#include <millstream.h>

#define PAYMENT(COLUMN)                                                                                                \
    COLUMN(int64_t, amount)                                                                                            \
    COLUMN(ms_opt_text, kind)
MS_ROW(payment, PAYMENT);

#define ACCEPTED(COLUMN)                                                                                               \
    COLUMN(int64_t, amount)                                                                                            \
    COLUMN(double, scaled)                                                                                             \
    COLUMN(ms_text, label)                                                                                             \
    COLUMN(int64_t, batch)                                                                                             \
    COLUMN(ms_timestamp, time)                                                                                         \
    COLUMN(ms_opt_timestamp, watermark)
MS_ROW(accepted, ACCEPTED);

typedef struct settings {
    int64_t at_least;
    double rate;
    ms_text label;
    bool strict;
    const ms_text *kinds;
    size_t kinds_count;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->at_least = ms_config_int64(from, "at_least");
    settings->rate = ms_config_double_or(from, "rate", 1);
    settings->label = ms_config_text_or(from, "label", MS_TEXT_OF("ok"));
    settings->strict = ms_config_bool_or(from, "strict", false);
    settings->kinds = ms_config_texts(from, "kinds", &settings->kinds_count);
}

static bool is_known(const settings *settings, ms_text kind)
{
    for (size_t i = 0; i < settings->kinds_count; i++) {
        if (ms_text_equals(settings->kinds[i], kind))
            return true;
    }
    return settings->kinds_count == 0;
}

static ms_text list_kinds(const settings *settings)
{
    ms_text list = {"", 0};
    for (size_t i = 0; i < settings->kinds_count; i++)
        list = ms_format("%.*s%s%.*s", MS_PRINT(list), i ? ", " : "", MS_PRINT(settings->kinds[i]));
    return list;
}

static ms_status reject(const payment *payment, ms_out *out, ms_call *call)
{
    const settings *settings = call->config;
    long long amount = payment->amount;
    ms_count("seen", 1);
    ms_debug("amount %lld", amount);
    if (amount < settings->at_least)
        return ms_reject(call, "%lld is below %lld", amount, (long long)settings->at_least);
    if (!payment->kind.is_set && settings->strict)
        return ms_reject(call, "it has no kind");
    if (payment->kind.is_set && !is_known(settings, payment->kind.value))
        return ms_reject(call, "`%.*s` is not one of %.*s", MS_PRINT(payment->kind.value), MS_PRINT(list_kinds(settings)));
    if (amount == 0)
        return MS_OK;
    accepted_push(out, (accepted){.amount = amount,
                                  .scaled = (double)amount * settings->rate,
                                  .label = settings->label,
                                  .batch = (int64_t)call->batch,
                                  .time = call->time,
                                  .watermark = call->watermark});
    return MS_OK;
}

MS_TRANSFORM(payment, accepted, reject, MS_CONFIG(settings, read_settings));
