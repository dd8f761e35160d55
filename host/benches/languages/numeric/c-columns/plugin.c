/* Computes a number from two columns. */

#include "millstream.h"

#define PAIR(COLUMN) COLUMN(double, a) COLUMN(double, b)
MS_ROW(pair, PAIR);

#define SCALED(COLUMN) COLUMN(double, out)
MS_ROW(scaled, SCALED);

static ms_status numeric(const ms_batch *input, ms_out *out, ms_call *call)
{
    const double *a = ms_doubles(input, 0), *b = ms_doubles(input, 1);
    (void)call;
    ms_out_extend(out, input->rows);
    double *to = ms_out_doubles(out, 0);
    for (uint32_t row = 0; row < input->rows; row++)
        to[row] = a[row] * 2.5 + b[row];
    return MS_OK;
}

MS_PLUGIN(.world = MS_WORLD_TRANSFORM, .input = &pair_row, .output = &scaled_row, .process = numeric);
