/* Values, and rows as columns. */
#ifndef MILLSTREAM_TYPES_H
#define MILLSTREAM_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MS_UNUSED __attribute__((unused))

/* UTF-8, without a terminating zero byte. A text of an input row is a view, valid during the call. */
typedef struct ms_text {
    const char *data;
    size_t length;
} ms_text;

/* A value of a type without its own C type, as text: a date `2026-11-20`, a decimal with all digits of its scale `12.50`, a struct
 * or a list as JSON. */
typedef ms_text ms_written;

/* Any bytes. Otherwise like `ms_text`. */
typedef struct ms_binary {
    const uint8_t *data;
    size_t length;
} ms_binary;

/* A point in time: microseconds since 1970-01-01 00:00 UTC. */
typedef struct ms_timestamp {
    int64_t us;
} ms_timestamp;

/* Nullable values, null by default: `{0}` is a null. */
typedef struct ms_opt_bool {
    bool is_set;
    bool value;
} ms_opt_bool;

typedef struct ms_opt_int64 {
    bool is_set;
    int64_t value;
} ms_opt_int64;

typedef struct ms_opt_double {
    bool is_set;
    double value;
} ms_opt_double;

typedef struct ms_opt_text {
    bool is_set;
    ms_text value;
} ms_opt_text;

typedef ms_opt_text ms_opt_written;

typedef struct ms_opt_binary {
    bool is_set;
    ms_binary value;
} ms_opt_binary;

typedef struct ms_opt_timestamp {
    bool is_set;
    ms_timestamp value;
} ms_opt_timestamp;

/* Converts a string literal to a text. */
#define MS_TEXT_OF(literal) ((ms_text){(literal), sizeof(literal) - 1})

/* Passes a text to `printf` and similar functions, for `%.*s`. */
#define MS_PRINT(text) (int)(text).length, (text).data

/* Column type, in the order of the interface's `data-type`. */
typedef enum ms_type { MS_BOOL, MS_INT64, MS_FLOAT64, MS_TEXT, MS_BINARY, MS_TIMESTAMP, MS_ARROW } ms_type;

/* A column of a schema. */
typedef struct ms_field {
    ms_text name;
    ms_type type;
    /* Whether the column is nullable. */
    bool nullable;
    /* For `MS_ARROW`: the name of the Arrow type. */
    ms_text arrow;
} ms_field;

/* Returns whether the values of a column are encoded as text: whether its type has a name in job files but is not plain. */
bool ms_is_written(const ms_field *field);

/* The columns of a batch, in order. */
typedef struct ms_schema {
    const ms_field *fields;
    size_t width;
} ms_schema;

/* Bytes of a column. `data` is aligned to sixteen bytes. */
typedef struct ms_buffer {
    const void *data;
    size_t length;
} ms_buffer;

/* The rows of one column, in Arrow's layout. */
typedef struct ms_column {
    /* A bitmap, one bit per row, least significant bit first: set if the row has a value. No data: no nulls. */
    ms_buffer validity;
    /* For text, binary and values encoded as text: rows + 1 numbers of 32 bits. Row i is `data[offsets[i] .. offsets[i + 1]]`. */
    ms_buffer offsets;
    /* The values: 8 bytes per row; for bool, one bit per row. */
    ms_buffer data;
} ms_column;

/* Rows as columns, in the order of the schema. */
typedef struct ms_batch {
    uint32_t rows;
    uint32_t width;
    const ms_column *columns;
} ms_batch;

/* Returns a bit of a bitmap. */
static inline bool ms_bit(const void *bits, uint32_t row)
{
    return ((const uint8_t *)bits)[row / 8] >> (row % 8) & 1;
}

/* Returns whether a row of a column is null. Works for all types. */
static inline bool ms_is_null(const ms_column *column, uint32_t row)
{
    return column->validity.data && !ms_bit(column->validity.data, row);
}

/* Return the values of a column, one per row, including null rows. The column must have this type. */
static inline const int64_t *ms_int64s(const ms_batch *batch, uint32_t column)
{
    return batch->columns[column].data.data;
}

static inline const double *ms_doubles(const ms_batch *batch, uint32_t column)
{
    return batch->columns[column].data.data;
}

static inline const ms_timestamp *ms_timestamps(const ms_batch *batch, uint32_t column)
{
    return batch->columns[column].data.data;
}

#endif
