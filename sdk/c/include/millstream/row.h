/* Rows as structs, and the columns that they are read from and written to. */
#ifndef MILLSTREAM_ROW_H
#define MILLSTREAM_ROW_H

#include "out.h"

/* The description of a kind of row. `MS_ROW` creates it, as `NAME_row`. */
typedef struct ms_row {
    const ms_field *fields;
    uint32_t width;
    /* Size of the struct in bytes. */
    size_t size;
    void (*read)(const ms_batch *batch, uint32_t row, void *to);
} ms_row;

/* The rows of one key, in the order of arrival. Created by the SDK; `NAME_next` takes one. */
typedef struct ms_rows {
    const ms_batch *batch;
    uint32_t next;
    uint32_t end;
    /* Rows to skip, in order: they have a null in a field without `ms_opt_`. */
    const uint32_t *skip;
    uint32_t skips;
} ms_rows;

/* Returns the number of remaining rows. */
static inline uint32_t ms_rows_count(const ms_rows *rows)
{
    return rows->end - rows->next - rows->skips;
}

/* Advances to the next row. Sets its index in the batch. Returns false after the last row. */
static inline bool ms_rows_advance(ms_rows *rows, uint32_t *row)
{
    while (rows->next < rows->end) {
        uint32_t next = rows->next++;
        if (rows->skips == 0 || *rows->skip != next) {
            *row = next;
            return true;
        }
        rows->skip++;
        rows->skips--;
    }
    return false;
}

/*
 * MS_ROW(name, COLUMNS) defines the struct `name` and two functions:
 *   name_push(out, row)    appends a row to an output,
 *   name_next(rows, &row)  takes the next row of a key, and returns false after the last.
 * COLUMNS is a macro that lists the columns: their type in C and the field's name. A third argument is the column's name
 * if it differs:
 *
 *     #define CLICK(COLUMN) \
 *         COLUMN(ms_text, user) \
 *         COLUMN(ms_opt_text, kind, "type") \
 *         COLUMN(double, price)
 *     MS_ROW(click, CLICK);
 *
 * Types are bool, int64_t, double, ms_text, ms_binary, ms_timestamp, and for nullable columns ms_opt_bool, ms_opt_int64,
 * ms_opt_double, ms_opt_text, ms_opt_binary, ms_opt_timestamp. Columns of ms_written and ms_opt_written have a fourth
 * argument, their type as in job files: a date, a decimal, a struct or a list.
 *
 *     COLUMN(ms_written, paid, "paid", "decimal(12,2)")
 */
#define MS_ROW(name, COLUMNS)                                                                                          \
    typedef struct name {                                                                                              \
        COLUMNS(MS_ROW_MEMBER)                                                                                         \
    } name;                                                                                                            \
    static const ms_field name##_fields[] = {COLUMNS(MS_ROW_FIELD)};                                                   \
    MS_UNUSED static inline void name##_read(const ms_batch *batch_, uint32_t row_, name *to_)                         \
    {                                                                                                                  \
        const ms_column *column_ = batch_->columns;                                                                    \
        COLUMNS(MS_ROW_READ)                                                                                           \
        (void)column_;                                                                                                 \
    }                                                                                                                  \
    static void name##_read_any(const ms_batch *batch_, uint32_t row_, void *to_) { name##_read(batch_, row_, to_); }  \
    MS_UNUSED static inline void name##_push(ms_out *out_, name value_)                                                \
    {                                                                                                                  \
        uint32_t row_ = ms_out_begin(out_);                                                                            \
        ms_out_column *column_ = out_->columns;                                                                        \
        COLUMNS(MS_ROW_WRITE)                                                                                          \
        (void)column_;                                                                                                 \
    }                                                                                                                  \
    MS_UNUSED static inline bool name##_next(ms_rows *rows_, name *to_)                                                \
    {                                                                                                                  \
        uint32_t row_;                                                                                                 \
        if (!ms_rows_advance(rows_, &row_))                                                                            \
            return false;                                                                                              \
        name##_read(rows_->batch, row_, to_);                                                                          \
        return true;                                                                                                   \
    }                                                                                                                  \
    static const ms_row name##_row MS_UNUSED = {name##_fields, sizeof(name##_fields) / sizeof(name##_fields[0]),       \
                                                sizeof(name), name##_read_any}

/* Select the first or the second argument. */
#define MS_FIRST(...) MS_FIRST_OF(__VA_ARGS__, 0)
#define MS_FIRST_OF(first, ...) first
#define MS_SECOND_OF(first, second, ...) second
#define MS_THIRD_OF(first, second, third, ...) third
#define MS_STRING(word) MS_STRING_OF(word)
#define MS_STRING_OF(word) #word
/* The name of a column: the third argument of COLUMN, or else the field's name. */
#define MS_COLUMN_NAME(...) MS_SECOND_OF(__VA_ARGS__, MS_STRING(MS_FIRST(__VA_ARGS__)), 0)

/* The type name in the fourth argument of COLUMN, or an empty string. */
#define MS_COLUMN_TYPE(...) MS_THIRD_OF(__VA_ARGS__, "", "", 0)

