/* Computes a number from two columns. */

#include "millstream.h"

#define PAIR(COLUMN) COLUMN(double, a) COLUMN(double, b)
MS_ROW(pair, PAIR);

#define SCALED(COLUMN) COLUMN(double, out)
MS_ROW(scaled, SCALED);

static ms_status numeric(const pair *pair, ms_out *out, ms_call *call)
{
    (void)call;
    scaled_push(out, (scaled){pair->a * 2.5 + pair->b});
    return MS_OK;
}

MS_TRANSFORM(pair, scaled, numeric);
