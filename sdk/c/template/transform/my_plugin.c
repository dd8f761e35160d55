/* A Millstream plugin of world `transform`: rows in, rows out. */
#include <millstream.h>

/* An input row: the columns `name` and `amount` of the stage's input. */
#define ORDER(COLUMN)                                                                                                  \
    COLUMN(ms_text, name)                                                                                              \
    COLUMN(double, amount)
MS_ROW(order, ORDER);

/* An output row. */
#define BILL(COLUMN)                                                                                                   \
    COLUMN(ms_text, name)                                                                                              \
    COLUMN(double, total)
MS_ROW(bill, BILL);

/* The stage's `config`. */
typedef struct settings {
    /* Percentage that is added to each amount. */
    double tax;
} settings;

static void read_settings(ms_config *from, void *to)
{
    settings *settings = to;
    settings->tax = ms_config_double_or(from, "tax", 0);
}

/* Adds a tax to the amount of each order. Rejects orders with an amount below zero. */
static ms_status my_plugin(const order *order, ms_out *out, ms_call *call)
{
    const settings *settings = call->config;
    if (order->amount < 0)
        return ms_reject(call, "the amount %s is below zero", ms_number(order->amount));
    bill_push(out, (bill){.name = order->name, .total = order->amount * (1 + settings->tax / 100)});
    return MS_OK;
}

MS_TRANSFORM(order, bill, my_plugin, MS_CONFIG(settings, read_settings));
