/* Where plugin functions put the rows that they return: Arrow's buffers, so that a row costs no allocation of its own. */
#ifndef MILLSTREAM_OUT_H
#define MILLSTREAM_OUT_H

#include "types.h"

#include <string.h>
#ifdef __wasm_simd128__
#include <wasm_simd128.h>
#endif

/* A column that is being written. */
typedef struct ms_out_column {
    void *values;
    /* Text and binary: where rows end; and how much of `values` is used and there, in bytes. */
    uint32_t *offsets;
    size_t length;
    size_t capacity;
    /* Columns that may have nulls. */
    uint8_t *validity;
    bool has_nulls;
    /* A column that is returned as it came. */
    const ms_column *passed;
} ms_out_column;

/* Rows to return. `NAME_push` appends one. */
typedef struct ms_out {
    uint32_t rows;
    /* Rows that there is room for. */
    uint32_t capacity;
    uint32_t width;
    ms_out_column *columns;
    ms_schema schema;
    /* The group of each row, where keys are put before it; NULL otherwise. */
    uint32_t *groups;
    uint32_t group;
} ms_out;

/* Bytes at the end of a column of text that are room for copying more than a value has. */
#define MS_SLACK 16

/* Makes room for more rows. */
void ms_out_grow(ms_out *out, uint32_t rows);
/* Makes room for more bytes in a column of text or binary. */
void ms_out_column_grow(ms_out_column *column, size_t bytes);
/* Removes all rows from this one on. */
void ms_out_truncate(ms_out *out, uint32_t rows);

/*
 * For functions on batches: appends rows whose columns the caller fills with the functions below, or passes on. In
 * nullable columns the rows are not null unless `ms_mark` says so; rows of text and binary are empty.
 */
void ms_out_extend(ms_out *out, uint32_t rows);
/* Returns a column of the input unchanged; it must have as many rows as the output will have. */
void ms_out_pass(ms_out *out, uint32_t column, const ms_column *passed);

static inline int64_t *ms_out_int64s(ms_out *out, uint32_t column)
{
    return out->columns[column].values;
}

static inline double *ms_out_doubles(ms_out *out, uint32_t column)
{
    return out->columns[column].values;
}

static inline ms_timestamp *ms_out_timestamps(ms_out *out, uint32_t column)
{
    return out->columns[column].values;
}

/* Begins a row; there is room for it afterwards. */
static inline uint32_t ms_out_begin(ms_out *out)
{
    if (out->rows == out->capacity)
        ms_out_grow(out, 1);
    if (out->groups)
        out->groups[out->rows] = out->group;
    return out->rows++;
}

static inline void ms_set_bit(uint8_t *bits, uint32_t row, bool value)
{
    uint32_t bit = row % 8;
    /* Bits after the last row are undefined: rows there have been removed. */
    bits[row / 8] = (uint8_t)((bits[row / 8] & ((1u << bit) - 1)) | (unsigned)value << bit);
}

/* Says whether the row of a column that may have nulls is a value. */
static inline void ms_mark(ms_out_column *column, uint32_t row, bool is_set)
{
    ms_set_bit(column->validity, row, is_set);
    column->has_nulls |= !is_set;
}

/*
 * Copies bytes to a buffer with room for `MS_SLACK` more. A function call for a few bytes would cost more than
 * everything else that is done for a word. So up to sixteen are copied as one piece, if the piece is within the
 * memory.
 */
static inline void ms_copy(uint8_t *to, const uint8_t *from, size_t length)
{
#ifdef __wasm_simd128__
    if (length <= MS_SLACK && (size_t)from + MS_SLACK <= __builtin_wasm_memory_size(0) * 65536ul) {
        wasm_v128_store(to, wasm_v128_load(from));
        return;
    }
#endif
    if (length)
        memcpy(to, from, length);
}

static inline void ms_append(ms_out_column *column, uint32_t row, const void *data, size_t length)
{
    size_t before = column->length;
    if (length > column->capacity - before)
        ms_out_column_grow(column, length);
    ms_copy((uint8_t *)column->values + before, data, length);
    column->length = before + length;
    /* May wrap for columns above 2 GiB, which are rejected at the end. */
    column->offsets[row + 1] = (uint32_t)column->length;
}

#endif
