/* Output rows of plugin functions, stored in Arrow buffers: a row needs no allocation of its own. */
#ifndef MILLSTREAM_OUT_H
#define MILLSTREAM_OUT_H

#include "types.h"

#include <string.h>
#ifdef __wasm_simd128__
#include <wasm_simd128.h>
#endif

/* A column under construction. */
typedef struct ms_out_column {
    void *values;
    /* Text and binary: the ends of the rows, and the used and allocated bytes of `values`. */
    uint32_t *offsets;
    size_t length;
    size_t capacity;
    /* Nullable columns. */
    uint8_t *validity;
    bool has_nulls;
    /* A column of the input that is returned unchanged. */
    const ms_column *passed;
} ms_out_column;

/* Output rows. `NAME_push` appends one. */
typedef struct ms_out {
    uint32_t rows;
    /* Number of rows with allocated memory. */
    uint32_t capacity;
    uint32_t width;
    ms_out_column *columns;
    ms_schema schema;
    /* The group of each row, if the key columns come before the rows; NULL otherwise. */
    uint32_t *groups;
    uint32_t group;
} ms_out;

/* Free bytes at the end of a text column, so that copies may write more than a value has. */
#define MS_SLACK 16

/* Reserves memory for more rows. */
void ms_out_grow(ms_out *out, uint32_t rows);
/* Reserves memory for more bytes in a text or binary column. */
void ms_out_column_grow(ms_out_column *column, size_t bytes);
/* Removes all rows from an index on. */
void ms_out_truncate(ms_out *out, uint32_t rows);

/*
 * For functions on batches: appends rows. The caller fills their columns with the functions below, or passes columns of
 * the input. In nullable columns, rows are not null unless `ms_mark` sets this. Rows of text and binary are empty.
 */
void ms_out_extend(ms_out *out, uint32_t rows);
/* Returns a column of the input unchanged. It must have as many rows as the output. */
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

/* Starts a row, and reserves memory for it. */
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

/* Sets whether the row of a nullable column has a value. */
static inline void ms_mark(ms_out_column *column, uint32_t row, bool is_set)
{
    ms_set_bit(column->validity, row, is_set);
    column->has_nulls |= !is_set;
}

/*
 * Copies bytes to a buffer with `MS_SLACK` free bytes after them. A function call for a few bytes would cost more than all
 * other work for a word. So up to sixteen bytes are copied as one piece, if the piece does not cross the memory's end.
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