#define MS_ROW_MEMBER(type, ...) type MS_FIRST(__VA_ARGS__);
#define MS_ROW_FIELD(type, ...)                                                                                        \
    {{MS_COLUMN_NAME(__VA_ARGS__), sizeof(MS_COLUMN_NAME(__VA_ARGS__)) - 1}, MS_TYPE_##type,       \
     {MS_COLUMN_TYPE(__VA_ARGS__), sizeof(MS_COLUMN_TYPE(__VA_ARGS__)) - 1}},
#define MS_ROW_READ(type, ...) ms_read_##type(column_++, row_, &to_->MS_FIRST(__VA_ARGS__));
#define MS_ROW_WRITE(type, ...) ms_write_##type(column_++, row_, value_.MS_FIRST(__VA_ARGS__));

/* The type of a column, and whether it is nullable. */
#define MS_TYPE_bool MS_BOOL, false
#define MS_TYPE_int64_t MS_INT64, false
#define MS_TYPE_double MS_FLOAT64, false
#define MS_TYPE_ms_text MS_TEXT, false
#define MS_TYPE_ms_binary MS_BINARY, false
#define MS_TYPE_ms_timestamp MS_TIMESTAMP, false
#define MS_TYPE_ms_written MS_ARROW, false
#define MS_TYPE_ms_opt_written MS_ARROW, true
#define MS_TYPE_ms_opt_bool MS_BOOL, true
#define MS_TYPE_ms_opt_int64 MS_INT64, true
#define MS_TYPE_ms_opt_double MS_FLOAT64, true
#define MS_TYPE_ms_opt_text MS_TEXT, true
#define MS_TYPE_ms_opt_binary MS_BINARY, true
#define MS_TYPE_ms_opt_timestamp MS_TIMESTAMP, true

static inline void ms_read_bool(const ms_column *column, uint32_t row, bool *to)
{
    *to = ms_bit(column->data.data, row);
}

static inline void ms_write_bool(ms_out_column *column, uint32_t row, bool value)
{
    ms_set_bit(column->values, row, value);
}

/* Reads and writes values of eight bytes. */
#define MS_FIXED_CELL(type)                                                                                            \
    static inline void ms_read_##type(const ms_column *column, uint32_t row, type *to)                                 \
    {                                                                                                                  \
        *to = ((const type *)column->data.data)[row];                                                                  \
    }                                                                                                                  \
    static inline void ms_write_##type(ms_out_column *column, uint32_t row, type value)                                \
    {                                                                                                                  \
        ((type *)column->values)[row] = value;                                                                         \
    }

MS_FIXED_CELL(int64_t)
MS_FIXED_CELL(double)
MS_FIXED_CELL(ms_timestamp)

/* Reads and writes values of variable length. */
#define MS_BYTES_CELL(type, unit)                                                                                      \
    static inline void ms_read_##type(const ms_column *column, uint32_t row, type *to)                                 \
    {                                                                                                                  \
        const uint32_t *offsets = column->offsets.data;                                                                \
        to->data = (const unit *)column->data.data + offsets[row];                                                     \
        to->length = offsets[row + 1] - offsets[row];                                                                  \
    }                                                                                                                  \
    static inline void ms_write_##type(ms_out_column *column, uint32_t row, type value)                                \
    {                                                                                                                  \
        ms_append(column, row, value.data, value.length);                                                              \
    }

MS_BYTES_CELL(ms_text, char)
MS_BYTES_CELL(ms_written, char)
MS_BYTES_CELL(ms_binary, uint8_t)

/* Reads and writes nullable values. The value of a null is zero or empty. */
#define MS_OPT_CELL(opt, type)                                                                                         \
    static inline void ms_read_##opt(const ms_column *column, uint32_t row, opt *to)                                   \
    {                                                                                                                  \
        memset(to, 0, sizeof *to);                                                                                     \
        to->is_set = !ms_is_null(column, row);                                                                         \
        if (to->is_set)                                                                                                \
            ms_read_##type(column, row, &to->value);                                                                   \
    }                                                                                                                  \
    static inline void ms_write_##opt(ms_out_column *column, uint32_t row, opt value)                                  \
    {                                                                                                                  \
        type nothing;                                                                                                  \
        memset(&nothing, 0, sizeof nothing);                                                                           \
        ms_mark(column, row, value.is_set);                                                                            \
        ms_write_##type(column, row, value.is_set ? value.value : nothing);                                            \
    }

MS_OPT_CELL(ms_opt_bool, bool)
MS_OPT_CELL(ms_opt_int64, int64_t)
MS_OPT_CELL(ms_opt_double, double)
MS_OPT_CELL(ms_opt_text, ms_text)
MS_OPT_CELL(ms_opt_written, ms_written)
MS_OPT_CELL(ms_opt_binary, ms_binary)
MS_OPT_CELL(ms_opt_timestamp, ms_timestamp)

/* A row without columns: for missing states, and for rows that are only counted. */
typedef struct ms_nothing {
    char unused;
} ms_nothing;

extern const ms_row ms_nothing_row;

static inline void ms_nothing_read(const ms_batch *batch, uint32_t row, ms_nothing *to)
{
    (void)batch;
    (void)row;
    to->unused = 0;
}

static inline void ms_nothing_push(ms_out *out, ms_nothing value)
{
    (void)value;
    ms_out_begin(out);
}

#endif
